package tsgen

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// field is a member of the JSON object that encoding/json makes of a struct.
type field struct {
	name     string
	typ      reflect.Type
	index    []int // path through embedded structs
	tagged   bool  // the name is from a tag
	optional bool  // the member may be missing
	noNull   bool  // the member is missing where it would be null
	quoted   bool  // by the option string
}

// embedded is a struct whose fields are promoted.
type embedded struct {
	typ      reflect.Type
	index    []int
	optional bool // reached through a pointer
	twice    bool // embedded more than once at its depth
}

// fieldsOf lists the members of a struct's object, in the order they are written.
//
// The rules are those of encoding/json: of the fields of one name the least
// deeply embedded counts; of several at that depth the only one with a tag, or
// the only one at all; otherwise none does.
func fieldsOf(t reflect.Type) []field {
	var found []field
	decided := make(map[string]bool) // names at lesser depths
	visited := make(map[reflect.Type]bool)
	for level := []embedded{{typ: t}}; len(level) > 0; {
		var next []embedded
		byName := make(map[string][]field)
		for _, e := range level {
			visited[e.typ] = true
		}
		for _, e := range level {
			own, inner := e.fields()
			for _, f := range own {
				byName[f.name] = append(byName[f.name], f)
				if e.twice {
					byName[f.name] = append(byName[f.name], f)
				}
			}
			next = enqueue(next, inner)
		}
		for name, fields := range byName {
			if f, ok := dominant(fields); ok && !decided[name] {
				found = append(found, f)
			}
			decided[name] = true
		}
		level = slices.DeleteFunc(next, func(e embedded) bool { return visited[e.typ] })
	}
	slices.SortFunc(found, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return found
}

// enqueue adds structs for the next depth, those of one type once.
func enqueue(next, more []embedded) []embedded {
	for _, e := range more {
		if i := slices.IndexFunc(next, func(o embedded) bool { return o.typ == e.typ }); i >= 0 {
			next[i].twice = true
		} else {
			next = append(next, e)
		}
	}
	return next
}

// dominant returns the one of several fields of the same name and depth that
// counts, if any does.
func dominant(fields []field) (field, bool) {
	tagged := slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return !f.tagged })
	if len(tagged) > 0 {
		fields = tagged
	}
	return fields[0], len(fields) == 1
}

// fields returns a struct's own members, and the structs it embeds.
func (e *embedded) fields() (own []field, inner []embedded) {
	for i := range e.typ.NumField() {
		sf := e.typ.Field(i)
		target := sf.Type // without the one pointer that encoding/json looks through
		if target.Kind() == reflect.Pointer && target.Name() == "" {
			target = target.Elem()
		}
		isStruct := target.Kind() == reflect.Struct
		tag := sf.Tag.Get("json")
		if tag == "-" || !sf.IsExported() && !(sf.Anonymous && isStruct) {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !validName(name) {
			name = ""
		}
		index := append(slices.Clone(e.index), i)
		if sf.Anonymous && isStruct && name == "" {
			optional := e.optional || sf.Type.Kind() == reflect.Pointer
			inner = append(inner, embedded{typ: target, index: index, optional: optional})
			continue
		}
		f := field{name: name, typ: sf.Type, index: index, tagged: name != "", optional: e.optional}
		if name == "" {
			f.name = sf.Name
		}
		f.apply(strings.Split(options, ","), target)
		own = append(own, f)
	}
	return own, inner
}

// apply applies the options of a tag; target is the field's type without a
// pointer.
func (f *field) apply(options []string, target reflect.Type) {
	if slices.Contains(options, "omitempty") && canBeEmpty(f.typ) {
		f.optional, f.noNull = true, true
	}
	if slices.Contains(options, "omitzero") {
		f.optional = true
		// A slice's or map's own IsZero may return false for nil.
		f.noNull = f.noNull || f.typ.Kind() == reflect.Pointer || !reflect.PointerTo(f.typ).Implements(zeroer)
	}
	f.quoted = slices.Contains(options, "string") && isBasic(target.Kind())
}

var zeroer = reflect.TypeFor[interface{ IsZero() bool }]()

// canBeEmpty reports whether omitempty ever omits a value of the type.
func canBeEmpty(t reflect.Type) bool {
	switch k := t.Kind(); k {
	case reflect.Array:
		return t.Len() == 0
	case reflect.Map, reflect.Slice, reflect.Interface, reflect.Pointer:
		return true
	default:
		return isBasic(k)
	}
}

// isBasic reports whether a kind is encoded as a JSON string, number or boolean.
func isBasic(k reflect.Kind) bool {
	return k == reflect.String || k == reflect.Bool || isNumber(k)
}

func isNumber(k reflect.Kind) bool { return reflect.Int <= k && k <= reflect.Float64 }

// validName reports whether encoding/json takes a tag's name: letters, digits, and
// ASCII punctuation except quotes, backslash and comma.
func validName(name string) bool {
	for _, r := range name {
		punctuation := ' ' <= r && r <= '~' && !strings.ContainsRune("\"'`\\,", r)
		if !punctuation && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}
