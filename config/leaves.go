package config

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// leaves is a file of which not every key is known: all its values by their full keys, such as attached[1].location, and which of
// them have been asked for. What has not been is named at the end, so that nothing is dropped in silence.
type leaves struct {
	*document
	fold    func(path, key string) string // a key's usual spelling, for files in which case does not matter
	counts  map[string]int                // how many [[tables]] of a name there are
	entries []*entry                      // tables and values in the order of the file
	values  map[string]*entry
}

// entry is a table or a value of the file.
type entry struct {
	path  string
	key   string // the last part of the path, without quotes
	value any    // string, int64, bool, []any, or other; nil for a table
	used  bool
}

// other is a value of a kind that nobody wants: a fraction, a date.
type other struct{}

func (other) String() string { return "a value of this kind" }

// readLeaves parses data. Only what is no TOML at all is an error.
func readLeaves(name string, data []byte, fold func(path, key string) string) (*leaves, error) {
	invalid := toml.Unmarshal(data, &map[string]any{}) // it checks what needs the whole file (doubled keys)
	if errors.As(invalid, new(*toml.DecodeError)) {
		return nil, decodeError(name, invalid)
	}
	l := &leaves{document: &document{name: name, places: map[string]place{}}, fold: fold, counts: map[string]int{}, values: map[string]*entry{}}
	w := walk{document: l.document}
	w.parser.Reset(data)
	current := ""
	for w.parser.NextExpression() {
		node := w.parser.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			current = l.table(&w, node)
		case unstable.KeyValue:
			l.keyValue(&w, node, current)
		}
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	if err := cmp.Or(w.parser.Error(), invalid); err != nil {
		return nil, decodeError(name, err)
	}
	return l, nil
}

// table goes to a [table] or the next of the [[tables]].
func (l *leaves) table(w *walk, node *unstable.Node) string {
	path, key, at := "", "", place{}
	for it := node.Key(); it.Next(); {
		key, at = string(it.Node().Data), w.place(it.Node())
		path = l.join(path, key)
		if it.IsLast() && node.Kind == unstable.ArrayTable {
			l.counts[path]++
		}
		if n := l.counts[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	l.add(path, key, at, nil)
	return path
}

func (l *leaves) keyValue(w *walk, node *unstable.Node, path string) {
	key, at := "", place{}
	for it := node.Key(); it.Next(); {
		key, at = string(it.Node().Data), w.place(it.Node())
		path = l.join(path, key)
		if _, known := l.places[path]; !known && !it.IsLast() {
			l.places[path] = at
		}
	}
	l.value(w, node.Value(), path, key, at)
}

// value notes a value; tables in braces become tables of their own.
func (l *leaves) value(w *walk, node *unstable.Node, path, key string, at place) {
	switch {
	case node.Kind == unstable.InlineTable:
		l.add(path, key, at, nil)
		for it := node.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				l.keyValue(w, it.Node(), path)
			}
		}
	case node.Kind == unstable.Array && tables(node) > 0:
		for it := node.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			l.counts[path]++
			l.value(w, it.Node(), fmt.Sprintf("%s[%d]", path, l.counts[path]-1), key, at)
		}
	default:
		l.add(path, key, at, plain(node))
	}
}

// tables is how many tables in braces an array has.
func tables(array *unstable.Node) int {
	n := 0
	for it := array.Children(); it.Next(); {
		if it.Node().Kind == unstable.InlineTable {
			n++
		}
	}
	return n
}

// plain is the value of a node that is no table.
func plain(node *unstable.Node) any {
	switch node.Kind {
	case unstable.String:
		return string(node.Data)
	case unstable.Bool:
		return string(node.Data) == "true"
	case unstable.Integer:
		// The zeros of 007 are no TOML, so that 0 tells the base.
		if n, err := strconv.ParseInt(string(node.Data), 0, 64); err == nil {
			return n
		}
	case unstable.Array:
		list := []any{}
		for it := node.Children(); it.Next(); {
			if it.Node().Kind != unstable.Comment {
				list = append(list, plain(it.Node()))
			}
		}
		return list
	}
	return other{}
}

func (l *leaves) add(path, key string, at place, value any) {
	first, known := l.places[path]
	if !known {
		l.places[path] = at
	}
	if value != nil && known && l.values[path] != nil {
		l.faults = append(l.faults, fault{at, fmt.Sprintf("%s: given already in line %d", path, first.line)})
	}
	e := &entry{path: path, key: key, value: value}
	l.entries = append(l.entries, e)
	if value != nil {
		l.values[path] = e
	}
}

// join is a key's full path. One with signs that have a meaning in paths is quoted.
func (l *leaves) join(path, key string) string {
	if l.fold != nil {
		key = l.fold(path, key)
	}
	if key == "" || strings.ContainsAny(key, ".[]\"\n ") {
		key = strconv.Quote(key)
	}
	return join(path, key)
}

// list is how many [[tables]] of a name there are.
func (l *leaves) list(table string) int {
	if _, written := l.places[table]; written && l.counts[table] == 0 {
		if e := l.values[table]; e != nil {
			if empty, isList := e.value.([]any); isList && len(empty) == 0 {
				e.used = true
				return 0
			}
		}
		l.complain(table, "write it as [[%s]]", table)
	}
	return l.counts[table]
}

// take is the value at path if it is of type T, and a fault if it is of another; nil if there is none. It counts as asked for.
func take[T any](l *leaves, path, want string) *T {
	e := l.values[path]
	if e == nil {
		return nil
	}
	e.used = true
	v, fits := e.value.(T)
	if !fits {
		l.complain(path, "want %s", want)
		return nil
	}
	return &v
}

// strings is the list of strings at path; nil if there is none.
func (l *leaves) strings(path string) []string {
	list := take[[]any](l, path, "a list of strings")
	if list == nil {
		return nil
	}
	out := []string{}
	for i, v := range *list {
		text, fits := v.(string)
		if !fits {
			l.complain(fmt.Sprintf("%s[%d]", path, i), "want a string")
			continue
		}
		out = append(out, text)
	}
	return out
}

// under is the table of strings at path, such as a card's environment; nil if there is none.
func (l *leaves) under(path string) map[string]string {
	var out map[string]string
	for _, e := range l.entries {
		if e.value == nil || !strings.HasPrefix(e.path, path+".") {
			continue
		}
		e.used = true
		text, fits := e.value.(string)
		if !fits || e.path != l.join(path, e.key) {
			l.complain(e.path, "want a string")
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[e.key] = text
	}
	return out
}

// drop counts all below path as seen.
func (l *leaves) drop(path string) {
	for _, e := range l.entries {
		if within(e.path, path) {
			e.used = true
		}
	}
}

// within is whether a full key is path or stands below it.
func within(key, path string) bool {
	rest, found := strings.CutPrefix(key, path)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
