package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime/backend"
)

func message(channel, user, kind string, data string) backend.Event {
	return backend.Event{Resource: backend.Realtime, Type: backend.Message, Channel: channel, User: user, Key: kind, Data: []byte(data)}
}

// log is what a sender has appended.
type log struct {
	mu      sync.Mutex
	entries []backend.Entry
	fail    int // appends, from now on
}

func (l *log) append(_ context.Context, e backend.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	if l.fail > 0 {
		l.fail--
		return errors.New("not now")
	}
	return nil
}

// take returns the data of all messages in what was appended, and the number of entries.
func (l *log) take(t *testing.T) (data []string, entries int) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		p, err := backend.DecodePayload(e.Data)
		if err != nil || p.Event.Type != Type || p.Event.Resource != backend.Control {
			t.Fatalf("%+v: %v", p, err)
		}
		batch, err := Decode(p.Event.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range batch {
			data = append(data, string(p.Event.Data))
		}
	}
	entries = len(l.entries)
	l.entries = nil
	return data, entries
}

// begin runs a sender until the end of the test.
func begin(t *testing.T, rate int) (*Sender, *log) {
	s, l := New(), &log{}
	s.Append, s.Rate, s.Logger = l.append, rate, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return s, l
}

// The first message is sent at once, those that come soon after it together.
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := begin(t, 1000)
		publish := func(n int) {
			for i := range n {
				if err := s.Publish(message("a", fmt.Sprint(i), "", fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
		}
		publish(1)
		if data, n := l.take(t); n != 1 || len(data) != 1 {
			t.Errorf("at first: %v", data)
		}
		publish(100)
		if _, n := l.take(t); n != 0 {
			t.Error("sent too soon")
		}
		time.Sleep(every)
		if data, n := l.take(t); n != 1 || len(data) != 100 {
			t.Errorf("%d records of %d messages", n, len(data))
		}
	})
}

// A batch that was perhaps stored is repeated as it is.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := begin(t, 1000)
		l.fail = 3
		if err := s.Publish(message("a", "", "", "1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		l.mu.Lock()
		for _, e := range l.entries {
			if e.ID == "" || e.ID != l.entries[0].ID {
				t.Errorf("%q after %q", e.ID, l.entries[0].ID)
			}
		}
		l.mu.Unlock()
		if data, n := l.take(t); n != 4 {
			t.Errorf("%d attempts: %v", n, data)
		}
		// An engine that takes nothing loses what is too old.
		l.fail = 1 << 20
		s.Publish(message("a", "", "", "2"))
		time.Sleep(patience + 2*time.Second)
		l.mu.Lock()
		l.fail, l.entries = 0, nil
		l.mu.Unlock()
		s.Publish(message("a", "", "", "3"))
		time.Sleep(2 * time.Second)
		if data, _ := l.take(t); !slices.Equal(data, []string{"3"}) {
			t.Errorf("after the engine is back: %v", data)
		}
	})
}

func TestOfEachKindTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := begin(t, 1000)
		s.Publish(message("a", "", "", "first"))
		l.take(t)
		for i := range 3 {
			for _, kind := range []string{"typing", "stopped"} {
				for _, user := range []string{"ada", "bob"} {
					s.Publish(message("a", user, kind, fmt.Sprint(user, kind, i)))
				}
			}
		}
		anonymous := message("a", "", "typing", "x")
		for _, client := range []string{"1", "2", "1"} {
			anonymous.Source = client
			s.Publish(anonymous)
		}
		time.Sleep(every)
		want := []string{"adatyping2", "bobtyping2", "adastopped2", "bobstopped2", "x", "x"}
		if data, _ := l.take(t); !slices.Equal(data, want) {
			t.Errorf("sent %v, want %v", data, want)
		}
	})
}

// What waits is bounded, of one channel and in all, and the count is right.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Rate = 1
		for i := range 2 * maxKinds {
			if err := s.Publish(message("a", "", fmt.Sprint(i), "1")); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.rooms["a"].waiting); n != maxKinds || s.waiting != maxKinds {
			t.Errorf("%d of one channel wait, %d in all", n, s.waiting)
		}
		var err error
		n := 0
		for ; err == nil && n < 2*maxWaiting; n++ {
			err = s.Publish(message("a"+fmt.Sprint(n%1000), fmt.Sprint(n), "", "1"))
		}
		if !errors.Is(err, ErrFull) || s.waiting != maxWaiting {
			t.Errorf("%v after %d", err, n)
		}
		for range 1 << 20 {
			if _, more := s.take(maxBatch); !more {
				break
			}
			time.Sleep(time.Second)
		}
		if s.waiting != 0 || s.bytes != 0 || len(s.rooms) != 0 {
			t.Errorf("%d messages, %d bytes, %d channels are left", s.waiting, s.bytes, len(s.rooms))
		}
		large := make([]byte, 1<<20)
		for i := 0; err == nil || i < 9; i++ {
			err = s.Publish(message("b", fmt.Sprint(i), "", string(large)))
		}
		if !errors.Is(err, ErrFull) {
			t.Errorf("large ones: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(Encode([]backend.Payload{{Event: message("a", "ada", "typing", `{"a":1}`)}, {Event: backend.Event{Channel: "b"}}})))
	f.Add([]byte{0xff})
	f.Add([]byte{3, 1, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Decode(Encode(batch))
		if err != nil || !cmp.Equal(again, batch) {
			t.Errorf("%v: %s", err, cmp.Diff(batch, again))
		}
	})
}

// Everything that a client chooses counts as what waits.
func TestSizes(t *testing.T) {
	text := string(make([]byte, 1000))
	for name, ev := range map[string]backend.Event{
		"data": {Data: []byte(text)}, "channel": {Channel: text}, "kind": {Key: text}, "user": {User: text}, "source": {Source: text},
	} {
		if got := size(backend.Payload{Event: ev}) - size(backend.Payload{}); got != 1000 {
			t.Errorf("1,000 bytes of %s count as %d", name, got)
		}
	}
}
