package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/natsbackend"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
)

// engine is a server that is stopped, and started again with what it had at another
// time.
type engine struct {
	t   *testing.T
	o   embedded.Options
	srv *embedded.Server
}

func startEngine(t *testing.T) *engine {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	e := &engine{t: t, o: embedded.Options{Dir: t.TempDir(), Listen: ln.Addr().String()}}
	e.run()
	t.Cleanup(e.stop)
	return e
}

func (e *engine) run() {
	e.t.Helper()
	srv, err := embedded.Start(e.o)
	if err != nil {
		e.t.Fatal(err)
	}
	e.srv = srv
}

func (e *engine) stop() {
	if e.srv != nil {
		e.srv.Close()
		e.srv = nil
	}
}

// copied returns a copy of what the server has, which is stopped for it.
func (e *engine) copied() (dir string) {
	e.t.Helper()
	dir = e.t.TempDir()
	e.stop()
	if err := os.CopyFS(dir, os.DirFS(e.o.Dir)); err != nil {
		e.t.Fatal(err)
	}
	e.run()
	return dir
}

// putBack restarts the server with another directory.
func (e *engine) putBack(dir string) {
	e.t.Helper()
	e.stop()
	e.o.Dir = dir
	e.run()
}

// reading follows the log until the backend has read it up to a position.
func reading(t *testing.T, b backend.Backend, after, until backend.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := b.Follow(ctx, after, func(recs []backend.Record) {
		if recs[len(recs)-1].Pos.Compare(until) >= 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func putSurely(t *testing.T, b backend.Backend, w backend.Write) backend.Revision {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		rev, err := b.Put(ctx, w)
		switch {
		case err == nil:
			return rev
		case ctx.Err() != nil:
			t.Fatal(err)
		}
		if it, err := b.Get(ctx, w.Key); err == nil {
			w.If = it.Revision
		}
	}
}

// A server that has lost its disk has no streams. The nodes create them, and go on in
// a greater epoch.
func TestStreamsAreGone(t *testing.T) {
	e := startEngine(t)
	b := open(t, e.srv.URL(), nil)
	k := backend.Key{Kind: "k", Group: "g", Name: "n"}
	rev := putSurely(t, b, backend.Write{Key: k})
	keep := enginetest.Append(t, b, "kept")
	ended := make(chan error, 1)
	go func() { ended <- b.Follow(t.Context(), keep, func([]backend.Record) {}) }()
	e.putBack(t.TempDir())
	var lost *backend.LostError
	select {
	case err := <-ended:
		if !errors.As(err, &lost) || lost.Next.Epoch <= keep.Epoch {
			t.Fatalf("Follow ended with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the loss was not told")
	}
	if pos := enginetest.Append(t, b, "again"); pos.Epoch != lost.Next.Epoch {
		t.Errorf("the log goes on at %v after %v", pos, lost.Next)
	}
	if again := putSurely(t, b, backend.Write{Key: k}); again <= rev {
		t.Errorf("the record has revision %d after %d", again, rev)
	}
}

// Between a change and its entry the store is put back to before the change. The entry
// must not be stored, even if nobody has noticed the loss yet: it would tell of
// something that has not happened.
func TestEntryOfLostChange(t *testing.T) {
	e := startEngine(t)
	b := open(t, e.srv.URL(), nil)
	keep := enginetest.Append(t, b, "kept")
	copied := e.copied()
	changed := putSurely(t, b, backend.Write{Key: backend.Key{Kind: "k", Group: "g", Name: "n"}})
	reading(t, b, keep, enginetest.Append(t, b, "lost"))
	e.putBack(copied)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pos, err := b.Store.Append(ctx, backend.Entry{Data: []byte("late")}, changed)
	for errors.Is(err, backend.ErrMaybeStored) && ctx.Err() == nil { // not connected yet
		pos, err = b.Store.Append(ctx, backend.Entry{Data: []byte("late")}, changed)
	}
	if err == nil || ctx.Err() != nil {
		t.Errorf("the entry of a lost change is at %v, %v", pos, err)
	}
	page, err := b.Read(ctx, backend.Position{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		if string(r.Data) == "late" {
			t.Errorf("the log has the entry at %v", r.Pos)
		}
	}
}

// A node that has not read the lost records learns of the new epoch from the other nodes,
// with the first record that it reads.
func TestEpochIsLearned(t *testing.T) {
	for _, from := range []string{"the log", "the store"} {
		t.Run(from, func(t *testing.T) {
			e := startEngine(t)
			name := func(o *natsbackend.Options) { o.Name = "shared" }
			knows, learns := open(t, e.srv.URL(), name), open(t, e.srv.URL(), name)
			keep := enginetest.Append(t, knows, "kept")
			copied := e.copied()
			reading(t, knows, keep, enginetest.Append(t, knows, "lost"))
			e.putBack(copied)
			k := backend.Key{Kind: "k", Group: "g", Name: "n"}
			raised := enginetest.Append(t, knows, "again")
			putSurely(t, knows, backend.Write{Key: k})
			if raised.Epoch <= keep.Epoch {
				t.Fatalf("the log goes on at %v after %v", raised, keep)
			}
			var err error
			if from == "the log" {
				_, err = learns.Read(t.Context(), keep, 100)
			} else {
				_, err = learns.Get(t.Context(), k)
			}
			if err != nil {
				t.Fatal(err)
			}
			if pos := enginetest.Append(t, learns, "and again"); pos.Epoch != raised.Epoch {
				t.Errorf("a node that has read it appends at %v, the others at %v", pos, raised)
			}
		})
	}
}

// A node that was busy, or stopped, has records which it received before it learned of
// a new epoch, and which are perhaps lost by now. It must not take them for records of
// that epoch: it would miss those that stand in their place.
func TestReceivedBeforeLoss(t *testing.T) {
	e := startEngine(t)
	shared := func(o *natsbackend.Options) { o.Name = "shared" }
	b := open(t, e.srv.URL(), shared)
	keep := enginetest.Append(t, b, "kept")
	first := enginetest.Append(t, b, "first")
	for i := range 20 {
		enginetest.Append(t, b, fmt.Sprint("later ", i))
	}
	busy, waiting := make(chan struct{}), make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Follow(t.Context(), keep, func(recs []backend.Record) {
			if recs[0].Pos == first {
				waiting <- struct{}{}
				<-busy
			}
		})
	}()
	<-waiting
	if _, err := backend.RaiseEpoch(t.Context(), b.Store.Plain, keep.Epoch+1<<20); err != nil {
		t.Fatal(err)
	}
	k := backend.Key{Kind: "k", Group: "g", Name: "n"}
	putSurely(t, open(t, e.srv.URL(), shared), backend.Write{Key: k})
	if _, err := b.Get(t.Context(), k); err != nil { // by which it learns of the epoch
		t.Fatal(err)
	}
	head := enginetest.Append(t, b, "again")
	close(busy)
	select {
	case err := <-ended:
		var lost *backend.LostError
		if !errors.As(err, &lost) || lost.Next != head {
			t.Errorf("Follow ended with %v, the log ends at %v", err, head)
		}
	case <-time.After(2 * time.Minute):
		t.Error("the loss was not told")
	}
}
