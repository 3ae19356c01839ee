package client

import (
	"encoding/json"
	"fmt"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// frame is anything a server sends on a WebSocket: docs/protocol.md.
type frame struct {
	Event    string            `json:"event"`
	Ref      int64             `json:"ref"` // ours begin with 1
	Channel  string            `json:"channel"`
	State    string            `json:"state"`
	Reason   string            `json:"reason"`
	Cursor   string            `json:"cursor"`
	ID       string            `json:"id"`
	Data     json.RawMessage   `json:"data"`
	From     string            `json:"from"`
	UserID   string            `json:"userId"`
	TS       int64             `json:"ts"`
	Metadata json.RawMessage   `json:"metadata"`
	Members  []realtime.Member `json:"members"`
	Part     int               `json:"part"`
	More     bool              `json:"more"`
	Limits   *limits           `json:"limits"`
	Code     string            `json:"code"`
	Message  string            `json:"message"`
	Retry    bool              `json:"retry"`
	RetryMs  int64             `json:"retryMs"`

	ExpiresIn *int64 `json:"expiresIn"` // milliseconds

	Messages []frame `json:"messages"` // of the past
	Before   string  `json:"before"`
	End      string  `json:"end"`

	Ephemeral bool `json:"ephemeral"`

	// Of a growing message.
	Stream  string            `json:"stream"`
	Run     string            `json:"run"`
	Offset  int64             `json:"offset"`
	Next    int64             `json:"next"`
	Text    string            `json:"text"`
	Items   []json.RawMessage `json:"items"`
	Partial bool              `json:"partial"`
	Error   *wire.Error       `json:"error"`
}

// message is the message in a frame.
func (f *frame) message() Message {
	m := Message{
		Channel: f.Channel, Data: f.Data, From: f.From, UserID: f.UserID, UnixMilli: f.TS, Cursor: realtime.Cursor(f.ID), Ephemeral: f.Ephemeral,
	}
	if f.Stream != "" {
		m.Stream, m.State = f.Stream, realtime.StreamState(f.State)
	}
	return m
}

// limits are the server's limits on the rate and size of a client's operations.
type limits struct {
	Message int `json:"message"`
	Rate    int `json:"rate"`
	Burst   int `json:"burst"`
}

func decodeFrame(line []byte) (frame, error) {
	var f frame
	if err := json.Unmarshal(line, &f); err != nil {
		return frame{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if f.Event == "" {
		return frame{}, fmt.Errorf("%w: a frame without event", errUnreadable)
	}
	return f, nil
}

// refusal is the error of an error frame.
func (f *frame) refusal() *Error { return &Error{Code: f.Code, Message: f.Message, Retry: f.Retry} }

// op is what a client sends.
type op struct {
	Op       string          `json:"op"`
	Ref      int64           `json:"ref,omitempty"`
	CID      string          `json:"cid,omitempty"`
	Token    string          `json:"token,omitempty"`
	Channel  string          `json:"channel,omitempty"`
	Since    string          `json:"since,omitempty"`
	Presence bool            `json:"presence,omitempty"`
	UserID   string          `json:"userId,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	ID       string          `json:"id,omitempty"`
	Before   string          `json:"before,omitempty"`
	Limit    int             `json:"limit,omitempty"`

	Ephemeral bool   `json:"ephemeral,omitempty"`
	Run       string `json:"run,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`

	rewind
}

// rewind is what of the past a loop begins with.
type rewind struct {
	Messages *int   `json:"rewind,omitempty"`
	Millis   *int64 `json:"rewindMs,omitempty"`
}
