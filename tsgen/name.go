package tsgen

import (
	"reflect"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// full is a type's name with the path of its package; the module's own have none.
func full(t reflect.Type) string {
	switch {
	case t == nil:
		return "a type of the module itself"
	case t.PkgPath() == "":
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// nameOf is a type's name in TypeScript, with a capital as is usual there.
func (g *generator) nameOf(t reflect.Type) string {
	if name := g.rules[t].name; name != "" {
		return name
	}
	base, arguments, _ := strings.Cut(t.Name(), "[")
	name := capital(base)
	for _, part := range parts.FindAllString(arguments, -1) {
		switch part {
		case "[]":
			part = "Slice"
		case "*":
			part = "Pointer"
		}
		part = part[strings.LastIndexByte(part, '.')+1:]
		part, _, _ = strings.Cut(part, "·") // which numbers types of the same name in functions
		name += capital(part)
	}
	return name
}

// parts are those of a generic type's arguments: "[]", "*", "map", "path/pkg.Name".
var parts = regexp.MustCompile(`\[\]|\*|[\pL\pN_·./-]+`)

func capital(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}
