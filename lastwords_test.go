package realtime_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A client that has much to read when the server closes gets all of it, batch by
// batch, and then the goodbye.
func TestLastDeliveryBeforeABye(t *testing.T) {
	t.Parallel()
	const n = 1000 // events: several batches
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		ws := h.dialStalled(get("/realtime"))
		ws.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		ws.send(`{` + since("room", string(h.Cursor())) + `}`)
		stream := h.renStalled(get("/ren"))
		synctest.Wait()
		for i := range n {
			h.publish("room", i)
		}
		synctest.Wait() // both are stuck in a write
		closed := make(chan error, 1)
		go func() { closed <- h.Close(context.Background()) }()
		synctest.Wait()
		ws.pump()
		stream.pump()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		var got []int64
		_, last := ws.closed()
		for _, o := range last {
			if o.Event == "message" {
				got = append(got, number(o.Data))
			}
		}
		if len(got) != n || got[n-1] != n-1 || last[len(last)-1].Event != "bye" {
			t.Errorf("the WebSocket got %d messages of %d", len(got), n)
		}
		got = nil
		all := stream.rest()
		for _, ev := range all {
			if ev.Name == "message" {
				got = append(got, number(ev.Data))
			}
		}
		if len(got) != n || got[n-1] != n-1 || all[len(all)-1].Name != "ren.bye" {
			t.Errorf("the stream got %d messages of %d", len(got), n)
		}
	})
}

// A client that is revoked just before a write to it begins is cut off, although the
// deadline of that write was computed earlier.
func TestRevokeBesideADeadlineThatIsPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		w := &stuckWriter{header: make(http.Header), changed: make(chan struct{})}
		r := httptest.NewRequest(http.MethodGet, "/ren", nil).WithContext(t.Context())
		r.Header.Set("Authorization", asAda)
		var serving sync.WaitGroup
		serving.Go(func() { h.handler.ServeHTTP(w, r) })
		synctest.Wait()
		took := make(chan time.Duration, 1)
		w.stick(func() {
			began := time.Now()
			go func() {
				_ = h.Revoke(context.Background(), "ada")
				took <- time.Since(began)
			}()
			time.Sleep(800 * time.Millisecond) // in which the client is given up
		})
		h.publish("room", 1)
		if d := <-took; d > time.Second {
			t.Errorf("Revoke took %v", d)
		}
		serving.Wait()
	})
}

// stuckWriter is a response that takes no more bytes once it is stuck, until a
// deadline has passed.
type stuckWriter struct {
	header http.Header

	mu       sync.Mutex
	stuck    bool
	before   func() // called before the next deadline is set
	deadline time.Time
	changed  chan struct{} // closed with each deadline
}

func (w *stuckWriter) stick(before func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck, w.before = true, before
}

func (w *stuckWriter) Header() http.Header { return w.header }
func (w *stuckWriter) WriteHeader(int)     {}
func (w *stuckWriter) Flush()              {}

func (w *stuckWriter) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	before := w.before
	w.before = nil
	w.mu.Unlock()
	if before != nil {
		before()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = at
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	for {
		w.mu.Lock()
		stuck, deadline, changed := w.stuck, w.deadline, w.changed
		w.mu.Unlock()
		if !stuck {
			return len(p), nil
		}
		var late <-chan time.Time
		if !deadline.IsZero() {
			late = time.After(time.Until(deadline))
		}
		select {
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}
