package wire

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// decodeUsual decodes a frame as the SDK and most clients write it: known members, once
// each, without escapes. ok is false for all others: those are for decodeAny, whose answer
// is the same where both have one.
func decodeUsual(frame []byte) (op Op, ok bool) {
	in := input{rest: frame}
	var seen uint32
	if !in.take('{') {
		return op, false
	}
	for first := true; !in.take('}'); first = false {
		if !first && !in.take(',') {
			return op, false
		}
		name, ok := in.text()
		if !ok || !in.take(':') {
			return op, false
		}
		place, ok := in.member(&op, name)
		if !ok || seen&(1<<place) != 0 {
			return op, false
		}
		seen |= 1 << place
	}
	return op, seen != 0 && len(in.rest) == 0
}

// input is what is left of a frame.
type input struct{ rest []byte }

// member reads the value of a member. place is another one for each of them.
func (in *input) member(op *Op, name []byte) (place int, ok bool) {
	switch string(name) {
	case "op":
		op.Op, ok = in.verb()
		return 0, ok
	case "ref":
		return 1, in.number(&op.Ref)
	case "cid":
		return 2, in.string(&op.CID)
	case "token":
		return 3, in.string(&op.Token)
	case "channel":
		return 4, in.string(&op.Channel)
	case "since":
		return 5, in.string(&op.Since)
	case "presence":
		return 6, in.truth(&op.Presence)
	case "ephemeral":
		return 7, in.truth(&op.Ephemeral)
	case "id":
		return 8, in.string(&op.ID)
	case "userId":
		return 9, in.string(&op.UserID)
	case "rewind":
		return 10, in.number(&op.Rewind)
	case "rewindMs":
		return 17, in.number(&op.RewindMs)
	case "before":
		return 11, in.string(&op.Before)
	case "limit":
		return 12, in.number(&op.Limit)
	case "run":
		return 13, in.string(&op.Run)
	case "offset":
		return 14, in.number(&op.Offset)
	case "data":
		return 15, in.raw(&op.Data)
	case "metadata":
		return 16, in.raw(&op.Metadata)
	}
	return 0, false
}

// space passes white space.
func (in *input) space() {
	for len(in.rest) > 0 && (in.rest[0] == ' ' || in.rest[0] == '\n' || in.rest[0] == '\r' || in.rest[0] == '\t') {
		in.rest = in.rest[1:]
	}
}

// take passes one byte, with white space around it, if it comes next.
func (in *input) take(c byte) bool {
	if in.space(); len(in.rest) == 0 || in.rest[0] != c {
		return false
	}
	in.rest = in.rest[1:]
	in.space()
	return true
}

// text returns a string without escapes, which is part of the frame.
func (in *input) text() ([]byte, bool) {
	if len(in.rest) == 0 || in.rest[0] != '"' {
		return nil, false
	}
	end := 1 + bytes.IndexByte(in.rest[1:], '"')
	if end == 0 {
		return nil, false
	}
	text := in.rest[1:end]
	for _, c := range text {
		if c < ' ' || c == '\\' {
			return nil, false
		}
	}
	in.rest = in.rest[end+1:]
	return text, utf8.Valid(text)
}

func (in *input) string(to *string) bool {
	text, ok := in.text()
	*to = string(text)
	return ok
}

// verb returns the name of an operation.
func (in *input) verb() (string, bool) {
	text, ok := in.text()
	switch string(text) { // so that those that come often take no memory
	case "hello":
		return "hello", ok
	case "subscribe":
		return "subscribe", ok
	case "publish":
		return "publish", ok
	case "ping":
		return "ping", ok
	}
	return string(text), ok
}

func (in *input) truth(to *bool) bool {
	for _, v := range [...]struct {
		text  string
		value bool
	}{{"true", true}, {"false", false}} {
		if after, is := bytes.CutPrefix(in.rest, []byte(v.text)); is {
			in.rest, *to = after, v.value
			return true
		}
	}
	return false
}

// number reads an integer of few digits.
func (in *input) number(to **int64) bool {
	const most = 18 // digits, of which none overflows
	digits, negative := bytes.CutPrefix(in.rest, []byte("-"))
	n, value := 0, int64(0)
	for ; n < len(digits) && digits[n] >= '0' && digits[n] <= '9'; n++ {
		if n == most {
			return false
		}
		value = 10*value + int64(digits[n]-'0')
	}
	if n == 0 || n > 1 && digits[0] == '0' {
		return false
	}
	if negative {
		value = -value
	}
	in.rest, *to = digits[n:], &value
	return true
}

// raw reads any value that nests no deeper than the frame may, and compacts it.
func (in *input) raw(to *json.RawMessage) bool {
	n := lengthOf(in.rest)
	value, err := Compact(in.rest[:n])
	*to, in.rest = value, in.rest[n:]
	return err == nil
}

// lengthOf returns how many bytes the value at the beginning of JSON has.
func lengthOf(data []byte) int {
	depth := 0
	for i, c := range unquoted(data) {
		switch {
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth < 0 {
				return i
			}
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(data)
}
