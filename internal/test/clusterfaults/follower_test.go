package clusterfaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// seen is one thing that a client was given.
type seen struct {
	at    time.Time
	reset string // why; "" is none
	pos   backend.Position

	id int // of a message; 0 is none

	join, leave   bool
	channel, user string
	reason        string // of a leave
}

// view is what a client is to be given without a gap: a REN stream, or one channel of a
// WebSocket.
type view struct {
	name     string
	channels []string

	mu  sync.Mutex
	log []seen
}

func (v *view) add(s seen) {
	s.at = time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.log = append(v.log, s)
}

func (v *view) all() []seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.log)
}

// has reports whether the view has a message.
func (v *view) has(id int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := len(v.log) - 1; i >= 0; i-- {
		if v.log[i].id == id {
			return true
		}
	}
	return false
}

// failed adds that something was missed, or takes note of an error that ends the loop.
func (v *view) failed(ctx context.Context, err error) {
	var lost *realtime.ResetError
	switch {
	case errors.As(err, &lost):
		v.add(seen{reset: lost.Reason})
	case ctx.Err() == nil:
		v.add(seen{reset: "ended: " + err.Error()})
	}
}

// follower is a client of the cluster: it comes back to any of the nodes.
type follower struct {
	name  string
	user  string
	kind  string // "REN" or "WS"
	views []*view
	rt    *client.Realtime // of a WebSocket

	dial   func(ctx context.Context, f *follower) (net.Conn, error)
	node   atomic.Pointer[node] // that it has dialed last
	open   atomic.Bool
	opened atomic.Int64

	stop context.CancelFunc
	done sync.WaitGroup
}

// address is that of the cluster, which followers resolve themselves.
const address = "http://cluster.test/api/maravilla"

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func (f *follower) start(channels []string) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return f.dial(ctx, f)
	}}
	header := http.Header{"X-User": {f.user}}
	state := func(s client.State) {
		if f.open.Store(s == client.StateOpen); s == client.StateOpen {
			f.opened.Add(1)
		}
	}
	if f.kind == "REN" {
		f.views = []*view{{name: f.name, channels: append([]string{lobby}, channels...)}}
		ren, err := client.NewRen(address+"/ren", &client.RenOptions{
			Subscriptions: []string{"realtime", "presence"}, HTTPClient: &http.Client{Transport: transport}, Header: header,
			MaxBackoff: time.Second, Logger: silent, OnState: state,
		})
		if err != nil {
			panic(err) // the options are the test's
		}
		f.done.Go(func() { followREN(ctx, ren, f.views[0]) })
		return
	}
	var err error
	f.rt, err = client.NewRealtime(address+"/realtime", &client.RealtimeOptions{
		HTTPClient: &http.Client{Transport: transport}, Header: header, MaxBackoff: time.Second, Logger: silent, OnState: state,
	})
	if err != nil {
		panic(err) // the options are the test's
	}
	for _, ch := range channels {
		v := &view{name: f.name + " " + ch, channels: []string{ch}}
		f.views = append(f.views, v)
		messages := f.rt.Subscribe(ctx, ch)
		f.done.Go(func() {
			for m, err := range messages {
				if err != nil {
					v.failed(ctx, err)
					continue
				}
				pos, _ := wire.ParseCursor(string(m.Cursor))
				v.add(seen{pos: pos, id: messageID(m.Data), channel: ch})
			}
		})
	}
	f.rt.Connect()
}

// end ends the follower. It may be called again.
func (f *follower) end() {
	f.stop()
	if f.rt != nil {
		_ = f.rt.Close() // a revoked one has ended with an error
	}
	f.done.Wait()
}

func followREN(ctx context.Context, ren *client.Ren, v *view) {
	for ev, err := range ren.Events(ctx) {
		if err != nil {
			v.failed(ctx, err)
			continue
		}
		pos, _ := wire.ParseCursor(string(ren.Cursor()))
		s := seen{pos: pos, channel: ev.Channel, user: ev.User}
		switch ev.Type {
		case backend.Message:
			s.id = messageID(ev.Data)
		case backend.PresenceJoin:
			s.join = true
		case backend.PresenceLeave:
			s.leave = true
			var why struct{ Reason string }
			_ = json.Unmarshal(ev.Data, &why) // "" shows in the check
			s.reason = why.Reason
		}
		v.add(s)
	}
}

func messageID(data json.RawMessage) int {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		panic(fmt.Sprintf("a message is %q: %v", data, err))
	}
	return m.ID
}
