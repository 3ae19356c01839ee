package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidText reports whether s may be a field of an event: at most [MaxName] bytes of
// UTF-8 without control characters.
func ValidText(s string) bool {
	return len(s) <= MaxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// ValidName reports whether s keeps the rules of all names, of users as well: it is
// [ValidText] and not empty.
func ValidName(s string) bool { return s != "" && ValidText(s) }

// ValidChannel reports whether s may name a channel, or a group of handlers: it is a
// [ValidName] that does not begin with '$'.
func ValidChannel(s string) bool { return ValidName(s) && s[0] != '$' }

// What [ValidChannel] and [ValidName] ask of a name, for those who are refused.
const (
	ChannelRule = NameRule + ", and does not begin with '$'"
	NameRule    = "is 1 to 255 bytes of UTF-8 without control characters"
)

// BadChannel refuses what is no name of a channel: see [ValidChannel].
func BadChannel(name string) *Error {
	return Errorf("bad_channel", "%s is no channel: its name %s", Quote(name), ChannelRule)
}

// NameFault says why [ValidChannel], [ValidName] or [ValidText] is false of s.
func NameFault(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > MaxName:
		return fmt.Sprintf("it has %d bytes, and may have %d", len(s), MaxName)
	case !utf8.ValidString(s):
		return "it is not UTF-8"
	case !ValidText(s):
		return "it has a control character"
	}
	return "names that begin with '$' are reserved"
}

// Clip shortens the text of an error, or of a client, which may be anything, to 512 bytes
// of UTF-8.
func Clip(s string) string {
	const most = 512
	if len(s) > most {
		s = strings.Clone(s[:most]) // the rest is not kept
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
