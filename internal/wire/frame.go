package wire

import "encoding/json"

// Frame is a control frame or an answer, which a server sends on a WebSocket beside
// events. docs/protocol.md lists the members of each.
type Frame struct {
	Event   string  `json:"event"`
	Ref     *int64  `json:"ref,omitempty"`
	Channel string  `json:"channel,omitempty"`
	ID      string  `json:"id,omitempty"` // of a growing message
	State   string  `json:"state,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Src     string  `json:"src,omitempty"`
	UserID  string  `json:"userId,omitempty"`
	Code    string  `json:"code,omitempty"`
	Message string  `json:"message,omitempty"`
	Retry   *bool   `json:"retry,omitempty"`
	RetryMs *int64  `json:"retryMs,omitempty"`
	Cursor  string  `json:"cursor,omitempty"`
	TS      int64   `json:"ts,omitempty"`
	Limits  *Limits `json:"limits,omitempty"`

	ExpiresIn *int64 `json:"expiresIn,omitempty"` // milliseconds

	Past *Past `json:"-"` // after the other members
}

// Limits are the limits that a client is told.
type Limits struct {
	Message  int `json:"message"`  // bytes
	Channels int `json:"channels"` // of one connection
	Metadata int `json:"metadata"` // bytes
	Rate     int `json:"rate"`     // operations a second
	Burst    int `json:"burst"`    // operations at once
}

// ErrorFrame is the answer to an operation that is refused.
func ErrorFrame(ref *int64, err *Error) Frame {
	return Frame{Event: "error", Ref: ref, Code: err.Code, Message: err.Message, Retry: &err.Retry}
}

// TakenFrame tells a client what it no longer has, and why. The user is "" for a
// subscription.
func TakenFrame(event, channel, user string, why *Error) Frame {
	f := ErrorFrame(nil, why)
	f.Event, f.Channel, f.UserID = event, channel, user
	return f
}

// Append appends the frame to dst.
func (f Frame) Append(dst []byte) []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings, numbers, and members that come from JSON
	}
	if dst = append(dst, b...); f.Past == nil {
		return dst
	}
	o := object{buf: dst[:len(dst)-1]} // without the closing brace
	f.Past.append(&o)
	return o.end()
}
