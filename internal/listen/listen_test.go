package listen_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/listen"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/match"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func at(n uint64) backend.Position { return backend.Position{Epoch: 1, Seq: n} }

// keys selects events by a pattern of their key.
func keys(t *testing.T, pattern string) *match.Selector {
	t.Helper()
	var s match.Selector
	for p, field := range map[*match.Pattern]string{&s.Resource: "", &s.Type: "", &s.Namespace: "", &s.Key: pattern, &s.Channel: ""} {
		var err error
		if *p, err = match.Compile(field); err != nil {
			t.Fatal(err)
		}
	}
	return &s
}

// put has the ring read the events from n to m, of keys named by their numbers.
func put(history *ring.Ring, n, m uint64) {
	for ; n <= m; n++ {
		history.Put([]*backend.Logged{{Pos: at(n), Event: backend.Event{Type: backend.KVPut, Resource: backend.KV, Key: fmt.Sprint(n)}}})
	}
}

// A loop is told what follows its cursor, and where something is missing. Without a cursor
// it is told nothing that the node has appended and not read back.
func TestAfter(t *testing.T) {
	for name, c := range map[string]struct {
		after string
		now   uint64
		key   string
		want  string
	}{
		"from now":          {"", 5, "*", "6 7 8"},
		"from what is read": {"", 7, "*", "8"},
		"from a cursor":     {wire.Cursor(at(3)), 5, "*", "4 5 6 7 8"},
		"that matches":      {wire.Cursor(at(3)), 5, "7", "7"},
		"from what is gone": {wire.Cursor(at(1)), 5, "*", "-evicted 6 7 8"},
		"from nowhere":      {"nonsense", 5, "*", "-unknown 6 7 8"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				history := ring.New(ring.Limits{Records: 3, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
				put(history, 1, 5)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				n := listen.Node{Ring: history, Now: func() backend.Position { return at(c.now) }, Running: t.Context()}
				time.AfterFunc(time.Second, func() { put(history, 6, 8) })
				var told []string
				err := n.After(ctx, keys(t, c.key), c.after, listen.Loop{
					Tell: func(ev *backend.Event) bool {
						told = append(told, ev.Key)
						return ev.Key != "8"
					},
					Missed: func(why ring.Reason) bool {
						told = append(told, "-"+string(why))
						return true
					},
				})
				if got := strings.Join(told, " "); got != c.want || err != nil && c.key == "*" {
					t.Errorf("told %q, %v; want %q", got, err, c.want)
				}
			})
		})
	}
}

// A loop ends with its context and with the node, also while it lags.
func TestEnds(t *testing.T) {
	for _, lags := range []bool{false, true} {
		for name, want := range map[string]error{"context": context.Canceled, "node": backend.ErrClosed} {
			t.Run(fmt.Sprint(name, ", lags: ", lags), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					history := ring.New(ring.Limits{Records: 10, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
					put(history, 1, 5)
					ctx, cancel := context.WithCancel(t.Context())
					running, end := context.WithCancel(t.Context())
					defer cancel()
					defer end()
					stop := map[string]func(){"context": cancel, "node": end}[name]
					if !lags {
						time.AfterFunc(time.Second, stop)
					}
					told := 0
					n := listen.Node{Ring: history, Running: running}
					err := n.After(ctx, keys(t, ""), wire.Cursor(at(0)), listen.Loop{Tell: func(*backend.Event) bool {
						if told++; lags {
							stop()
						}
						return true
					}})
					if wantTold := map[bool]int{false: 5, true: 1}[lags]; !errors.Is(err, want) || told != wantTold {
						t.Errorf("%v after %d events", err, told)
					}
				})
			})
		}
	}
}
