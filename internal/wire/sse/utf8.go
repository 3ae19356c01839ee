package sse

import (
	"strings"
	"unicode/utf8"
)

// decode decodes UTF-8 as browsers do: what is invalid becomes one U+FFFD for each
// maximal part of a character, and for each byte that is no part of one (WHATWG
// Encoding, section 8.1.1; Unicode, section 3.9, "Constraints on Conversion
// Processes").
func decode(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	s.Grow(len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = maximalPart(b)
		}
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// maximalPart returns how many bytes of b, which does not begin with a character,
// are the beginning of one: at least 1, so that decoding goes on.
func maximalPart(b []byte) int {
	// After some first bytes the second one has a smaller range: overlong forms,
	// surrogates and code points above U+10FFFF are not the beginning of a character.
	low, high, size := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c < 0xc2, c > 0xf4:
		return 1
	case c < 0xe0:
		size = 2
	case c < 0xf0:
		size = 3
	default:
		size = 4
	}
	switch b[0] {
	case 0xe0:
		low = 0xa0
	case 0xed:
		high = 0x9f
	case 0xf0:
		low = 0x90
	case 0xf4:
		high = 0x8f
	}
	n := 1
	for n < size && n < len(b) && low <= b[n] && b[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}
