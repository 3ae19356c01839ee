package tsgen

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// expr is a type in TypeScript's terms.
type expr struct {
	text     string
	null     bool // or null
	compound bool // needs parentheses to be part of another
}

var unknown = expr{text: "unknown"}

func (e expr) orNull() expr {
	e.null = e.text != unknown.text
	return e
}

func (e expr) String() string {
	if e.null {
		return e.operand() + " | null"
	}
	return e.text
}

// operand is the type without null, as part of another.
func (e expr) operand() string {
	if e.compound {
		return "(" + e.text + ")"
	}
	return e.text
}

// element is the type as that of an array's elements.
func (e expr) element() string {
	if e.null {
		return "(" + e.String() + ")"
	}
	return e.operand()
}

// generator collects the declarations of a module.
type generator struct {
	rules map[reflect.Type]Type
	names map[string]reflect.Type // nil: the module's own
	decls map[string]string
}

// value returns the type of a value in the schema.
func (g *generator) value(v any, path string) (expr, error) {
	t := reflect.TypeOf(v)
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	return g.typeOf(t, path)
}

// typeOf returns what t encodes as; path says where it was met.
func (g *generator) typeOf(t reflect.Type, path string) (expr, error) {
	rule := g.rules[t]
	switch {
	case rule.as != "":
		return expr{text: rule.as, compound: !plain.MatchString(rule.as)}, nil
	case rule.enum:
		return g.declare(t, path)
	case t.Kind() == reflect.Pointer && t.Name() == "" && g.rules[t.Elem()].tells():
		e, err := g.typeOf(t.Elem(), path)
		return e.orNull(), err
	}
	if e, ok := selfEncoded(t); ok {
		return e, nil
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		if t.Name() != "" {
			return g.declare(t, path)
		}
	}
	return g.spell(t, path)
}

// plain is a type that needs no parentheses.
var plain = regexp.MustCompile(`^[\w.]+$`)

// tells reports whether a rule says what a type encodes as.
func (t Type) tells() bool { return t.as != "" || t.enum }

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// selfEncoded is the type of what encodes itself.
func selfEncoded(t reflect.Type) (expr, bool) {
	pointer := t
	if t.Kind() != reflect.Pointer {
		pointer = reflect.PointerTo(t)
	}
	switch {
	case t == reflect.TypeFor[json.Number]():
		return expr{text: "number"}, true
	case t.Implements(jsonMarshaler), pointer.Implements(jsonMarshaler):
		return unknown, true
	case t.Implements(textMarshaler):
		e := expr{text: "string"}
		e.null = t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface
		return e, true
	case pointer.Implements(textMarshaler):
		return unknown, true // it depends on whether the value can be addressed
	}
	return expr{}, false
}

// spell spells a type out.
func (g *generator) spell(t reflect.Type, path string) (expr, error) {
	switch k := t.Kind(); {
	case k == reflect.Bool:
		return expr{text: "boolean"}, nil
	case isNumber(k):
		return expr{text: "number"}, nil
	case k == reflect.String:
		return expr{text: "string"}, nil
	case k == reflect.Interface:
		return unknown, nil
	case k == reflect.Pointer:
		e, err := g.typeOf(t.Elem(), path)
		return e.orNull(), err
	case k == reflect.Slice:
		return g.slice(t, path)
	case k == reflect.Array:
		return g.array(t, path)
	case k == reflect.Map:
		return g.mapping(t, path)
	case k == reflect.Struct:
		members, err := g.members(t, path)
		if len(members) == 0 {
			return expr{text: "{}"}, err
		}
		return expr{text: "{ " + strings.Join(members, " ") + " }"}, err
	}
	return expr{}, fmt.Errorf("%s: %s cannot be encoded as JSON", path, t)
}

func (g *generator) slice(t reflect.Type, path string) (expr, error) {
	if _, self := selfEncoded(t.Elem()); t.Elem().Kind() == reflect.Uint8 && !self {
		return expr{text: "string", null: true}, nil // base64
	}
	e, err := g.typeOf(t.Elem(), path+"[]")
	return expr{text: e.element() + "[]", null: true}, err
}

// longestTuple is the length up to which an array is a tuple.
const longestTuple = 8

func (g *generator) array(t reflect.Type, path string) (expr, error) {
	e, err := g.typeOf(t.Elem(), path+"[]")
	if t.Len() > longestTuple {
		return expr{text: e.element() + "[]"}, err
	}
	return expr{text: "[" + strings.Join(slices.Repeat([]string{e.String()}, t.Len()), ", ") + "]"}, err
}

func (g *generator) mapping(t reflect.Type, path string) (expr, error) {
	key := t.Key()
	_, self := selfEncoded(key)
	isInt := reflect.Int <= key.Kind() && key.Kind() <= reflect.Uintptr
	if key.Kind() != reflect.String && !isInt && !key.Implements(textMarshaler) {
		return expr{}, fmt.Errorf("%s: %s cannot be encoded as JSON: its keys are %s", path, t, key)
	}
	e, err := g.typeOf(t.Elem(), path+"[…]")
	if err != nil {
		return expr{}, err
	}
	// Keys are their text, even of a string type that encodes itself.
	if g.rules[key].enum && key.Kind() == reflect.String && !self {
		name, err := g.declare(key, path)
		return expr{text: "{ [key in " + name.text + "]?: " + e.String() + " }", null: true}, err
	}
	return expr{text: "{ [key: string]: " + e.String() + " }", null: true}, nil
}

// members are a struct's, such as "text?: string;".
func (g *generator) members(t reflect.Type, path string) ([]string, error) {
	var members []string
	for _, f := range fieldsOf(t) {
		e, err := g.member(f, path+"."+t.FieldByIndex(f.index).Name)
		if err != nil {
			return nil, err
		}
		optional := ""
		if f.optional {
			optional = "?"
		}
		members = append(members, propertyName(f.name)+optional+": "+e.String()+";")
	}
	return members, nil
}

func (g *generator) member(f field, path string) (expr, error) {
	e, err := g.typeOf(f.typ, path)
	if f.quoted {
		e = asString(e, f.typ)
	}
	if f.noNull && e.null {
		return g.present(e, f.typ, path)
	}
	return e, err
}

// present is e, the type of a t, where that is not nil itself: what a pointer
// points to may be.
func (g *generator) present(e expr, t reflect.Type, path string) (expr, error) {
	e.null = false
	if t.Kind() != reflect.Pointer {
		return e, nil
	}
	inner, err := g.typeOf(t.Elem(), path)
	e.null = inner.null
	return e, err
}

// asString is the type of a field with the option string, given that without.
// What encodes itself ignores the option.
func asString(e expr, t reflect.Type) expr {
	isPointer := t.Kind() == reflect.Pointer
	if isPointer {
		t = t.Elem()
	}
	if _, self := selfEncoded(t); self && t != reflect.TypeFor[json.Number]() {
		return e
	}
	return expr{text: "string", null: isPointer}
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][\w$]*$`)

func propertyName(name string) string {
	if identifier.MatchString(name) {
		return name
	}
	return quote(name)
}

// literal is a value as encoding/json encodes it, which is TypeScript too.
func literal(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// quote is a string in TypeScript.
func quote(s string) string {
	text, _ := literal(s) // a string always encodes
	return text
}

// declare returns the name of a type, having declared it.
func (g *generator) declare(t reflect.Type, path string) (expr, error) {
	name := g.nameOf(t)
	k := t.Kind()
	use := expr{text: name, null: !g.rules[t].enum && (k == reflect.Slice || k == reflect.Map || k == reflect.Pointer)}
	if other, taken := g.names[name]; taken && other == t {
		return use, nil
	} else if taken {
		return expr{}, fmt.Errorf("%s: %s and %s would both be named %s: rename one with tsgen.Name", path, full(other), full(t), name)
	}
	g.names[name] = t // before what it consists of, which may be itself

	decl, err := g.declaration(t, name, path)
	g.decls[name] = decl
	return use, err
}

func (g *generator) declaration(t reflect.Type, name, path string) (string, error) {
	switch {
	case g.rules[t].enum:
		union, err := g.rules[t].union()
		return "export type " + name + " = " + union + ";\n", err
	case t.Kind() != reflect.Struct:
		e, err := g.spell(t, path)
		return "export type " + name + " = " + e.text + ";\n", err
	}
	members, err := g.members(t, path)
	if len(members) == 0 {
		return "export interface " + name + " {}\n", err
	}
	return "export interface " + name + " {\n  " + strings.Join(members, "\n  ") + "\n}\n", err
}
