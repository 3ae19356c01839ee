package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	run(t, s)
	return s, l
}

// run runs a sender until the end of the test, or until stop is called.
func run(t *testing.T, s *Sender) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return stop
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
		var logs bytes.Buffer
		s.Logger = slog.New(slog.NewTextHandler(&logs, nil))
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
		if !strings.Contains(logs.String(), "live events are lost") || strings.Count(logs.String(), "\n") != 1 {
			t.Errorf("the log says %s", &logs)
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

// A message of a user replaces one from another device. What was replaced takes no room.
func TestReplaces(t *testing.T) {
	s := New()
	s.Rate = 10
	for _, client := range []string{"phone", "laptop"} {
		ev := message("a", "ada", "typing", client)
		ev.Source = client
		s.Publish(ev)
	}
	batch, _ := s.take(maxBatch)
	if len(batch) != 1 || string(batch[0].Event.Data) != "laptop" || s.bytes != 0 {
		t.Errorf("sent %v, and %d bytes wait", batch, s.bytes)
	}
}

// A batch ends with the message that fills it.
func TestBatchIsBounded(t *testing.T) {
	s := New()
	s.Rate = 10
	for i := range 4 {
		s.Publish(message("a", fmt.Sprint(i), "", "x"))
	}
	one := size(backend.Payload{Event: message("a", "0", "", "x")})
	for _, c := range []struct{ most, want int }{{2 * one, 2}, {1, 1}, {one + 1, 1}} {
		if batch, more := s.take(c.most); len(batch) != c.want || !more {
			t.Errorf("a batch of %d bytes has %d messages, %v", c.most, len(batch), more)
		}
	}
}

// A channel has so many messages a second, whether or not some wait all the time.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Rate = 2
		user := 0
		for step, c := range []struct{ publish, want int }{{2, 2}, {0, 0}, {6, 0}, {0, 2}, {0, 2}, {0, 2}, {0, 0}} {
			for range c.publish {
				user++
				s.Publish(message("a", fmt.Sprint(user), "", "x"))
			}
			if batch, _ := s.take(maxBatch); len(batch) != c.want {
				t.Errorf("step %d: %d are sent, want %d", step, len(batch), c.want)
			}
			if step > 1 { // the first steps are of one moment
				time.Sleep(time.Second)
			}
		}
	})
}

// What is refused is the message that has no place, and no other.
func TestFull(t *testing.T) {
	s := New()
	s.Rate = 10
	publish := func(channel, data string, want error) {
		t.Helper()
		if err := s.Publish(message(channel, "", "", data)); err != want {
			t.Errorf("in %s: %v, want %v", channel, err, want)
		}
	}
	for i := range maxChannels {
		publish(fmt.Sprint(i), "", nil)
	}
	s.take(1 << 30)
	publish("one more", "", ErrFull)
	publish("7", "", nil)

	s = New()
	publish("a", string(make([]byte, maxBytes-overhead-len("a"))), nil)
	publish("b", "", ErrFull)
}

// Others are asked again when they have more, without a call of Soon.
func TestOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := New(), &log{}
		left := 3
		s.Append, s.Rate, s.Logger = l.append, 10, slog.New(slog.DiscardHandler)
		s.Others = func(int) (batch []backend.Payload, more bool) {
			if left == 0 {
				return nil, false
			}
			left--
			return []backend.Payload{{Event: backend.Event{Resource: backend.Control, Data: []byte("theirs")}}}, left > 0
		}
		run(t, s)
		s.Soon()
		time.Sleep(time.Minute)
		if data, n := l.take(t); len(data) != 3 || n != 3 {
			t.Errorf("%d records: %v", n, data)
		}
	})
}

// After its context Run sends nothing: neither what waits nor a batch that failed.
func TestEnd(t *testing.T) {
	for range 20 { // where both are possible, chance decides
		synctest.Test(t, func(t *testing.T) {
			s, l := New(), &log{}
			s.Append, s.Rate, s.Logger = l.append, 10, slog.New(slog.DiscardHandler)
			stop := run(t, s)
			s.Publish(message("a", "", "", "1"))
			l.take(t)
			s.Publish(message("a", "", "", "2"))
			stop()
			if data, _ := l.take(t); len(data) > 0 {
				t.Errorf("sent what waited: %v", data)
			}
			l.fail = 1 << 20
			stop = run(t, s)
			s.Publish(message("a", "", "", "3"))
			l.take(t)
			stop()
			if data, _ := l.take(t); len(data) > 0 {
				t.Errorf("tried again: %v", data)
			}
		})
	}
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
		if n := len(s.rooms["a"].waiting); n != maxKinds || s.waiting != maxKinds || s.Stats().Coalesced != maxKinds {
			t.Errorf("%d of one channel wait, %+v in all", n, s.Stats())
		}
		var err error
		n := 0
		for ; err == nil && n < 2*maxWaiting; n++ {
			err = s.Publish(message("a"+fmt.Sprint(n%1000), fmt.Sprint(n), "", "1"))
		}
		if !errors.Is(err, ErrFull) || s.waiting != maxWaiting {
			t.Errorf("%v after %d", err, n)
		}
		for more := true; more; time.Sleep(time.Second) {
			_, more = s.take(maxBatch)
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

// A payload that cannot be read is left out, and those around it are not.
func TestDecodeLeavesOut(t *testing.T) {
	one := func(text string) []byte {
		return Encode([]backend.Payload{{Event: message("a", "ada", "typing", text)}})
	}
	newer := []byte{3, 99, 1, 1} // of another version
	batch, err := Decode(slices.Concat(one("1"), newer, one("2"), newer))
	if err == nil || len(batch) != 2 || string(batch[0].Event.Data) != "1" || string(batch[1].Event.Data) != "2" {
		t.Errorf("%v: %+v", err, batch)
	}
}

// What is malformed is an error, after what comes before it.
func TestDecodeErrors(t *testing.T) {
	good := []byte(Encode([]backend.Payload{{Event: message("a", "ada", "typing", `1`)}}))
	for _, bad := range [][]byte{
		{0x80},                         // a length that is cut off
		bytes.Repeat([]byte{0xff}, 11), // no length
		{3, 1, 1},                      // too long
		{1, 0xff},                      // no payload
	} {
		if batch, err := Decode(append(slices.Clone(good), bad...)); err == nil || len(batch) != 1 {
			t.Errorf("%x: %v after %d", bad, err, len(batch))
		} else if bad[0] != 1 && err != errBatch {
			t.Errorf("%x: %v", bad, err)
		}
	}
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
