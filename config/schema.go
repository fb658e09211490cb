package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// place is where something stands in the file; lines and columns count from 1.
type place struct{ line, column int }

// document knows where each key of a file stands, and collects what is wrong with them.
type document struct {
	name   string
	places map[string]place // by full key, such as miners[1].id
	faults []fault
	notes  []fault // what does not stop anything

	homeDir string // what a leading ~ stands for
}

type fault struct {
	at   place
	text string // "key: what is wrong"
}

// complain notes a fault of the value at key. A key that is not in the file is placed at the table that should have it.
func (d *document) complain(key, format string, args ...any) {
	d.faults = append(d.faults, fault{d.find(key), key + ": " + fmt.Sprintf(format, args...)})
}

// warn notes something about the value at key that does not stop anything.
func (d *document) warn(key, format string, args ...any) {
	d.notes = append(d.notes, fault{d.find(key), key + ": " + fmt.Sprintf(format, args...)})
}

// find is the place of a key, or of the nearest table around it.
func (d *document) find(key string) place {
	at, known := d.places[key]
	for parent := key; !known; at, known = d.places[parent] {
		cut := strings.LastIndexAny(parent, ".[")
		if cut < 0 {
			at = place{1, 1}
			break
		}
		parent = parent[:cut]
	}
	return at
}

// home expands a leading ~/ of the path at key.
func (d *document) home(key, path string) string {
	rest, found := strings.CutPrefix(path, "~/")
	if !found {
		return path
	}
	if d.homeDir == "" {
		d.complain(key, "%q: the environment's HOME is not set", path)
	}
	return filepath.Join(d.homeDir, rest)
}

// err is all faults, one a line, in the order of the file.
func (d *document) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(d.lines(d.faults), "\n"))
}

// warned is all warnings, in the order of the file.
func (d *document) warned() []string { return d.lines(d.notes) }

func (d *document) lines(faults []fault) []string {
	var lines []string
	for _, f := range sorted(faults) {
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", d.name, f.at.line, f.at.column, f.text))
	}
	return lines
}

// read parses data into the keys of a file. Unknown keys and values of the wrong kind are faults, told by our own walk over
// the syntax tree, since the decoder's words name Go types.
func read(name string, data []byte) (*file, *document, error) {
	d := &document{name: name, places: map[string]place{}}
	w := walk{document: d, counts: map[string]int{}}
	w.parser.Reset(data)
	current, schema := "", reflect.TypeFor[file]()
	for w.parser.NextExpression() {
		node := w.parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			current, schema = w.enter(node)
		case unstable.KeyValue:
			if schema != nil {
				w.keyValue(node, current, schema)
			}
		}
	}
	if err := d.err(); err != nil {
		return nil, nil, err
	}
	var f file
	// The decoder repeats what the parser found, with its place, and checks what needs the whole file (doubled keys).
	if err := toml.NewDecoder(bytes.NewReader(data)).Decode(&f); err != nil {
		return nil, nil, decodeError(name, err)
	}
	return &f, d, nil
}

// decodeError gives a decoder's error our form.
func decodeError(name string, err error) error {
	if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
		line, column := at.Position()
		return fmt.Errorf("%s:%d:%d: %s", name, line, column, strings.TrimPrefix(at.Error(), "toml: "))
	}
	return fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "toml: "))
}

// walk goes over a file's syntax tree.
type walk struct {
	*document
	parser unstable.Parser
	counts map[string]int // how many [[tables]] of a name there were so far
}

func (w *walk) place(node *unstable.Node) place {
	start := w.parser.Shape(node.Raw).Start
	return place{start.Line, start.Column}
}

// enter goes to a [table] or the next of the [[tables]], and gives its full key and its schema, nil if there is none.
func (w *walk) enter(node *unstable.Node) (string, reflect.Type) {
	path, schema := "", reflect.TypeFor[file]()
	var at place
	for it := node.Key(); it.Next(); {
		key := string(it.Node().Data)
		at = w.place(it.Node())
		if schema = w.step(path, schema, key, at); schema == nil {
			return "", nil
		}
		path = join(path, key)
		list := schema.Kind() == reflect.Slice
		switch {
		case list && it.IsLast() && node.Kind == unstable.ArrayTable:
			w.counts[path]++
		case list && it.IsLast(), !list && it.IsLast() && node.Kind == unstable.ArrayTable:
			form := map[bool]string{true: "[[%s]]", false: "[%s]"}[list]
			w.faults = append(w.faults, fault{at, fmt.Sprintf("%s: write it as "+form, path, path)})
			return "", nil
		}
		if list {
			path, schema = fmt.Sprintf("%s[%d]", path, max(w.counts[path], 1)-1), schema.Elem()
		}
		if schema.Kind() != reflect.Struct && schema.Kind() != reflect.Map {
			w.faults = append(w.faults, fault{at, fmt.Sprintf("%s: this is a key, not a table; write it as %s = …", path, key)})
			return "", nil
		}
	}
	if first, twice := w.places[path]; twice {
		w.faults = append(w.faults, fault{at, fmt.Sprintf("[%s]: opened already in line %d", path, first.line)})
		return "", nil
	}
	w.places[path] = at
	return path, schema
}

// step is the schema of a key of a table, or nil and a fault that lists the keys that there are.
func (w *walk) step(path string, schema reflect.Type, key string, at place) reflect.Type {
	if schema.Kind() == reflect.Map {
		return schema.Elem()
	}
	var allowed []string
	for i := range schema.NumField() {
		name := schema.Field(i).Tag.Get("toml")
		if name == key {
			return schema.Field(i).Type
		}
		allowed = append(allowed, name)
	}
	where := "at the top level"
	if path != "" {
		where = "in " + path
	}
	meant := ""
	if like := alike(key, allowed); like != "" {
		meant = fmt.Sprintf(" (did you mean %s?)", like)
	}
	w.faults = append(w.faults, fault{at, fmt.Sprintf("%s: unknown key%s; %s there may be %s", join(path, key), meant, where, strings.Join(allowed, ", "))})
	return nil
}

// alike is the name that a key was probably meant to be, or "": one edit away or two, and more in long names.
func alike(key string, names []string) (like string) {
	least := len(key)/4 + 2
	for _, name := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(key), name); d < least {
			like, least = name, d
		}
	}
	return like
}

// keyValue checks key = value in the table at path.
func (w *walk) keyValue(node *unstable.Node, path string, schema reflect.Type) {
	is := ""
	for it := node.Key(); it.Next(); {
		key, at := string(it.Node().Data), w.place(it.Node())
		if schema.Kind() != reflect.Struct && schema.Kind() != reflect.Map {
			w.faults = append(w.faults, fault{at, fmt.Sprintf("%s: this has no keys of its own", path)})
			return
		}
		is = tag(schema, key)
		if schema = w.step(path, schema, key, at); schema == nil {
			return
		}
		path = join(path, key)
		if first, twice := w.places[path]; twice && it.IsLast() {
			w.faults = append(w.faults, fault{at, fmt.Sprintf("%s: given already in line %d", path, first.line)})
			return
		}
		w.places[path] = at
	}
	w.value(node.Value(), path, schema, is)
}

// value checks that a value is of the kind that its key wants.
func (w *walk) value(node *unstable.Node, path string, schema reflect.Type, is string) {
	if schema.Kind() == reflect.Pointer {
		schema = schema.Elem()
	}
	if schema == reflect.TypeFor[duration]() {
		if _, err := time.ParseDuration(string(node.Data)); node.Kind != unstable.String || err != nil {
			w.complain(path, `want a string such as "15s", "1m30s" or "25h"`)
		}
		return
	}
	if schema == reflect.TypeFor[size]() {
		if bytes, err := parseSize(string(node.Data)); node.Kind != unstable.String || err != nil || bytes == 0 {
			w.complain(path, `want a string such as "64GiB", of MiB, GiB or TiB`)
		}
		return
	}
	switch {
	case schema.Kind() == reflect.Interface && (node.Kind == unstable.String || node.Kind == unstable.Integer),
		schema.Kind() == reflect.String && node.Kind == unstable.String,
		schema.Kind() == reflect.Bool && node.Kind == unstable.Bool,
		schema.Kind() == reflect.Int64 && node.Kind == unstable.Integer,
		schema.Kind() == reflect.Float64 && (node.Kind == unstable.Float || node.Kind == unstable.Integer):
	case schema.Kind() == reflect.Slice && node.Kind == unstable.Array:
		index := 0
		for it := node.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			w.value(it.Node(), fmt.Sprintf("%s[%d]", path, index), schema.Elem(), "")
			index++
		}
	case (schema.Kind() == reflect.Struct || schema.Kind() == reflect.Map) && node.Kind == unstable.InlineTable:
		for it := node.Children(); it.Next(); {
			w.keyValue(it.Node(), path, schema)
		}
	default:
		w.complain(path, "want %s", cmp.Or(is, kinds[schema.Kind()]))
	}
}

// kinds says what a value without a tag has to be.
var kinds = map[reflect.Kind]string{
	reflect.Bool: "true or false", reflect.String: "a string", reflect.Interface: `a miner such as 1000 or "f01000"`,
	reflect.Slice: "a list of tables", reflect.Struct: "a table",
}

// tag is what the schema says that a key's value is.
func tag(schema reflect.Type, key string) string {
	if schema.Kind() != reflect.Struct {
		return ""
	}
	for i := range schema.NumField() {
		if schema.Field(i).Tag.Get("toml") == key {
			return schema.Field(i).Tag.Get("is")
		}
	}
	return ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
