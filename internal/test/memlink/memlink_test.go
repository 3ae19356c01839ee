package memlink_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/test/memlink"
)

// A node whose links are there is as good a backend as its engine.
func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		n := memlink.NewNode(memory.New(memory.Limits{}))
		t.Cleanup(func() { _ = n.Close(context.Background()) })
		return n
	})
}

var key = backend.Key{Kind: "k", Group: "g", Name: "n"}

// nodes are two of one engine, the second of which reads what the first one does.
func nodes(t *testing.T, test func(t *testing.T, a, b *memlink.Node)) {
	synctest.Test(t, func(t *testing.T) {
		engine := memory.New(memory.Limits{})
		a, b := memlink.NewNode(engine), memlink.NewNode(engine)
		defer func() { _ = a.Close(t.Context()) }()
		defer func() { _ = b.Close(t.Context()) }()
		test(t, a, b)
	})
}

func stored(t *testing.T, n *memlink.Node) bool {
	t.Helper()
	it, err := n.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return it.Revision != 0
}

func write(t *testing.T, n *memlink.Node) error {
	_, err := n.Put(t.Context(), backend.Write{Key: key, Value: []byte("v")})
	return err
}

// A request that is sent while the cable is cut is lost for good, and its caller cannot
// tell.
func TestCable(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *memlink.Node) {
		a.Cable.Cut()
		if err := write(t, a); !errors.Is(err, backend.ErrMaybeStored) || !errors.Is(err, memlink.ErrDown) {
			t.Errorf("Put returned %v", err)
		}
		if _, err := a.Get(t.Context(), key); errors.Is(err, backend.ErrMaybeStored) || !errors.Is(err, memlink.ErrDown) {
			t.Errorf("Get returned %v", err)
		}
		a.Cable.Heal()
		time.Sleep(time.Hour)
		if stored(t, b) {
			t.Error("what was lost came")
		}
	})
}

// A process that stands still carries out its requests when it goes on, even if their
// callers have given up.
func TestProcess(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *memlink.Node) {
		a.Process.Cut()
		if err := write(t, a); !errors.Is(err, backend.ErrMaybeStored) {
			t.Errorf("Put returned %v", err)
		}
		time.Sleep(time.Hour)
		if stored(t, b) {
			t.Error("it was done meanwhile")
		}
		a.Process.Heal()
		synctest.Wait()
		if !stored(t, b) {
			t.Error("it was not done in the end")
		}
	})
}

// Nothing of a dead node comes later.
func TestKill(t *testing.T) {
	nodes(t, func(t *testing.T, a, b *memlink.Node) {
		a.Process.Cut()
		var failed sync.WaitGroup
		failed.Go(func() {
			if err := write(t, a); !errors.Is(err, backend.ErrMaybeStored) {
				t.Errorf("Put returned %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		a.Kill()
		failed.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v to fail", took)
		}
		a.Process.Heal()
		synctest.Wait()
		if stored(t, b) {
			t.Error("it was done after the kill")
		}
		if err := write(t, a); !errors.Is(err, backend.ErrClosed) {
			t.Errorf("a dead node's Put returned %v", err)
		}
	})
}

// sequence is what a node was told.
type sequence struct {
	mu   sync.Mutex
	seqs []uint64
}

func (s *sequence) add(recs []backend.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range recs {
		s.seqs = append(s.seqs, r.Pos.Seq)
	}
}

// want fails unless it is the first n records.
func (s *sequence) want(t *testing.T, n int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, seq := range s.seqs {
		if seq != uint64(i+1) {
			t.Fatalf("the records are %v", s.seqs)
		}
	}
	if len(s.seqs) != n {
		t.Fatalf("%d records, want %d", len(s.seqs), n)
	}
}

func appends(t *testing.T, to *memlink.Node, n int) {
	t.Helper()
	for range n {
		if _, err := to.Append(t.Context(), backend.Entry{Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
}

// Follow goes on where it was, without gaps and repetitions, after either cut, and
// holds up nobody meanwhile.
func TestFollow(t *testing.T) {
	for name, link := range map[string]func(*memlink.Node) *memlink.Link{
		"cable":   func(n *memlink.Node) *memlink.Link { return &n.Cable },
		"process": func(n *memlink.Node) *memlink.Link { return &n.Process },
	} {
		t.Run(name, func(t *testing.T) {
			nodes(t, func(t *testing.T, a, b *memlink.Node) {
				ctx, cancel := context.WithCancel(t.Context())
				var got sequence
				var ended sync.WaitGroup
				ended.Go(func() { _ = a.Follow(ctx, backend.Position{}, got.add) })
				for round := range 3 {
					appends(t, b, 10)
					got.want(t, 20*round+10)
					link(a).Cut()
					appends(t, b, 10)
					got.want(t, 20*round+10)
					link(a).Heal()
					got.want(t, 20*round+20)
				}
				a.Kill()
				appends(t, b, 1)
				got.want(t, 60)
				cancel()
				ended.Wait()
			})
		})
	}
}
