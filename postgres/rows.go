package postgres

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
)

// table is what is known of a table that is followed.
type table struct {
	relationMessage
	ignored    bool // its changes are no events
	collection string
	key        []int // the columns of the key; nil: none is known
	data       []int // the columns of the data
}

// facts are what the catalog says of a table now, which may be later than the changes
// that are read.
type facts struct {
	schema, name string   // of the table that it is a partition of, or its own
	primary      []string // the columns of its primary key
}

// newTable returns a table, and what its owner should know.
func newTable(m relationMessage, f facts, tables map[string]Table) (t *table, problem error) {
	var lacks error
	t = &table{relationMessage: m}
	name := f.name
	if f.schema != "public" {
		name = f.schema + "." + f.name
	}
	o := tables[name]
	t.collection = fit(cmp.Or(o.Collection, name))
	for _, column := range o.Data {
		if i := t.column(column); i >= 0 {
			t.data = append(t.data, i)
		} else { // NewSource has seen it
			lacks = fmt.Errorf("the data of the table %s lack the column %s: it was dropped, or is not published", name, column)
		}
	}
	problem = t.findKey(name, o.Key, f.primary)
	return t, errors.Join(lacks, problem)
}

// findKey finds the columns of the key: those the host names, those of the replica
// identity, or those of the primary key.
func (t *table) findKey(name string, names, primary []string) (problem error) {
	m := &t.relationMessage
	if names == nil && (m.identity == 'd' || m.identity == 'i') {
		for _, c := range m.columns {
			if c.key {
				names = append(names, c.name)
			}
		}
	}
	if names == nil {
		names = primary
	}
	for _, column := range names {
		i := t.column(column)
		if i < 0 {
			t.key = nil // a part of the key may be that of many rows
			return fmt.Errorf("the table %s has no column %s for its key, so its events have none", name, column)
		}
		if t.key = append(t.key, i); !m.columns[i].key && m.identity != 'f' {
			problem = fmt.Errorf("deletions of the table %s have no key: alter table %s replica identity full", name, name)
		}
	}
	if t.key == nil {
		problem = fmt.Errorf("the table %s has no primary key, so its events have no key: add one, or set SourceOptions.Tables[%q].Key", name, name)
	}
	return problem
}

func (t *table) column(name string) int {
	return slices.IndexFunc(t.columns, func(c columnMessage) bool { return c.name == name })
}

var errColumns = errors.New("postgres: a row has another number of columns than its table")

// events returns what a change of a row is: one event, or two where the key changes.
func (t *table) events(m *rowMessage) (events []backend.Event, err error) {
	if m.old != nil && len(m.old) != len(t.columns) || m.new != nil && len(m.new) != len(t.columns) {
		return nil, errColumns
	}
	event := func(typ, key string, data []byte) {
		events = append(events, backend.Event{Resource: backend.DB, Type: typ, Namespace: t.collection, Key: key, Data: data})
	}
	if m.kind == 'D' {
		event(backend.DocumentDeleted, t.keyOf(m.old, m.full), nil)
		return events, nil
	}
	for i, c := range m.new { // what has not changed is as it was
		if c.kind == 'u' && m.old != nil && (m.full || t.columns[i].key) {
			m.new[i] = m.old[i]
		}
	}
	key, data := t.keyOf(m.new, true), t.dataOf(m.new)
	if m.kind == 'I' {
		event(backend.DocumentCreated, key, data)
		return events, nil
	}
	if m.old != nil {
		if before := t.keyOf(m.old, m.full); before != key && before != "" {
			event(backend.DocumentDeleted, before, nil)
			event(backend.DocumentCreated, key, data)
			return events, nil
		}
	}
	event(backend.DocumentUpdated, key, data)
	return events, nil
}

// keyOf returns the key of a row, or "" if the row does not have it. all says that the row has
// all columns, not only those of the replica identity.
func (t *table) keyOf(row tuple, all bool) string {
	values := make([]string, len(t.key))
	for i, at := range t.key {
		if row[at].kind == 'u' || row[at].kind == leftOut || !all && !t.columns[at].key {
			return ""
		}
		values[i] = string(row[at].text)
	}
	if len(values) > 1 {
		for i, v := range values {
			values[i] = separators.Replace(v)
		}
	}
	return fit(strings.Join(values, ":"))
}

var separators = strings.NewReplacer("%", "%25", ":", "%3A")

// maxName is how long names in events may be, in bytes.
const maxName = 255

// fit makes a name of any bytes one that an event may have. Control characters and what
// is no UTF-8 become %XX. A name that is too long keeps its beginning, which rights are
// granted by, and gets a hash of the whole in place of the rest.
func fit(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		var b strings.Builder
		for i := 0; i < len(s); {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 || unicode.IsControl(r) {
				for _, c := range []byte(s[i : i+n]) {
					fmt.Fprintf(&b, "%%%02X", c)
				}
			} else {
				b.WriteString(s[i : i+n])
			}
			i += n
		}
		s = b.String()
	}
	if len(s) <= maxName {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	hash := "~" + hex.EncodeToString(sum[:16])
	end := maxName - len(hash)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + hash
}

// leavesOut reports whether a row lacks a value that should be shown, as it was too large
// to be held.
func (t *table) leavesOut(row tuple) bool {
	return row != nil && slices.ContainsFunc(t.data, func(at int) bool { return row[at].kind == leftOut })
}

// dataOf returns the columns that may be shown as a JSON object, or nil if there are
// none to show. A value that was not sent is absent.
func (t *table) dataOf(row tuple) json.RawMessage {
	if len(t.data) == 0 {
		return nil
	}
	b := []byte{'{'}
	for _, at := range t.data {
		c := row[at]
		if c.kind == 'u' || c.kind == leftOut {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(b, quoted(t.columns[at].name)...), ':')
		if c.kind == 'n' {
			b = append(b, "null"...)
		} else {
			b = append(b, value(t.columns[at].typ, c.text)...)
		}
	}
	return append(b, '}')
}

// The types whose text is not shown as text.
const (
	typeBool                              = 16
	typeInt8, typeInt2, typeInt4, typeOID = 20, 21, 23, 26
	typeJSON, typeJSONB                   = 114, 3802
	typeFloat4, typeFloat8, typeNumeric   = 700, 701, 1700
)

// value returns the text of a value as JSON.
func value(typ uint32, text []byte) []byte {
	switch typ {
	case typeBool:
		if bytes.Equal(text, []byte("t")) {
			return []byte("true")
		}
		return []byte("false")
	case typeInt8, typeInt2, typeInt4, typeOID, typeFloat4, typeFloat8, typeNumeric, typeJSON, typeJSONB:
		var compact bytes.Buffer
		if utf8.Valid(text) && json.Compact(&compact, text) == nil { // not so NaN and Infinity
			return compact.Bytes()
		}
	}
	return quoted(string(text))
}

// quoted returns a string as JSON.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can be encoded
	}
	return b
}
