package tsgen

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// setRules reads the rules of a schema for single types.
func (g *generator) setRules(types []Type) error {
	g.rules = map[reflect.Type]Type{reflect.TypeFor[time.Time](): {as: "string"}}
	told := make(map[reflect.Type]bool)
	for i, t := range types {
		where := fmt.Sprintf("Types[%d]", i)
		if t.of == nil {
			return fmt.Errorf("%s is empty: make it with Enum, As or Name", where)
		}
		where += ", of " + full(t.of)
		switch {
		case t.enum && len(t.values) == 0:
			return fmt.Errorf("%s: an Enum without values", where)
		case t.enum && t.of.Name() == "":
			return fmt.Errorf("%s: an Enum of a type without a name", where)
		case !t.tells() && !typeName.MatchString(t.name):
			return fmt.Errorf("%s: a bad name or type: %q", where, t.name+t.as)
		case t.tells() && told[t.of], !t.tells() && g.rules[t.of].name != "":
			return fmt.Errorf("%s: said twice", where)
		}
		rule := g.rules[t.of]
		if t.tells() {
			told[t.of] = true
			t.name = rule.name
			rule = t
		} else {
			rule.name = t.name
		}
		g.rules[t.of] = rule
	}
	return nil
}

var typeName = regexp.MustCompile(`^[A-Z]\w*$`)

// union returns the union of an enum's values.
func (t Type) union() (string, error) {
	var literals []string
	for _, v := range t.values {
		text, err := literal(v)
		if err != nil {
			return "", fmt.Errorf("a value of Enum[%s]: %w", full(t.of), err)
		}
		literals = append(literals, text)
	}
	return strings.Join(literals, " | "), nil
}
