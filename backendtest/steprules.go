package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
)

// stepsAreOne has many change one record at a time, each with an entry that says
// what it wrote, and compares the log with the revisions.
func stepsAreOne(ctx context.Context, b backend.Backend) error {
	k := key("steps", "one")
	if err := clear(ctx, b, k); err != nil {
		return err
	}
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	const writers, each = 6, 8
	err = together(writers, func(w int) error {
		for i := 0; i < each; {
			done, err := oneStep(ctx, b, k, fmt.Sprintf("%d/%d", w, i), i%3 == 2)
			if err != nil {
				return err
			}
			if done {
				i++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	got, err := t.settled(ctx)
	if err != nil {
		return err
	}
	return alternates(got, writers*each)
}

// oneStep writes the record, or deletes it, with an entry that says from what and to
// what it was changed. It is not done where another one was faster.
func oneStep(ctx context.Context, b backend.Backend, k backend.Key, value string, del bool) (done bool, err error) {
	it, err := b.Get(ctx, k)
	if err != nil {
		return false, err
	}
	if del && it.Revision != 0 {
		e := message("step " + string(it.Value) + " -> ")
		err = b.Delete(ctx, k, it.Revision, &e)
	} else {
		e := message("step " + string(it.Value) + " -> " + value)
		w := write(k, value, it.Revision)
		w.Append = &e
		_, err = b.Put(ctx, w)
	}
	if errors.Is(err, backend.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// alternates checks that each step goes on from the one before, and that causes grow.
func alternates(got []backend.Record, want int) error {
	at, cause, n := "", backend.Revision(0), 0
	for _, r := range got {
		change, ok := strings.CutPrefix(text(r), "step ")
		if !ok {
			continue
		}
		from, to, _ := strings.Cut(change, " -> ")
		switch {
		case from != at:
			return fmt.Errorf("the log has the step from %q to %q after the record was %q", from, to, at)
		case r.Cause <= cause:
			return fmt.Errorf("the log has the cause %d after %d", r.Cause, cause)
		}
		at, cause, n = to, r.Cause, n+1
	}
	if n != want {
		return fmt.Errorf("the log has %d of %d steps", n, want)
	}
	return nil
}

// stepsAreSeenInTheLog reads a record while it is changed: what it shows, the log has.
func stepsAreSeenInTheLog(ctx context.Context, b backend.Backend) error {
	k := key("steps", "seen")
	if err := clear(ctx, b, k); err != nil {
		return err
	}
	start, err := head(ctx, b)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	return together(2, func(i int) error {
		if i == 0 {
			defer close(ended)
			return writeSteps(ctx, b, k, 40)
		}
		for {
			select {
			case <-ended:
				return nil
			default:
			}
			if err := logHasRecord(ctx, b, start, k); err != nil {
				return err
			}
		}
	})
}

func writeSteps(ctx context.Context, b backend.Backend, k backend.Key, n int) error {
	for i := 0; i < n; {
		done, err := oneStep(ctx, b, k, fmt.Sprint(i), false)
		if err != nil {
			return err
		}
		if done {
			i++
		}
	}
	return nil
}

// logHasRecord checks that the log has the step to what is stored for k.
func logHasRecord(ctx context.Context, b backend.Backend, start backend.Position, k backend.Key) error {
	it, err := b.Get(ctx, k)
	if err != nil || it.Revision == 0 {
		return err
	}
	found, err := logHas(ctx, b, start, " -> "+string(it.Value))
	if err == nil && !found {
		err = fmt.Errorf("the record is %q, and the log has no step to it", it.Value)
	}
	return err
}

func logHas(ctx context.Context, b backend.Backend, after backend.Position, suffix string) (bool, error) {
	for {
		page, err := b.Read(ctx, after, 100)
		if err != nil || len(page.Records) == 0 {
			return false, err
		}
		if slices.ContainsFunc(page.Records, func(r backend.Record) bool { return strings.HasSuffix(text(r), suffix) }) {
			return true, nil
		}
		after = page.Records[len(page.Records)-1].Pos
	}
}

func failedStepsLeaveNoTrace(ctx context.Context, b backend.Backend) error {
	k := key("steps", "failed")
	if err := clear(ctx, b, k); err != nil {
		return err
	}
	rev, err := b.Put(ctx, write(k, "a", 0))
	if err != nil {
		return err
	}
	t, err := followHead(ctx, b)
	if err != nil {
		return err
	}
	defer t.stop()
	e := message("failed")
	w := write(k, "b", rev+1)
	w.Append = &e
	if _, err := b.Put(ctx, w); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Put with a revision that does not exist returned %v", err)
	}
	if err := b.Delete(ctx, k, rev+1, &e); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Delete with a revision that does not exist returned %v", err)
	}
	got, err := t.settled(ctx)
	if err != nil {
		return err
	}
	if len(got) > 0 {
		return fmt.Errorf("steps that failed appended %q", text(got[0]))
	}
	return has(ctx, b, k, "a", rev)
}
