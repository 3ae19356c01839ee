package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
)

// A node that is cut off from the engine for a while, or whose live records are lost,
// gives its clients the whole text afterwards.
func TestStreamOverFaults(t *testing.T) {
	bubble(t, "cut", func(t *testing.T) {
		c, hosts := clustered(t, 2, open(), nil)
		s := hosts[0].stream("a1")
		r := hosts[1].socket(get("/realtime")).reads("a1")
		text := ""
		for i := range 40 {
			switch i {
			case 10:
				c.Node(1).Cut()
			case 20:
				c.Node(1).Heal()
			case 25:
				c.Node(0).Cut()
			case 32:
				c.Node(0).Heal()
			}
			text += fmt.Sprint(i, " ")
			say(t, s, fmt.Sprint(i, " "))
			time.Sleep(time.Second)
		}
		time.Sleep(15 * time.Second)
		r.want(text, "streaming")
		c.Node(1).Cut()
		noError(t, s.Close())
		c.Node(1).Heal()
		time.Sleep(15 * time.Second)
		r.want(text, "complete")
		hosts[1].tells("a1 streaming", "a1 complete")
	})
	bubble(t, "lost pieces", func(t *testing.T) {
		c := newCluster()
		lossy := &losingPieces{Backend: c.link()}
		a := start(t, open(), &realtime.Options{Backend: lossy})
		b, _ := c.node(t, open())
		s := a.stream("a1")
		r := b.socket(get("/realtime")).reads("a1")
		lossy.every = 3
		text := ""
		for i := range 200 {
			text += fmt.Sprint(i, " ")
			say(t, s, fmt.Sprint(i, " "))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(15 * time.Second)
		r.want(text, "streaming")
		if lossy.lost.Load() < 30 {
			t.Errorf("%d records were lost", lossy.lost.Load())
		}
		noError(t, s.Close())
		r.want(text, "complete")
	})
}

// losingPieces loses one of every so many live records.
type losingPieces struct {
	backend.Backend
	every      int
	seen, lost atomic.Int64
}

func (b *losingPieces) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if strings.HasPrefix(e.ID, "live.") && b.every > 0 && int(b.seen.Add(1))%b.every == 0 {
		b.lost.Add(1)
		return backend.Position{}, nil
	}
	return b.Backend.Append(ctx, e)
}

// uncertain is a backend that makes some changes and does not say so, or says so and does
// not make them.
type uncertain struct {
	backend.Backend
	put, end atomic.Int32 // how many of the next changes, negative: which are not made
}

func doubtful(n *atomic.Int32, change func() error) error {
	switch left := n.Load(); {
	case left > 0:
		n.Add(-1)
		return errors.Join(change(), backend.ErrMaybeStored)
	case left < 0:
		n.Add(1)
		return backend.ErrMaybeStored
	}
	return change()
}

func (b *uncertain) Put(ctx context.Context, w backend.Write) (rev backend.Revision, err error) {
	if w.Kind != "stream" {
		return b.Backend.Put(ctx, w)
	}
	n := &b.put
	if w.If != 0 {
		n = &b.end
	}
	err = doubtful(n, func() error { rev, err = b.Backend.Put(ctx, w); return err })
	return rev, err
}

// A change whose outcome is not known is found out: there is one beginning and one end.
func TestStreamWhenOutcomesAreUnknown(t *testing.T) {
	t.Parallel()
	for _, n := range []int32{1, -1, 3, -3} {
		bubble(t, fmt.Sprint(n), func(t *testing.T) {
			c := newCluster()
			b := &uncertain{Backend: c.link()}
			h := start(t, open(), lasts(&realtime.Options{Backend: b}))
			c.node(t, open())
			b.put.Store(n)
			s := h.stream("a1")
			say(t, s, "x")
			b.end.Store(n)
			noError(t, s.Close())
			time.Sleep(5 * time.Minute)
			h.tells("a1 streaming", "a1 complete")
		})
	}
	// It has perhaps begun, and nobody can say: it fails by itself.
	bubble(t, "given up", func(t *testing.T) {
		c := newCluster()
		b := &uncertain{Backend: c.link()}
		h := start(t, open(), lasts(&realtime.Options{Backend: putsLate{b}}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := h.Stream(ctx, "room", "a1")
		if !errors.Is(err, realtime.ErrMaybeStored) {
			t.Errorf("%v", err)
		}
		time.Sleep(10 * time.Second)
		h.tells("a1 streaming")
		time.Sleep(2 * time.Minute)
		h.tells("a1 streaming", "a1 failed")
		h.stream("a2")
	})
}

// refusing is a backend that refuses to end streams as long as it is down.
type refusing struct {
	backend.Backend
	down atomic.Bool
}

func (b *refusing) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if w.Kind == "stream" && w.If != 0 && b.down.Load() {
		return 0, errors.New("the store is down")
	}
	return b.Backend.Put(ctx, w)
}

// A message of a dead node fails as soon as it can be recorded, however late that is.
func TestStreamOfADeadNodeWhileTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		b := &refusing{Backend: c.link()}
		b.down.Store(true)
		a, link := c.node(t, open())
		h := start(t, open(), lasts(&realtime.Options{Backend: b}))
		a.stream("a1")
		link.kill()
		time.Sleep(5 * time.Minute)
		h.tells("a1 streaming")
		b.down.Store(false)
		time.Sleep(time.Minute)
		h.tells("a1 streaming", "a1 failed")
	})
}

// putsLate makes a Put of the stream a1 after 5 s, when nobody waits for it.
type putsLate struct{ backend.Backend }

func (b putsLate) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if w.Kind != "stream" || w.Name != "a1" {
		return b.Backend.Put(ctx, w)
	}
	go func() {
		time.Sleep(5 * time.Second)
		_, _ = b.Backend.Put(context.Background(), w)
	}()
	<-ctx.Done()
	return 0, backend.ErrMaybeStored
}

// stuck never answers to the end of a stream.
type stuck struct{ backend.Backend }

func (b stuck) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	if w.Kind != "stream" || w.If == 0 {
		return b.Backend.Put(ctx, w)
	}
	<-ctx.Done()
	return 0, ctx.Err()
}
