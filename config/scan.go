package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// scanLimit is how long looking for stores may take: a mount that hangs must not hang the worker.
const scanLimit = 10 * time.Second

// scan finds the stores below the patterns of damocles's scan_persist_stores: folders with a sectorstore.json.
func (l *leaves) scan(key string, patterns []string) []Store {
	type answer struct {
		stores []Store
		notes  []string
	}
	found := make(chan answer, 1)
	go func() {
		var a answer
		for _, pattern := range patterns {
			paths, err := filepath.Glob(pattern)
			if err != nil {
				a.notes = append(a.notes, pattern+": "+err.Error())
			}
			for _, path := range paths {
				store, note := describedStore(path)
				if note != "" {
					a.notes = append(a.notes, note)
				}
				if store.Path != "" {
					a.stores = append(a.stores, store)
				}
			}
		}
		found <- a
	}()
	select {
	case a := <-found:
		for _, note := range a.notes {
			l.warn(key, "%s", note)
		}
		if len(a.stores) == 0 {
			l.warn(key, "no folder with a sectorstore.json is there")
		}
		return a.stores
	case <-time.After(scanLimit):
		l.warn(key, "is not applied: looking for stores took longer than %s; name them in [[attached]]", scanLimit)
		return nil
	}
}

// describedStore is the store at path if there is a sectorstore.json, and why it cannot be told.
func describedStore(path string) (Store, string) {
	file := filepath.Join(path, "sectorstore.json")
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return Store{}, ""
	}
	var about struct{ ID, Name string }
	if err == nil {
		err = json.Unmarshal(data, &about)
	}
	if err != nil {
		return Store{}, file + " is left out: " + err.Error()
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return Store{}, path + " is left out: " + err.Error()
	}
	name := about.Name
	if name == "" {
		name = about.ID
	}
	if name == "" {
		name = path
	}
	return Store{Name: name, Path: absolute}, ""
}
