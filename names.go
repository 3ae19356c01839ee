package realtime

import (
	"fmt"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

func badChannel(name string) bool { return badName(name) || name[0] == '$' }

// badName reports whether name breaks the rules of all names: see [ErrBadChannel].
func badName(name string) bool { return name == "" || badText(name) }

func badText(s string) bool { return !wire.ValidText(s) }

// badChannelError says why badChannel is true of name.
func badChannelError(name string) error { return nameError(ErrBadChannel, name) }

// nameError is err, and says what is wrong with name.
func nameError(err error, name string) error {
	return fmt.Errorf("%w %s: %s", err, wire.Quote(name), nameFault(name))
}

// nameFault says why badChannel, badName or badText is true of name.
func nameFault(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > wire.MaxName:
		return fmt.Sprintf("it has %d bytes, and may have %d", len(name), wire.MaxName)
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case badText(name):
		return "it has a control character"
	}
	return "names that begin with '$' are reserved"
}
