package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// message is an entry without an id that says no more than text.
func message(text string) backend.Entry { return backend.Entry{Data: []byte(text)} }

func text(r backend.Record) string { return string(r.Data) }

// fill appends n messages and returns the position of the last one.
func fill(ctx context.Context, b backend.Backend, n int) (last backend.Position, err error) {
	for i := range n {
		if last, err = b.Append(ctx, message(fmt.Sprint(i))); err != nil {
			return last, err
		}
	}
	return last, nil
}

func appendIsDense(ctx context.Context, b backend.Backend) error {
	prev, err := head(ctx, b)
	if err != nil {
		return err
	}
	t := follow(ctx, b, prev)
	defer t.stop()
	for i := range 50 {
		key := fmt.Sprint(i)
		pos, err := b.Append(ctx, message(key))
		if err != nil {
			return err
		}
		if !isNext(prev, pos) {
			return fmt.Errorf("position %v was given after %v", pos, prev)
		}
		got, err := t.until(ctx, pos)
		if err != nil {
			return err
		}
		if len(got) != 1 || text(got[0]) != key {
			return fmt.Errorf("Follow delivered %d records for message %s, the last one %+v", len(got), key, got[len(got)-1])
		}
		prev = pos
	}
	return nil
}

func idIsStoredOnce(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	var at [4]backend.Position
	for i, id := range []string{"once-a", "once-b", "once-a", "once-b"} {
		e := message(id)
		e.ID = id
		if at[i], err = b.Append(ctx, e); err != nil {
			return err
		}
	}
	if at[2] != at[0] || at[3] != at[1] || at[0] == at[1] {
		return fmt.Errorf("ids a, b, a, b got the positions %v", at)
	}
	got, err := t.settled(ctx)
	if err == nil && len(got) != 2 {
		err = fmt.Errorf("2 ids were stored as %d records", len(got))
	}
	return err
}

func idIsStoredOnceConcurrently(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	const n = 32
	e := message("concurrently")
	e.ID = "concurrently"
	var at [n]backend.Position
	err = together(n, func(i int) (err error) {
		at[i], err = b.Append(ctx, e)
		return err
	})
	if err != nil {
		return err
	}
	for _, pos := range at {
		if pos != at[0] {
			return fmt.Errorf("one id got the positions %v and %v", at[0], pos)
		}
	}
	got, err := t.settled(ctx)
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("one id was stored as %d records", len(got))
	}
	return err
}

// together calls f n times at once and returns when all calls have.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// oddData is easily changed on the way: by parsing and printing it again, by
// escaping, by ending lines or strings, by compression or a size.
var oddData = []string{
	"",
	"\x00",
	"\x00\x01\xff\xfe\r\n\t'\"`$(x)\\",
	`{"b":1,"a":2,"a":3, "n": 1e400}`,
	"\u2028\u2029\ufeff\u0085\u007f\U0001f600 <script>&amp;",
	strings.Repeat("x", 1<<20),
	strings.Repeat("\x00", backend.MaxData),
}

func recordsAreUnchanged(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	for i, data := range oddData {
		e := backend.Entry{ID: fmt.Sprintf("odd %d \"<é\u2028\U0001f600>\" : * . > \r\n", i), Data: []byte(data)}
		pos, err := b.Append(ctx, e)
		if err != nil {
			return err
		}
		followed, err := t.until(ctx, pos)
		if err != nil {
			return err
		}
		page, err := b.Read(ctx, backend.Position{Epoch: pos.Epoch, Seq: pos.Seq - 1}, 1)
		if err != nil {
			return err
		}
		if err := errors.Join(sameEntry("Follow", followed, e), sameEntry("Read", page.Records, e)); err != nil {
			return err
		}
	}
	return nil
}

func sameEntry(method string, got []backend.Record, want backend.Entry) error {
	switch {
	case len(got) != 1:
		return fmt.Errorf("%s returned %d records for one", method, len(got))
	case !bytes.Equal(got[0].Data, want.Data):
		return fmt.Errorf("%s returned the data %.80q (%d bytes) for %.80q (%d)", method, got[0].Data, len(got[0].Data), want.Data, len(want.Data))
	case got[0].ID != want.ID:
		return fmt.Errorf("%s returned the id %q for %q", method, got[0].ID, want.ID)
	case got[0].Cause != 0:
		return fmt.Errorf("%s returned the cause %d for an entry of no change", method, got[0].Cause)
	case got[0].Time.IsZero():
		return fmt.Errorf("%s returned no time", method)
	}
	return nil
}

func followersSeeOneOrder(ctx context.Context, b backend.Backend) error {
	const publishers, each, followers = 16, 20, 4
	var tails [followers]*tail
	for i := range tails {
		t, err := followHead(ctx, b)
		if err != nil {
			return err
		}
		defer t.stop()
		tails[i] = t
	}
	keys, err := publishConcurrently(ctx, b, publishers, each)
	if err != nil {
		return err
	}
	end, err := b.Append(ctx, message("end"))
	if err != nil {
		return err
	}
	for _, t := range tails {
		got, err := t.until(ctx, end)
		if err != nil {
			return err
		}
		if err := sameOrder(got[:len(got)-1], keys); err != nil {
			return err
		}
	}
	return nil
}

// sameOrder compares dense records with what Append said is where.
func sameOrder(got []backend.Record, keys map[backend.Position]string) error {
	if len(got) != len(keys) {
		return fmt.Errorf("a follower got %d records for %d positions", len(got), len(keys))
	}
	for _, r := range got {
		if keys[r.Pos] != text(r) {
			return fmt.Errorf("a follower got message %q at %v, where Append put %q", text(r), r.Pos, keys[r.Pos])
		}
	}
	return nil
}

// publishConcurrently returns the keys of what it stored by position.
func publishConcurrently(ctx context.Context, b backend.Backend, publishers, each int) (map[backend.Position]string, error) {
	var mu sync.Mutex
	keys := map[backend.Position]string{}
	err := together(publishers, func(p int) error {
		var prev backend.Position
		for i := range each {
			key := fmt.Sprintf("%d/%d", p, i)
			pos, err := b.Append(ctx, message(key))
			if err != nil {
				return err
			}
			if pos.Compare(prev) <= 0 {
				return fmt.Errorf("position %v was given after %v", pos, prev)
			}
			prev = pos
			mu.Lock()
			keys[pos] = key
			mu.Unlock()
		}
		return nil
	})
	return keys, err
}

func historyJoinsLive(ctx context.Context, b backend.Backend) error {
	const records, each = 400, 40
	start, err := fill(ctx, b, 1) // so that the position has an epoch
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	published := make(chan backend.Position) // every so often
	var end backend.Position
	var failed error
	go func() {
		defer close(published)
		for range records / each {
			if end, failed = fill(ctx, b, each); failed != nil {
				return
			}
			published <- end
		}
	}()
	var tails []*tail
	for pos := range published {
		tails = append(tails, follow(ctx, b, start), follow(ctx, b, pos))
	}
	for _, t := range tails {
		defer t.stop()
	}
	if failed != nil {
		return failed
	}
	for _, t := range tails[:len(tails)-1] { // the last one starts at the end
		if _, err := t.until(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

func slowSinkMissesNothing(ctx context.Context, b backend.Backend) error {
	start, err := fill(ctx, b, 1)
	if err != nil {
		return err
	}
	gate := make(chan struct{})
	t := followGated(ctx, b, start, gate)
	defer t.stop()
	end, err := fill(ctx, b, 400)
	close(gate)
	if err != nil {
		return err
	}
	_, err = t.until(ctx, end)
	return completeOrLost(ctx, b, err)
}

// completeOrLost judges how a tail came to its end: with everything (nil), or
// by being told that records are lost and where to go on.
func completeOrLost(ctx context.Context, b backend.Backend, err error) error {
	var lost *backend.LostError
	if errors.As(err, &lost) {
		return usable(ctx, b, lost.Next)
	}
	return err
}

// usable checks that one can follow from the Next of a LostError.
func usable(ctx context.Context, b backend.Backend, next backend.Position) error {
	t := follow(ctx, b, next)
	defer t.stop()
	if _, err := t.settled(ctx); err != nil {
		return fmt.Errorf("following from Next %v: %w", next, err)
	}
	return nil
}

func followEndsWithContext(ctx context.Context, b backend.Backend) error {
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	if _, err := t.settled(ctx); err != nil { // it runs
		return err
	}
	t.stop()
	if !errors.Is(t.err, context.Canceled) {
		return fmt.Errorf("Follow returned %w, not the error of its context", t.err)
	}
	return nil
}
