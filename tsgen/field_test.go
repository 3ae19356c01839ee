package tsgen

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestFieldsLikeJSON holds fieldsOf against encoding/json on random struct types
// that embed each other: the members of a filled value are all there are, and those of
// the zero value the ones that are not optional.
func TestFieldsLikeJSON(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		typ := randomStruct(r, 4, nil)
		var all, required []string
		for _, f := range fieldsOf(typ) {
			all = append(all, f.name)
			if !f.optional {
				required = append(required, f.name)
			}
		}
		full := reflect.New(typ).Elem()
		fill(full)
		if got := keys(t, full); !slices.Equal(got, all) {
			t.Fatalf("seed %d: %v\nencodes %q\nfieldsOf %q", seed, typ, got, all)
		}
		if got := keys(t, reflect.Zero(typ)); !slices.Equal(got, required) {
			t.Fatalf("seed %d: %v\nzero value encodes %q\nrequired are %q", seed, typ, got, required)
		}
	}
}

// randomStruct returns a struct type; pool collects the types that may be embedded
// again, as in several places.
func randomStruct(r *rand.Rand, depth int, pool *[]reflect.Type) reflect.Type {
	if pool == nil {
		pool = new([]reflect.Type)
	}
	tags := []string{"", "", "", `json:"A"`, `json:"B"`, `json:"b"`, `json:",omitempty"`, `json:"C,omitzero"`, `json:"-"`, `json:"-,"`, `json:"no\"name"`}
	var fields []reflect.StructField
	for _, name := range []string{"A", "B", "C", "D"} {
		if r.IntN(3) == 0 {
			tag := tags[r.IntN(len(tags))]
			fields = append(fields, reflect.StructField{Name: name, Type: reflect.TypeFor[int](), Tag: reflect.StructTag(tag)})
		}
	}
	for _, name := range []string{"E", "F", "G"} {
		if depth == 0 || r.IntN(2) == 0 {
			continue
		}
		var inner reflect.Type
		if len(*pool) > 0 && r.IntN(2) == 0 {
			inner = (*pool)[r.IntN(len(*pool))]
		} else {
			inner = randomStruct(r, depth-1, pool)
		}
		f := reflect.StructField{Name: name, Type: inner, Anonymous: true}
		if r.IntN(3) == 0 {
			f.Type = reflect.PointerTo(inner)
		}
		if r.IntN(8) == 0 {
			f.Tag = `json:"B"`
		}
		fields = append(fields, f)
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	typ := reflect.StructOf(fields)
	*pool = append(*pool, typ)
	return typ
}

// fill leaves nothing zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Int:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// keys lists the members of the object that v encodes as, in order.
func keys(t *testing.T, v reflect.Value) (keys []string) {
	t.Helper()
	src, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(src))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.(string))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// TestTagNames holds validName against encoding/json for every character there may
// be trouble with.
func TestTagNames(t *testing.T) {
	for _, name := range strings.Split("a 1 ä ! # $ % & ' ( ) * + - . / : ; < = > ? @ [ ] ^ _ ` { | } ~ \u00b7 \u2028 \u0301 € x\\\\y", " ") {
		typ := reflect.StructOf([]reflect.StructField{{Name: "Field", Type: reflect.TypeFor[int](), Tag: reflect.StructTag(`json:"x` + name + `"`)}})
		if got, want := fieldsOf(typ)[0].name, keys(t, reflect.Zero(typ))[0]; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
