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
	"github.com/maravilla-realtime/realtime/internal/memlink"
	"github.com/maravilla-realtime/realtime/internal/memory"
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
				var mu sync.Mutex
				var seqs []uint64
				var ended sync.WaitGroup
				ended.Go(func() {
					_ = a.Follow(ctx, backend.Position{}, func(recs []backend.Record) {
						mu.Lock()
						defer mu.Unlock()
						for _, r := range recs {
							seqs = append(seqs, r.Pos.Seq)
						}
					})
				})
				want := func(n int) {
					t.Helper()
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					for i, seq := range seqs {
						if seq != uint64(i+1) {
							t.Fatalf("the records are %v", seqs)
						}
					}
					if len(seqs) != n {
						t.Fatalf("%d records, want %d", len(seqs), n)
					}
				}
				for round := range 3 {
					for range 10 {
						if _, err := b.Append(t.Context(), backend.Entry{Data: []byte("x")}); err != nil {
							t.Fatal(err)
						}
					}
					want(20*round + 10)
					link(a).Cut()
					for range 10 {
						if _, err := b.Append(t.Context(), backend.Entry{Data: []byte("x")}); err != nil {
							t.Fatal(err)
						}
					}
					want(20*round + 10)
					link(a).Heal()
					want(20*round + 20)
				}
				a.Kill()
				if _, err := b.Append(t.Context(), backend.Entry{Data: []byte("x")}); err != nil {
					t.Fatal(err)
				}
				want(60)
				cancel()
				ended.Wait()
			})
		})
	}
}
