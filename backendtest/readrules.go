package backendtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
)

func evictionIsTold(ctx context.Context, b backend.Backend) error {
	first, err := fill(ctx, b, 1)
	if err != nil {
		return err
	}
	end, err := fill(ctx, b, 1500)
	if err != nil {
		return err
	}
	for _, after := range []backend.Position{{}, first} {
		t := follow(ctx, b, after)
		defer t.stop()
		_, err := t.until(ctx, end)
		if err := completeOrLost(ctx, b, err); err != nil {
			return fmt.Errorf("following from %v: %w", after, err)
		}
	}
	return nil
}

func foreignEpochIsLost(ctx context.Context, b backend.Backend) error {
	pos, err := fill(ctx, b, 3)
	if err != nil {
		return err
	}
	for _, after := range []backend.Position{
		{Epoch: pos.Epoch - 1, Seq: pos.Seq - 1},
		{Epoch: pos.Epoch - 1, Seq: pos.Seq + 9},
		{Epoch: pos.Epoch + 1, Seq: pos.Seq - 1},
	} {
		if err := isLost(ctx, b, after); err != nil {
			return err
		}
	}
	return nil
}

func futureIsLost(ctx context.Context, b backend.Backend) error {
	pos, err := fill(ctx, b, 3)
	if err != nil {
		return err
	}
	return isLost(ctx, b, backend.Position{Epoch: pos.Epoch, Seq: pos.Seq + 1000})
}

// isLost checks that Follow refuses after, and says from where to go on.
func isLost(ctx context.Context, b backend.Backend, after backend.Position) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := b.Follow(ctx, after, func(batch []backend.Record) {
		cancel(fmt.Errorf("record %v was delivered", batch[0].Pos))
	})
	var lost *backend.LostError
	if !errors.As(err, &lost) {
		return fmt.Errorf("Follow(%v) returned %v (%v), not a LostError", after, err, context.Cause(ctx))
	}
	return usable(ctx, b, lost.Next)
}

func readReturnsOldest(ctx context.Context, b backend.Backend) error {
	start, err := fill(ctx, b, 1)
	if err != nil {
		return err
	}
	end, err := fill(ctx, b, 20)
	if err != nil {
		return err
	}
	before := func(n uint64) backend.Position { return backend.Position{Epoch: end.Epoch, Seq: end.Seq - n} }
	for _, c := range []struct {
		after       backend.Position
		limit       int
		first, most uint64 // the first record's seq, or 0, and how many there are
	}{
		{start, 100, start.Seq + 1, 20}, {start, 5, start.Seq + 1, 5}, {start, 0, 0, 0},
		{before(3), 100, end.Seq - 2, 3}, {before(3), 2, end.Seq - 2, 2}, {end, 10, 0, 0},
		{backend.Position{Epoch: end.Epoch, Seq: end.Seq + 9}, 10, 0, 0}, {backend.Position{Epoch: end.Epoch + 9}, 10, 0, 0},
	} {
		page, err := b.Read(ctx, c.after, c.limit)
		if err == nil {
			err = isOldest(page, end, c.first, c.most)
		}
		if err != nil {
			return fmt.Errorf("Read(%v, %d) with the head at %v: %w", c.after, c.limit, end, err)
		}
	}
	page, err := b.Read(ctx, backend.Position{}, 7)
	if err == nil {
		err = isOldest(page, end, page.First.Seq, 7)
	}
	return err
}

// isOldest checks that page holds records from the one at first on, some but at most
// the given number.
func isOldest(page backend.Page, head backend.Position, first, most uint64) error {
	n := uint64(len(page.Records))
	switch {
	case page.Head != head:
		return fmt.Errorf("it returned the head %v", page.Head)
	case page.First.Epoch != head.Epoch || page.First.Seq > head.Seq+1:
		return fmt.Errorf("it returned %v as the first retained", page.First)
	case n > most || n == 0 && most > 0:
		return fmt.Errorf("it returned %d records, want 1 to %d", n, most)
	}
	for i, r := range page.Records {
		if want := (backend.Position{Epoch: head.Epoch, Seq: first + uint64(i)}); r.Pos != want {
			return fmt.Errorf("it returned record %v, not %v", r.Pos, want)
		}
	}
	return nil
}

// readReachesHead reads page by page, as a node does at its start.
func readReachesHead(ctx context.Context, b backend.Backend) error {
	if _, err := fill(ctx, b, 50); err != nil {
		return err
	}
	page, err := b.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return err
	}
	at, head := backend.Position{Epoch: page.First.Epoch, Seq: page.First.Seq - 1}, page.Head
	for at != head {
		if page, err = b.Read(ctx, at, 7); err != nil {
			return err
		}
		if len(page.Records) == 0 {
			return fmt.Errorf("Read returns nothing after %v, with the head at %v", at, head)
		}
		for _, r := range page.Records {
			if r.Pos != at.Next() {
				return fmt.Errorf("record %v comes after %v", r.Pos, at)
			}
			at = r.Pos
		}
	}
	return nil
}

// headIsFresh asks for the head after each append, through whatever serves reads.
func headIsFresh(ctx context.Context, b backend.Backend) error {
	return together(8, func(i int) error {
		for range 25 {
			pos, err := b.Append(ctx, message(fmt.Sprint(i)))
			if err != nil {
				return err
			}
			page, err := b.Read(ctx, pos, 0)
			if err != nil {
				return err
			}
			if page.Head.Compare(pos) < 0 {
				return fmt.Errorf("the head was %v after Append had returned %v", page.Head, pos)
			}
		}
		return nil
	})
}
