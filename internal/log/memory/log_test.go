package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

func entry(data string) backend.Entry {
	return backend.Entry{Data: []byte(data)}
}

func fill(t *testing.T, b *memory.Backend, n int) (last backend.Position) {
	t.Helper()
	for range n {
		var err error
		if last, err = b.Append(t.Context(), entry("1")); err != nil {
			t.Fatal(err)
		}
	}
	return last
}

// A reader follows b and counts what it gets.
type reader struct {
	seqs []uint64
	err  error
	stop context.CancelFunc
}

// follow starts a reader that waits in its sink until gate is closed; nil never
// waits. Its fields may be looked at after synctest.Wait.
func follow(t *testing.T, b *memory.Backend, after backend.Position, gate <-chan struct{}) *reader {
	ctx, cancel := context.WithCancel(t.Context())
	r := &reader{stop: cancel}
	go func() {
		r.err = b.Follow(ctx, after, func(batch []backend.Record) {
			if gate != nil {
				<-gate
			}
			for _, rec := range batch {
				r.seqs = append(r.seqs, rec.Pos.Seq)
			}
		})
	}()
	synctest.Wait()
	return r
}

func TestRetention(t *testing.T) {
	big := `"` + string(make([]byte, 1000)) + `"`
	for _, c := range []struct {
		name   string
		limits memory.Limits
		data   []string
		wait   time.Duration
		floor  uint64 // the newest record evicted
	}{
		{"within", memory.Limits{Records: 3}, []string{"1", "2", "3"}, 0, 0},
		{"records", memory.Limits{Records: 3}, []string{"1", "2", "3", "4", "5"}, 0, 2},
		{"bytes", memory.Limits{Bytes: 2300}, []string{big, big, big, "4"}, 0, 2},
		{"one beyond all bytes", memory.Limits{Bytes: 100}, []string{big, big}, 0, 1},
		{"age not reached", memory.Limits{Age: time.Minute}, []string{"1", "2"}, time.Minute, 0},
		{"age", memory.Limits{Age: time.Minute}, []string{"1", "2"}, time.Minute + 1, 2},
		{"age by default", memory.Limits{}, []string{"1", "2"}, 5*time.Minute + 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(c.limits)
				for _, data := range c.data {
					if _, err := b.Append(t.Context(), entry(data)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(c.wait)
				page, err := b.Read(t.Context(), backend.Position{}, 10)
				if err != nil || page.Head.Seq != uint64(len(c.data)) || len(page.Records) != len(c.data)-int(c.floor) {
					t.Errorf("Read returned %d records with the head %v and error %v", len(page.Records), page.Head, err)
				}
				wantFloor(t, b, page.Head, c.floor)
			})
		})
	}
}

// wantFloor checks from where one can follow b.
func wantFloor(t *testing.T, b *memory.Backend, head backend.Position, floor uint64) {
	t.Helper()
	for seq := range head.Seq + 2 {
		r := follow(t, b, backend.Position{Epoch: head.Epoch, Seq: seq}, nil)
		r.stop()
		synctest.Wait()
		var lost *backend.LostError
		if errors.As(r.err, &lost) {
			if lost.Next != head {
				t.Errorf("from %d, Next is %v, not the head", seq, lost.Next)
			}
		} else if uint64(len(r.seqs)) != head.Seq-seq {
			t.Errorf("from %d, Follow delivered %v", seq, r.seqs)
		}
		if want := seq < floor || seq > head.Seq; want != (lost != nil) {
			t.Errorf("from %d, Follow returned %v; evicted up to %d", seq, r.err, floor)
		}
	}
	r := follow(t, b, backend.Position{}, nil)
	r.stop()
	synctest.Wait()
	if lost := (*backend.LostError)(nil); errors.As(r.err, &lost) != (floor > 0) {
		t.Errorf("from the start, Follow returned %v; evicted up to %d", r.err, floor)
	}
}

func TestIDsAreForgottenAfterTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{Age: time.Second})
		e := entry("1")
		e.ID = "id"
		for _, c := range []struct {
			wait time.Duration
			seq  uint64
		}{{0, 1}, {time.Minute, 1}, {time.Minute, 1}, {1, 2}, {2 * time.Minute, 2}} {
			time.Sleep(c.wait)
			if pos, err := b.Append(t.Context(), e); pos.Seq != c.seq || err != nil {
				t.Errorf("after %v more, Append returned %v and %v, want %d", c.wait, pos, err, c.seq)
			}
		}
	})
}

// slow starts b with one follower that is stuck in its sink, and 4 records
// waiting for it: half of what b retains.
func slow(t *testing.T) (b *memory.Backend, r *reader, gate chan struct{}) {
	b = memory.New(memory.Limits{Records: 8})
	gate = make(chan struct{})
	r = follow(t, b, backend.Position{}, gate)
	fill(t, b, 1)
	synctest.Wait() // that one is in the sink
	fill(t, b, 4)
	return b, r, gate
}

func TestAppendWaitsForFollowers(t *testing.T) {
	for _, c := range []struct {
		name    string
		release func(b *memory.Backend, r *reader, gate chan struct{}, cancel context.CancelFunc)
		want    error
	}{
		{"that go on", func(_ *memory.Backend, _ *reader, gate chan struct{}, _ context.CancelFunc) { close(gate) }, nil},
		{"that stop", func(_ *memory.Backend, r *reader, gate chan struct{}, _ context.CancelFunc) { r.stop(); close(gate) }, nil},
		{"until its context ends", func(_ *memory.Backend, _ *reader, _ chan struct{}, cancel context.CancelFunc) { cancel() }, context.Canceled},
		{"until the log closes", func(b *memory.Backend, _ *reader, _ chan struct{}, _ context.CancelFunc) { b.Close(t.Context()) }, backend.ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, r, gate := slow(t)
				fill(t, b, 1) // the last one for which there is room
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan error, 3)
				for range 3 {
					go func() {
						_, err := b.Append(ctx, entry("1"))
						done <- err
					}()
				}
				synctest.Wait()
				if len(done) > 0 {
					t.Fatalf("Append returned %v without waiting", <-done)
				}
				c.release(b, r, gate, cancel)
				for range 3 {
					if err := <-done; !errors.Is(err, c.want) {
						t.Errorf("Append returned %v, want %v", err, c.want)
					}
				}
				release(gate)
				r.stop()
			})
		})
	}
}

func release(gate chan struct{}) {
	select {
	case <-gate:
	default:
		close(gate)
	}
}

func TestAppendWaitsForBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Limits{Bytes: 10_000})
		gate := make(chan struct{})
		r := follow(t, b, backend.Position{}, gate)
		fill(t, b, 1)
		synctest.Wait()
		big := entry(`"` + string(make([]byte, 12_000)) + `"`)
		if _, err := b.Append(t.Context(), big); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Append(ctx, entry("1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append returned %v while a follower lagged far", err)
		}
		close(gate)
		synctest.Wait()
		if fmt.Sprint(r.seqs) != "[1 2]" {
			t.Errorf("the follower got %v", r.seqs)
		}
		r.stop()
	})
}

// However hard it is pressed, a follower gets everything, even what is older
// than the log retains.
func TestFollowerIsNeverOverrun(t *testing.T) {
	for _, c := range []struct {
		records int
		pause   time.Duration // between appends
	}{{1, 0}, {2, 0}, {100, 10 * time.Second}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.New(memory.Limits{Records: c.records, Age: time.Second})
				got := 0
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() {
					ended <- b.Follow(ctx, backend.Position{}, func(batch []backend.Record) {
						time.Sleep(time.Minute)
						for _, r := range batch {
							if got++; r.Pos.Seq != uint64(got) {
								t.Errorf("record %d came at place %d", r.Pos.Seq, got)
							}
						}
					})
				}()
				synctest.Wait()
				for range 100 {
					fill(t, b, 1)
					time.Sleep(c.pause)
				}
				time.Sleep(time.Hour)
				stop()
				if err := <-ended; !errors.Is(err, context.Canceled) || got != 100 {
					t.Errorf("Follow returned %v after %d records of 100", err, got)
				}
			})
		})
	}
}

func TestEpochsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := fill(t, memory.New(memory.Limits{}), 9)
		time.Sleep(time.Microsecond)
		if after := fill(t, memory.New(memory.Limits{}), 1); after.Compare(before) <= 0 {
			t.Errorf("position %v was given after %v", after, before)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m := memory.New(memory.Limits{})
	e := entry(`{"text":"hello"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendFollowed(b *testing.B) {
	m := memory.New(memory.Limits{})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = m.Follow(ctx, backend.Position{}, func([]backend.Record) {})
	}()
	e := entry(`{"text":"hello"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Append(ctx, e); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-ended
}

// BenchmarkAppendID has as many ids to remember as there can be.
func BenchmarkAppendID(b *testing.B) {
	m := memory.New(memory.Limits{})
	e := entry(`{"text":"hello"}`)
	ids := make([]string, 1<<19)
	for i := range ids {
		ids[i] = fmt.Sprintf("0123456789abcdef-%08d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e.ID = ids[i%len(ids)] // forgotten when its turn comes again
		if _, err := m.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
