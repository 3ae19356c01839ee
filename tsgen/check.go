package tsgen

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

var placeholder = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

// shapeOf returns a channel's name without the names of its placeholders, or what
// is wrong with it.
func shapeOf(name string) (string, error) {
	shape := placeholder.ReplaceAllLiteralString(name, "{}")
	switch text := placeholder.ReplaceAllLiteralString(name, ""); {
	case strings.ContainsAny(text, "{}"):
		return "", errors.New("placeholders must be {name}")
	case strings.Contains(text, "*"):
		return "", errors.New("has a *: use a {placeholder}")
	case strings.Contains(shape, "{}{}"):
		return "", errors.New("nothing tells two placeholders apart")
	}
	// A placeholder stands for a character at least.
	return shape, checkName(placeholder.ReplaceAllLiteralString(name, "x"))
}

// checkName reports what the server would refuse in a name of a channel or a type.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case name[0] == '$':
		return errors.New("names that begin with $ are reserved")
	case len(name) > wire.MaxName:
		return fmt.Errorf("is longer than %d bytes", wire.MaxName)
	case !wire.ValidText(name):
		return errors.New("is not UTF-8, or has control characters")
	}
	return nil
}

// known are the resources that the SDK has types for.
var known = []string{"kv", "db", "storage", "realtime", "presence"}

func (ev *Event) check() error {
	switch {
	case !wire.ValidDomain(ev.Resource):
		return errors.New("resource must be 1 to 64 characters of [A-Za-z0-9._-]")
	case slices.Contains(known, ev.Resource):
		return fmt.Errorf("events of %s are in the SDK", ev.Resource)
	}
	if err := checkName(ev.Type); err != nil {
		return fmt.Errorf("type %w", err)
	}
	return nil
}
