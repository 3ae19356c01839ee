package wire

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
)

// encoded is a Frame as encoding/json writes it.
type encoded struct {
	Event   string `json:"event"`
	Ref     *int64 `json:"ref,omitempty"`
	Channel string `json:"channel,omitempty"`
	ID      string `json:"id,omitempty"`
	State   string `json:"state,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Src     string `json:"src,omitempty"`
	UserID  string `json:"userId,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Retry   *bool  `json:"retry,omitempty"`
	RetryMs *int64 `json:"retryMs,omitempty"`
	Cursor  string `json:"cursor,omitempty"`
	TS      int64  `json:"ts,omitempty"`
	Limits  *struct {
		Message  int `json:"message"`
		Channels int `json:"channels"`
		Metadata int `json:"metadata"`
		Rate     int `json:"rate"`
		Burst    int `json:"burst"`
	} `json:"limits,omitempty"`
	ExpiresIn *int64 `json:"expiresIn,omitempty"`
}

// A frame has the members that are set, whichever they are.
func TestFrameAppend(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		text := func() string {
			return []string{"", "", "a", "<&>\"\\\n\u2028\xff{", "\U0001F600 \x00"}[r.IntN(5)]
		}
		number := func() *int64 {
			if r.IntN(2) == 0 {
				return nil
			}
			n := r.Int64() - r.Int64()
			return &n
		}
		f := Frame{
			Event: text(), Ref: number(), Channel: text(), ID: text(), State: text(), Reason: text(), Src: text(), UserID: text(),
			Code: text(), Message: text(), RetryMs: number(), Cursor: text(), ExpiresIn: number(),
		}
		if r.IntN(2) == 0 {
			f.TS = r.Int64()
			f.Retry = new(bool)
			*f.Retry = r.IntN(2) == 0
			f.Limits = &Limits{Message: r.Int(), Channels: -1, Rate: r.IntN(2)}
		}
		want := encoded{
			Event: f.Event, Ref: f.Ref, Channel: f.Channel, ID: f.ID, State: f.State, Reason: f.Reason, Src: f.Src, UserID: f.UserID,
			Code: f.Code, Message: f.Message, Retry: f.Retry, RetryMs: f.RetryMs, Cursor: f.Cursor, TS: f.TS, ExpiresIn: f.ExpiresIn,
		}
		if l := f.Limits; l != nil {
			want.Limits = &struct {
				Message  int `json:"message"`
				Channels int `json:"channels"`
				Metadata int `json:"metadata"`
				Rate     int `json:"rate"`
				Burst    int `json:"burst"`
			}{l.Message, l.Channels, l.Metadata, l.Rate, l.Burst}
		}
		wanted, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := f.Append([]byte("before"))
		var a, b map[string]any
		if err := json.Unmarshal(got[len("before"):], &a); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if err := json.Unmarshal(wanted, &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%s\nwant %s", got, wanted)
		}
	}
}
