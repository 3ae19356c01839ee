package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"
)

// Error is what a refused request gets, everywhere.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Retry   bool   `json:"retry"` // whether the same can succeed later
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf returns an error with a code. The message is shown to clients: it holds
// nothing of the server's inside, and input only through [Quote].
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// BadClientID refuses what is no client id: see [ValidClientID].
func BadClientID(id string) *Error {
	return Errorf("bad_request", "%s is no client id: that is 16 to 64 characters of A-Z a-z 0-9 . _ -", Quote(id))
}

// Quote quotes input for a message, at most 64 bytes of it.
func Quote(s string) string {
	if len(s) > 64 {
		s = s[:64]
		for !utf8.ValidString(s) && len(s) > 60 {
			s = s[:len(s)-1]
		}
		return fmt.Sprintf("%+q…", s)
	}
	return fmt.Sprintf("%+q", s)
}

// Op is what a client sends.
type Op struct {
	Op        string
	Ref       *int64
	CID       string
	Token     string
	Channel   string
	Since     string
	Rewind    *int64 // messages
	RewindMs  *int64
	Before    string
	Limit     *int64
	Run       string
	Offset    *int64
	Presence  bool
	Ephemeral bool
	ID        string
	UserID    string
	Data      json.RawMessage // compact
	Metadata  json.RawMessage // compact
}

// MaxDepth is how deep JSON from a client may nest.
const MaxDepth = 64

// DecodeOp decodes one frame from a client. Where it returns an error, the Op
// holds the ref if one could be read.
//
// encoding/json takes the last of duplicate members and ignores the case of
// names, so that what one layer checks is not what another one uses. Here both
// are refused in the envelope; what is in data and metadata is the host's.
func DecodeOp(frame []byte) (Op, *Error) {
	if depth(frame) > MaxDepth {
		return Op{}, Errorf("bad_json", "nested deeper than %d", MaxDepth)
	}
	if op, ok := decodeUsual(frame); ok {
		return op, nil
	}
	return decodeAny(frame)
}

// decodeAny is DecodeOp for all frames that do not nest too deep.
func decodeAny(frame []byte) (Op, *Error) {
	var op Op
	members, err := split(frame)
	if err != nil {
		return op, err
	}
	targets := map[string]any{
		"op": &op.Op, "ref": &op.Ref, "cid": &op.CID, "token": &op.Token, "channel": &op.Channel, "since": &op.Since,
		"presence": &op.Presence, "ephemeral": &op.Ephemeral, "id": &op.ID, "userId": &op.UserID, "data": &op.Data, "metadata": &op.Metadata,
		"rewind": &op.Rewind, "rewindMs": &op.RewindMs, "before": &op.Before, "limit": &op.Limit,
		"run": &op.Run, "offset": &op.Offset,
	}
	if raw, ok := members["ref"]; ok { // first, so that the other errors can carry it
		if json.Unmarshal(raw, &op.Ref) != nil {
			op.Ref = nil
			return op, Errorf("bad_request", `"ref" must be an integer`)
		}
	}
	for name, raw := range members {
		target, known := targets[name]
		if !known {
			for want := range targets {
				if strings.EqualFold(name, want) {
					return op, Errorf("bad_request", "%s must be spelled %q", Quote(name), want)
				}
			}
			continue
		}
		if json.Unmarshal(raw, target) != nil {
			return op, Errorf("bad_request", "%q has the wrong type", name)
		}
	}
	return op, nil
}

// split splits a JSON object into its members, compacted.
func split(frame []byte) (map[string]json.RawMessage, *Error) {
	notJSON := Errorf("bad_json", "not a JSON object")
	dec := json.NewDecoder(bytes.NewReader(frame))
	if t, _ := dec.Token(); t != json.Delim('{') { // nor after an error
		return nil, notJSON
	}
	members := make(map[string]json.RawMessage, 8)
	for dec.More() {
		t, _ := dec.Token()
		name, ok := t.(string) // nor after an error
		if !ok {
			return nil, notJSON
		}
		if _, twice := members[name]; twice {
			return nil, Errorf("bad_request", "%s stands twice", Quote(name))
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, notJSON
		}
		members[name], _ = Compact(raw)
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, notJSON
	}
	return members, nil
}

// depth returns how deep data nests, if it is JSON.
func depth(data []byte) int {
	deepest, now := 0, 0
	for _, c := range unquoted(data) {
		switch c {
		case '{', '[':
			now++
			deepest = max(deepest, now)
		case '}', ']':
			now--
		}
	}
	return deepest
}

// unquoted yields the bytes of JSON that stand outside of strings, with their places.
func unquoted(data []byte) iter.Seq2[int, byte] {
	return func(yield func(int, byte) bool) {
		quoted := false
		for i := 0; i < len(data); i++ {
			switch c := data[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case !quoted && !yield(i, c):
				return
			}
		}
	}
}

// MaxEphemeral is the largest data of an ephemeral message, in bytes: many of them wait,
// and travel, together.
const MaxEphemeral = 16 << 10

// CheckEphemeral refuses a publish that asks for what a live message cannot be.
func (op *Op) CheckEphemeral() *Error {
	switch {
	case !op.Ephemeral:
		return nil
	case op.ID != "":
		return Errorf("bad_request", "an ephemeral message has no id")
	case len(op.Data) > MaxEphemeral:
		return Errorf("too_large", "an ephemeral message has at most %d bytes of data", MaxEphemeral)
	}
	return nil
}

// Place returns from where on the client lacks the content of a growing message with a run.
func (op *Op) Place(run string) int {
	if op.Run == run && op.Offset != nil {
		return int(*op.Offset)
	}
	return 0
}
