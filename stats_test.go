package realtime_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// figures returns the figures of Stats by their paths, such as "REN.Ended.slow". Of a
// histogram it is the count.
func figures(s realtime.Stats) map[string]float64 {
	all := make(map[string]float64)
	collect(all, "", reflect.ValueOf(s))
	return all
}

func collect(all map[string]float64, path string, v reflect.Value) {
	under := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch v.Kind() {
	case reflect.Struct:
		switch x := v.Interface().(type) {
		case time.Time:
			return
		case realtime.Histogram:
			all[path] = float64(x.Count())
			return
		}
		for i := range v.NumField() {
			collect(all, under(v.Type().Field(i).Name), v.Field(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			collect(all, under(key.String()), v.MapIndex(key))
		}
	case reflect.Bool:
		if all[path] = 0; v.Bool() {
			all[path] = 1
		}
	case reflect.Int, reflect.Int64:
		all[path] = float64(v.Int())
	case reflect.Uint64:
		all[path] = float64(v.Uint())
	default:
		panic(path + " is a " + v.Kind().String())
	}
}

// cause is one way to move figures.
type cause struct {
	name string
	// moves lists the figures that move, by how much where that is certain: "Users=1".
	moves string
	// prepare returns the host, and what moves the figures.
	prepare func(t *testing.T) (h *host, act func())
}

// TestStats drives every figure of Stats: what is done moves it, and no figure is left
// that nothing moves.
func TestStats(t *testing.T) {
	t.Parallel()
	driven := make(map[string]bool)
	var last map[string]float64
	for _, d := range slices.Concat(renCauses(), wsCauses, followCauses, operationCauses, refusalCauses(), logCauses, ephemeralCauses, presenceCauses, streamCauses, groupCauses, callCauses()) {
		bubble(t, d.name, func(t *testing.T) {
			h, act := d.prepare(t)
			synctest.Wait()
			before := figures(h.Stats())
			act()
			synctest.Wait()
			last = figures(h.Stats())
			for _, move := range strings.Fields(d.moves) {
				path, by, exact := strings.Cut(move, "=")
				want, _ := strconv.ParseFloat(by, 64)
				now, known := last[path]
				switch moved := now - before[path]; {
				case !known:
					t.Errorf("there is no %s", path)
				case moved == 0, exact && moved != want:
					t.Errorf("%s moved by %v, to %v; want %s", path, moved, now, move)
				}
				driven[path] = true
			}
		})
	}
	for path := range last {
		if !driven[path] && !strings.HasPrefix(path, "Groups.") { // of the last host, which has no groups
			t.Errorf("no row moves %s", path)
		}
	}
	var group []string
	collected := make(map[string]float64)
	collect(collected, "Groups.work", reflect.ValueOf(realtime.GroupStats{Missed: map[string]uint64{"evicted": 0, "epoch": 0, "backend": 0}}))
	for path := range collected {
		if group = append(group, path); !driven[path] {
			t.Errorf("no row moves %s", path)
		}
	}
	if len(last) < 150 || len(group) < 9 {
		t.Errorf("only %d figures, %d of groups", len(last), len(group))
	}
}

// A group has no other figures than those that TestStats drives.
func TestGroupStatsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		noError(t, h.OnKVChange(realtime.KVMatch{}, nothing))
		noError(t, h.Group("work", nil, func(g *realtime.Group) error { return g.OnKVChange(realtime.KVMatch{}, nothing) }))
		s := h.Stats()
		for _, name := range []string{"$process", "work"} {
			g, ok := s.Groups[name]
			if missed := fmt.Sprint(g.Missed); !ok || missed != "map[backend:0 epoch:0 evicted:0]" {
				t.Errorf("%s: %v, missed %s", name, ok, missed)
			}
		}
		if len(s.Groups) != 2 || !s.Started.Equal(time.Now()) {
			t.Errorf("groups %v, started %v", s.Groups, s.Started)
		}
	})
}

// Stats tells how long the buckets are, and what is in them.
func TestHistograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &hanging{Backend: lasting{realtime.NewMemory()}}
		h := start(t, open(), &realtime.Options{Backend: b})
		b.hang("Append")
		time.AfterFunc(2*time.Second, b.release)
		h.publish("room", 1)
		s := h.Stats().Publish.Time
		bounds := realtime.HistogramBounds()
		i := slices.Index(s.Counts, 1)
		if len(s.Counts) != len(bounds)+1 || i < 1 || bounds[i-1] >= 2*time.Second || bounds[i] < 2*time.Second || s.Sum != 2*time.Second {
			t.Errorf("%+v in %v", s, bounds)
		}
	})
}

// An event from before a client came does not count as late when the client gets it.
func TestReplayIsNotLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), nil)
		cursor := string(h.Cursor())
		h.publish("room", "old")
		time.Sleep(time.Minute)
		stream, socket := h.ren(get("/ren", "Last-Event-ID", cursor)), h.socket(get("/realtime"))
		socket.ok(since("room", cursor))
		stream.keys(1)
		socket.data(1)
		synctest.Wait()
		for kind, s := range map[string]realtime.ConnectionStats{"REN": h.Stats().REN, "WebSocket": h.Stats().WebSocket} {
			if s.Delivered != 1 || s.Latency.Count() != 0 {
				t.Errorf("%s: %d replayed events, of which %d were measured", kind, s.Delivered, s.Latency.Count())
			}
		}
		h.publish("room", "new")
		stream.keys(1)
		socket.data(1)
		synctest.Wait()
		for kind, s := range map[string]realtime.ConnectionStats{"REN": h.Stats().REN, "WebSocket": h.Stats().WebSocket} {
			if s.Delivered != 2 || s.Latency.Counts[0] != 1 {
				t.Errorf("%s: %d events, latency %v", kind, s.Delivered, s.Latency)
			}
		}
	})
}
