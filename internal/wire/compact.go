package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Compact returns JSON without insignificant space, and so without line breaks,
// in memory of its own.
func Compact(data []byte) (json.RawMessage, error) {
	return CompactTo(bytes.NewBuffer(make([]byte, 0, len(data))), data)
}

// CompactTo is Compact in the memory of b, which must be empty.
func CompactTo(b *bytes.Buffer, data []byte) (json.RawMessage, error) {
	if !utf8.Valid(data) { // which encoding/json lets pass
		return nil, errors.New("invalid UTF-8")
	}
	if isCompact(data) { // as encoders make it: encoding/json takes ten times as long
		b.Write(data)
		return b.Bytes(), nil
	}
	if err := json.Compact(b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// mostNested is how deep the arrays and objects may nest of which isCompact knows.
const mostNested = 64

// isCompact reports whether data is a value of JSON (RFC 8259) without whitespace around
// its tokens. It does not look at the encoding of characters in strings. It may report
// false of a value that nests deeper than mostNested.
func isCompact(data []byte) bool { return value(data, 0, 0) == len(data) }

// bad stands for the end of what is no JSON.
const bad = -1

// value returns the end of the value that begins at b[i].
func value(b []byte, i, depth int) int {
	if i == len(b) {
		return bad
	}
	switch b[i] {
	case '{', '[':
		return container(b, i, depth)
	case '"':
		return quoted(b, i)
	case 't':
		return literal(b, i, "true")
	case 'f':
		return literal(b, i, "false")
	case 'n':
		return literal(b, i, "null")
	}
	return number(b, i)
}

// container returns the end of an array or object.
func container(b []byte, i, depth int) int {
	object, end := b[i] == '{', b[i]+2 // as ASCII has them
	if i++; i == len(b) || depth == mostNested {
		return bad
	}
	if b[i] == end {
		return i + 1
	}
	for {
		if object {
			if i = quoted(b, i); i == bad || i == len(b) || b[i] != ':' {
				return bad
			}
			i++
		}
		if i = value(b, i, depth+1); i == bad || i == len(b) {
			return bad
		}
		switch b[i] {
		case ',':
			i++
		case end:
			return i + 1
		default:
			return bad
		}
	}
}

// quoted returns the end of a string.
func quoted(b []byte, i int) int {
	if i == len(b) || b[i] != '"' {
		return bad
	}
	for i++; ; {
		for len(b)-i >= 8 && plain(binary.LittleEndian.Uint64(b[i:])) {
			i += 8
		}
		if i == len(b) {
			return bad
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i = escape(b, i+1); i == bad {
				return bad
			}
		case c < ' ':
			return bad
		default:
			i++
		}
	}
}

// plain reports whether none of 8 bytes is a quote, a backslash or a control character.
// It looks at all at once: subtracting 1 from a byte that is 0, or a space from one that
// is less, sets its highest bit.
func plain(x uint64) bool {
	const each, highest = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^'"'*each, x^'\\'*each
	return ((quote-each)|(backslash-each)|(x-' '*each))&^x&highest == 0
}

// escape returns the end of an escape sequence, from what follows its backslash.
func escape(b []byte, i int) int {
	if i == len(b) {
		return bad
	}
	if b[i] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, b[i]) < 0 {
			return bad
		}
		return i + 1
	}
	end := i + 5
	if len(b) < end {
		return bad
	}
	for _, c := range b[i+1 : end] {
		if !(isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return bad
		}
	}
	return end
}

func literal(b []byte, i int, name string) int {
	if !bytes.HasPrefix(b[i:], []byte(name)) {
		return bad
	}
	return i + len(name)
}

// number returns the end of a number.
func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	default:
		i = digits(b, i)
	}
	if i != bad && i < len(b) && b[i] == '.' {
		i = digits(b, i+1)
	}
	if i != bad && i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = digits(b, i)
	}
	return i
}

// digits returns the end of one or more digits.
func digits(b []byte, i int) int {
	begin := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == begin {
		return bad
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
