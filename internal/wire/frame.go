package wire

// Frame is a control frame or an answer, which a server sends on a WebSocket beside
// events. docs/protocol.md lists the members of each. Those that are not set are left out,
// except the event.
type Frame struct {
	Event   string
	Ref     *int64
	Channel string
	ID      string // of a growing message
	State   string
	Reason  string
	Src     string
	UserID  string
	Code    string
	Message string
	Retry   *bool
	RetryMs *int64
	Cursor  string
	TS      int64
	Limits  *Limits

	ExpiresIn *int64 // milliseconds

	Past *Past // after the other members
}

// Limits are the limits that a client is told.
type Limits struct {
	Message  int // bytes
	Channels int // of one connection
	Metadata int // bytes
	Rate     int // operations a second
	Burst    int // operations at once
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
	o := object{buf: append(dst, '{')}
	o.text("event", f.Event)
	o.optionalNumber("ref", f.Ref)
	for _, m := range [...]struct{ name, value string }{
		{"channel", f.Channel}, {"id", f.ID}, {"state", f.State}, {"reason", f.Reason}, {"src", f.Src}, {"userId", f.UserID},
		{"code", f.Code}, {"message", f.Message},
	} {
		o.optional(m.name, m.value)
	}
	if f.Retry != nil {
		o.truth("retry", *f.Retry)
	}
	o.optionalNumber("retryMs", f.RetryMs)
	o.optional("cursor", f.Cursor)
	if f.TS != 0 {
		o.number("ts", f.TS)
	}
	if f.Limits != nil {
		o.name("limits")
		o.buf = f.Limits.append(o.buf)
	}
	o.optionalNumber("expiresIn", f.ExpiresIn)
	if f.Past != nil {
		f.Past.append(&o)
	}
	return o.end()
}

func (l *Limits) append(dst []byte) []byte {
	o := object{buf: append(dst, '{')}
	o.number("message", int64(l.Message))
	o.number("channels", int64(l.Channels))
	o.number("metadata", int64(l.Metadata))
	o.number("rate", int64(l.Rate))
	o.number("burst", int64(l.Burst))
	return o.end()
}
