// Package fault makes errors whose text names its package once.
//
// Errors of this library begin with the name of the package that they are of. One that
// wraps another would name it twice: "realtime: start: realtime: closed".
package fault

import (
	"fmt"
	"strings"
)

// Errorf is [fmt.Errorf], except that wrapped errors do not repeat the name at the
// beginning.
func Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	text := err.Error()
	name, _, found := strings.Cut(text, ": ")
	if !found || strings.ContainsAny(name, " \n") {
		return err
	}
	once := strings.NewReplacer(": "+name+": ", ": ", " ("+name+": ", " (").Replace(text)
	if once == text {
		return err
	}
	return &wrapped{err, once}
}

type wrapped struct {
	err  error
	text string
}

func (w *wrapped) Error() string { return w.text }

func (w *wrapped) Unwrap() error { return w.err }
