package storage

import (
	"strings"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// MaxPath is the length of the longest path, in bytes.
const MaxPath = wire.MaxName

// ValidPath reports whether path can name an object. It is relative, of segments
// between single slashes, at most [MaxPath] bytes of UTF-8 without control
// characters, and means the same on every file system: no segment begins with a
// dot, or ends with a dot or space, or is the name of a device on Windows, and
// there is none of \ : * ? " < > |.
func ValidPath(path string) bool {
	if !wire.ValidText(path) || strings.ContainsAny(path, `\:*?"<>|`) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if !validSegment(segment) {
			return false
		}
	}
	return true
}

func validSegment(s string) bool {
	if s == "" || s[0] == '.' {
		return false
	}
	switch s[len(s)-1] {
	case '.', ' ':
		return false
	}
	return !isDevice(s)
}

// isDevice reports whether Windows takes a name for that of a device, whatever
// its extension.
func isDevice(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	name = strings.ToUpper(strings.TrimRight(name, " "))
	switch name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if n, ok := strings.CutPrefix(name, port); ok && utf8.RuneCountInString(n) == 1 && strings.Contains("0123456789¹²³", n) {
			return true
		}
	}
	return false
}
