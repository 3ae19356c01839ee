package faulttest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// server is a Realtime behind a real net/http server.
type server struct {
	*realtime.Realtime
	addr string
	http *http.Server
}

// streams returns how many are open, and WebSockets.
func (s *server) streams() int {
	stats := s.Stats()
	return stats.REN.Open + stats.WebSocket.Open
}

// everything is AllowAll without its warning.
func everything() realtime.Policy {
	all := realtime.AllowAll()
	return realtime.Policy{Authenticate: all.Authenticate, Allow: all.Allow, Grants: all.Grants}
}

// newServer returns a server that does not serve yet.
func newServer(t testing.TB, opts *realtime.Options) *server {
	t.Helper()
	if opts == nil {
		opts = &realtime.Options{}
	}
	opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o := *opts
	if o.Hijack == realtime.HijackDefault {
		o.Hijack = realtime.Hijack(*hijack)
	}
	rt, err := realtime.New(everything(), &o)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Realtime: rt}
	s.http = &http.Server{Handler: rt.Handler(), ConnContext: realtime.ConnContext}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = rt.Close(ctx) // clients of failed tests may not go in time
		s.http.Close()
	})
	return s
}

// serve returns a server on loopback that ends with the test.
func serve(t testing.TB, opts *realtime.Options) *server {
	t.Helper()
	s := newServer(t, opts)
	s.listen(t, "127.0.0.1:0")
	return s
}

func (s *server) listen(t testing.TB, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	go s.http.Serve(ln)
}

// note is what tests publish: numbered, in each channel, from 1 on.
type note struct {
	N   int    `json:"n"`
	At  int64  `json:"at"` // in nanoseconds since the Unix epoch
	Pad string `json:"pad,omitempty"`
}

// UnmarshalJSON also reads a message of the chat example, whose text is the
// number.
func (n *note) UnmarshalJSON(b []byte) error {
	type plain note
	in := struct {
		*plain
		Text string `json:"text"`
	}{plain: (*plain)(n)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if in.Text != "" {
		number, err := strconv.Atoi(in.Text)
		n.N = number
		return err
	}
	return nil
}

// speaker publishes numbered notes.
type speaker struct {
	rt   realtime.Publisher
	said map[string]int // by channel
	pad  string
}

func newSpeaker(rt realtime.Publisher) *speaker { return &speaker{rt: rt, said: make(map[string]int)} }

func (p *speaker) say(t testing.TB, channels ...string) {
	t.Helper()
	for _, ch := range channels {
		if err := p.rt.Publish(t.Context(), ch, note{N: p.said[ch] + 1, At: time.Now().UnixNano(), Pad: p.pad}); err != nil {
			t.Errorf("publish: %v", err)
			return
		}
		p.said[ch]++
	}
}
