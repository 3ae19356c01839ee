package inspector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
)

const (
	tailLife  = 10 * time.Minute // then the page comes back, and is asked who it is again
	tailPing  = 15 * time.Second
	writeTime = 10 * time.Second
	tailRate  = 50      // events a second that are shown; the others are counted
	tailData  = 2 << 10 // bytes of data that are shown
)

// seen is an event as the tail shows it.
type seen struct {
	Type      string `json:"t"`
	Resource  string `json:"r"`
	Channel   string `json:"ch,omitempty"`
	Namespace string `json:"ns,omitempty"`
	Key       string `json:"k,omitempty"`
	User      string `json:"uid,omitempty"`
	Source    string `json:"src,omitempty"`
	At        int64  `json:"at"`
	Data      string `json:"data,omitempty"` // at most tailData bytes of it
	Size      int    `json:"size"`           // of the data
}

func show(ev realtime.RenEvent) seen {
	return seen{
		ev.Type, ev.Resource, ev.Channel, ev.Namespace, ev.Key, ev.User, ev.Source, ev.UnixMilli, clip(string(ev.Data), tailData), len(ev.Data),
	}
}

// events streams the events that match, until the client is gone.
func (in *inspector) events(w http.ResponseWriter, r *http.Request) {
	match := realtime.EventMatch{
		Type: r.FormValue("type"), Resource: r.FormValue("resource"), Channel: r.FormValue("channel"),
		Namespace: r.FormValue("namespace"), Key: r.FormValue("key"),
	}
	if err := in.bad(match); err != nil {
		refuse(w, http.StatusBadRequest, "bad_pattern", err.Error())
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(time.Now().Add(writeTime)); errors.Is(err, http.ErrNotSupported) {
		refuse(w, http.StatusInternalServerError, "streaming_unsupported", "a middleware hides SetWriteDeadline; it needs an Unwrap method")
		return
	}
	select {
	case in.watching <- struct{}{}:
	default:
		refuse(w, http.StatusTooManyRequests, "too_many", fmt.Sprintf("more than %d tails at a time", maxTails))
		return
	}
	defer func() { <-in.watching }()
	ctx, cancel := context.WithTimeout(r.Context(), tailLife)
	t := &tail{rt: in.rt, match: match, w: w, rc: rc, events: make(chan seen, tailRate), end: cancel}
	var reading sync.WaitGroup
	reading.Go(func() { t.read(ctx) })
	t.write(ctx)
	cancel()
	reading.Wait()
}

// bad returns the error of a pattern.
func (in *inspector) bad(match realtime.EventMatch) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range in.rt.Events(ctx, match) {
		if errors.Is(err, realtime.ErrBadPattern) {
			return err
		}
	}
	return nil
}

// tail writes events to a client.
type tail struct {
	rt     *realtime.Realtime
	match  realtime.EventMatch
	w      http.ResponseWriter
	rc     *http.ResponseController
	events chan seen
	end    context.CancelFunc

	mu     sync.Mutex
	missed int // events that were not shown since the last that was
}

// read takes the events that match. Beyond the rate it counts them.
func (t *tail) read(ctx context.Context) {
	defer t.end()
	var second time.Time
	shown := 0
	for ev, err := range t.rt.Events(ctx, t.match) {
		var lost *realtime.ResetError
		switch {
		case errors.As(err, &lost):
			continue
		case err != nil:
			return
		}
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, shown = now, 0
		}
		if shown++; shown > tailRate {
			t.miss()
			continue
		}
		select {
		case t.events <- show(ev):
		default:
			t.miss()
		}
	}
}

func (t *tail) miss() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed++
}

// write writes what read takes, until ctx ends or the client is gone.
func (t *tail) write(ctx context.Context) {
	h := t.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	if t.say(": tail\n\n") != nil {
		return
	}
	ping := time.NewTicker(tailPing)
	defer ping.Stop()
	for {
		var err error
		select {
		case ev := <-t.events:
			err = t.tell("", ev)
		case <-ping.C:
			err = t.say(": ping\n\n")
		case <-ctx.Done():
			return
		}
		t.mu.Lock()
		missed := t.missed
		t.missed = 0
		t.mu.Unlock()
		if missed > 0 && err == nil {
			err = t.tell("missed", missed)
		}
		if err != nil {
			return // the client is gone
		}
	}
}

// tell writes an event of the stream; "" is one without a name.
func (t *tail) tell(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var b strings.Builder
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	return t.say(b.String() + "data: " + string(data) + "\n\n")
}

func (t *tail) say(text string) error {
	if err := t.rc.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if _, err := t.w.Write([]byte(text)); err != nil {
		return err
	}
	return t.rc.Flush()
}
