package realtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

var errStore = errors.New("the store is away")

// closed closes a host within a deadline, and returns how long it took.
func (h *host) closed(t *testing.T, within time.Duration) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	began := time.Now()
	err = h.Close(ctx)
	return time.Since(began), err
}

// onKV registers one handler of all KV changes in the group "work".
func (h *host) onKV(t *testing.T, handler realtime.EventHandler) {
	t.Helper()
	noError(t, h.Group("work", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, handler) }))
}

// A group that cannot be claimed says so, and is claimed when it can be.
func TestGroupCannotBeClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &unwilling{Backend: realtime.NewMemory()}, &calls{}
		b.set(errStore)
		h := start(t, open(), &realtime.Options{Backend: b})
		h.onKV(t, c.handler("h"))
		h.emit(realtime.KVPut("n", "a"))
		time.Sleep(15 * time.Second)
		log := h.logs.String()
		if n := strings.Count(log, "cannot be claimed"); n < 3 || n > 10 || !strings.Contains(log, errStore.Error()) || !strings.Contains(log, "group=work") {
			t.Errorf("in 15 s it was said %d times: %s", n, log)
		}
		c.want(t)
		b.set(nil)
		time.Sleep(5 * time.Second)
		c.want(t, "h kv.put a")
	})
}

// A group that another node has is no error to log, and nothing that Close waits
// for.
func TestGroupOfAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &unwilling{Backend: realtime.NewMemory()}, &calls{}
		b.set(backend.ErrConflict)
		h := start(t, open(), &realtime.Options{Backend: b})
		h.onKV(t, c.handler("h"))
		h.emit(realtime.KVPut("n", "a"))
		time.Sleep(time.Minute)
		if took, err := h.closed(t, 10*time.Second); err != nil || took > time.Second {
			t.Errorf("Close took %v: %v", took, err)
		}
		if log := h.logs.String(); strings.Contains(log, "group") {
			t.Errorf("logged %s", log)
		}
	})
}

// Close does not wait for what a node is no longer to handle.
func TestCloseAfterALostHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c := &unwilling{Backend: realtime.NewMemory()}, &calls{}
		h := start(t, open(), &realtime.Options{Backend: b})
		h.onKV(t, c.handler("h"))
		h.emit(realtime.KVPut("n", "a"))
		c.want(t, "h kv.put a")
		b.set(backend.ErrConflict)
		time.Sleep(20 * time.Second) // the hold cannot be renewed
		h.emit(realtime.KVPut("n", "b"))
		c.want(t)
		if took, err := h.closed(t, 10*time.Second); err != nil || took > time.Second {
			t.Errorf("Close took %v: %v", took, err)
		}
	})
}

// Close says which group did not finish: one whose handler does not return, and one
// of which it is not known who has it.
func TestCloseNamesTheGroup(t *testing.T) {
	bubble(t, "a handler", func(t *testing.T) {
		h := start(t, open(), &realtime.Options{Backend: &unwilling{Backend: realtime.NewMemory()}})
		h.onKV(t, func(ctx context.Context, _ realtime.RenEvent) error {
			<-ctx.Done()
			return ctx.Err()
		})
		h.emit(realtime.KVPut("n", "a"))
		synctest.Wait()
		if _, err := h.closed(t, 4*time.Second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `group "work" did not finish`) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "a claim", func(t *testing.T) {
		b := &hanging{Backend: realtime.NewMemory()}
		h := start(t, open(), &realtime.Options{Backend: b})
		b.hang("Get group")
		defer b.release()
		h.onKV(t, (&calls{}).handler("h"))
		if _, err := h.closed(t, 4*time.Second); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `group "work" did not finish`) {
			t.Errorf("%v", err)
		}
	})
}

// Events that a handler causes while Close waits are handled as well, even if the log
// delivers them late.
func TestCloseWaitsForWhatHandlersCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := backendtest.NewFaulty(realtime.NewMemory()), &calls{}
		h := start(t, open(), &realtime.Options{Backend: f})
		h.onKV(t, func(ctx context.Context, ev realtime.RenEvent) error {
			c.add(ev.Key)
			if ev.Key != "a" {
				return nil
			}
			f.Hold()
			time.AfterFunc(time.Second, f.Release)
			return h.Emit(ctx, realtime.KVPut("n", "b"))
		})
		h.emit(realtime.KVPut("n", "a"))
		if took, err := h.closed(t, 10*time.Second); err != nil || took < time.Second {
			t.Errorf("Close took %v: %v", took, err)
		}
		c.want(t, "a", "b")
	})
}

// When a group ends, its last progress is committed. If that fails, a log line says that
// events may be handled again.
func TestGroupIsGivenUpLate(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{"nothing": {nil, false}, "a store that is away": {errStore, true}, "another node has it": {backend.ErrConflict, false}} {
		bubble(t, name, func(t *testing.T) {
			b := &unwilling{Backend: realtime.NewMemory()}
			h := start(t, open(), &realtime.Options{Backend: b})
			h.onKV(t, (&calls{}).handler("h"))
			synctest.Wait()
			b.set(c.err)
			if _, err := h.closed(t, 10*time.Second); err != nil {
				t.Error(err)
			}
			if log := h.logs.String(); strings.Contains(log, "is given up late") != c.want {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// Where nobody asks to be told of missed events they are logged, once; a group takes
// the options that it does not have from those of all groups.
func TestMissedByDefault(t *testing.T) {
	for name, missed := range map[string]bool{"logged": false, "told": true} {
		bubble(t, name, func(t *testing.T) {
			f, c := backendtest.NewFaulty(realtime.NewMemory()), &calls{}
			o := &realtime.Options{Backend: f}
			if missed {
				o.Groups.Missed = func(e *realtime.ResetError) { c.add("missed " + e.Reason) }
			}
			h := start(t, open(), o)
			h.onKV(t, c.handler("h"))
			h.emit(realtime.KVPut("n", "a"))
			synctest.Wait()
			f.NewEpoch()
			h.emit(realtime.KVPut("n", "b"))
			time.Sleep(time.Second)
			log := h.logs.String()
			got := strings.Join(c.take(), ", ")
			if told := strings.Contains(got, "missed epoch"); told != missed {
				t.Errorf("the calls are %s", got)
			}
			if n := strings.Count(log, "handlers missed events"); n == 0 != missed || n > 1 || strings.Contains(log, "panic") {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// Each pattern that is no good is refused where it is registered.
func TestBadPatternsOfChannels(t *testing.T) {
	h := start(t, open(), nil)
	handler := (&calls{}).handler("h")
	for _, m := range []realtime.ChannelMatch{
		{Channel: "[a"}, {Type: "[a"}, {Channel: "room", Type: "{a"}, {Channel: "[a", Type: "message"},
	} {
		if err := h.OnChannel(m, handler); !errors.Is(err, realtime.ErrBadPattern) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if err := h.OnChannel(realtime.ChannelMatch{Channel: "room"}, nil); err == nil {
		t.Error("no handler is accepted")
	}
}
