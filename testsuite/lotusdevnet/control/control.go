// Package control is the HTTP side of the control port: commands in JSON that say what they did.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
)

// maxAsk is far more than any command needs, in bytes.
const maxAsk = 1 << 20

// Refused is what a command answers when it was asked for something that it cannot do: status 400, and not 500.
type Refused struct{ Reason string }

// Error is the reason.
func (r Refused) Error() string { return r.Reason }

// Refuse makes a Refused of a format, as fmt.Sprintf does.
func Refuse(format string, args ...any) error { return Refused{fmt.Sprintf(format, args...)} }

// Command serves POST path: the body is an Ask in JSON, or nothing for a zero one, and what do returns is the answer. A
// field that Ask does not have is refused, since a misspelt one would do something else than it says.
func Command[Ask, Answer any](mux *http.ServeMux, path string, do func(context.Context, Ask) (Answer, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var ask Ask
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk))
		d.DisallowUnknownFields()
		if err := d.Decode(&ask); err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, fmt.Sprintf("POST %s: the body is not what it takes: %v; it takes {%s}", path, err, fields[Ask]()), http.StatusBadRequest)
			return
		}
		answer, err := do(r.Context(), ask)
		if err != nil {
			status := http.StatusInternalServerError
			if errors.As(err, new(Refused)) {
				status = http.StatusBadRequest
			}
			http.Error(w, fmt.Sprintf("POST %s: %v", path, err), status)
			return
		}
		Write(w, answer)
	})
}

// Write sends an answer.
func Write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}

// fields names what a command takes, for who got it wrong.
func fields[Ask any]() string {
	var names []string
	for t, i := reflect.TypeFor[Ask](), 0; t.Kind() == reflect.Struct && i < t.NumField(); i++ {
		names = append(names, t.Field(i).Tag.Get("json"))
	}
	return strings.Join(names, ", ")
}
