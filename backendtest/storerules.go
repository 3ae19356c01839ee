package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// key returns a key of a rule. The store may hold whatever earlier rules left.
func key(group, name string) backend.Key {
	return backend.Key{Kind: "backendtest", Group: group, Name: name}
}

func write(k backend.Key, value string, ifRevision backend.Revision) backend.Write {
	return backend.Write{Key: k, Value: []byte(value), If: ifRevision}
}

// clear deletes the record of a key, if there is one.
func clear(ctx context.Context, b backend.Backend, k backend.Key) error {
	for {
		it, err := b.Get(ctx, k)
		if err != nil || it.Revision == 0 {
			return err
		}
		if err := b.Delete(ctx, k, it.Revision, nil); !errors.Is(err, backend.ErrConflict) {
			return err
		}
	}
}

// has checks what is stored for a key.
func has(ctx context.Context, b backend.Backend, k backend.Key, value string, rev backend.Revision) error {
	it, err := b.Get(ctx, k)
	switch {
	case err != nil:
		return err
	case it.Key != k:
		return fmt.Errorf("Get(%q) returned the record of %q", k, it.Key)
	case it.Revision != rev || string(it.Value) != value:
		return fmt.Errorf("Get(%q) returned %.80q, revision %d, not %.80q, revision %d", k, it.Value, it.Revision, value, rev)
	}
	return nil
}

func putChecksTheRevision(ctx context.Context, b backend.Backend) error {
	k := key("revisions", "one")
	if err := clear(ctx, b, k); err != nil {
		return err
	}
	if err := has(ctx, b, k, "", 0); err != nil {
		return err
	}
	if _, err := b.Put(ctx, write(k, "x", 1)); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Put with a revision where there is no record returned %v", err)
	}
	first, err := b.Put(ctx, write(k, "a", 0))
	if err != nil {
		return err
	}
	if _, err := b.Put(ctx, write(k, "x", 0)); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Put without a revision where there is a record returned %v", err)
	}
	second, err := b.Put(ctx, write(k, "b", first))
	if err != nil {
		return err
	}
	if first == 0 || second <= first {
		return fmt.Errorf("the revisions are %d and %d", first, second)
	}
	if _, err := b.Put(ctx, write(k, "x", first)); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Put with an old revision returned %v", err)
	}
	if err := b.Delete(ctx, k, first, nil); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Delete with an old revision returned %v", err)
	}
	if err := has(ctx, b, k, "b", second); err != nil {
		return err
	}
	if err := b.Delete(ctx, k, second, nil); err != nil {
		return err
	}
	if err := has(ctx, b, k, "", 0); err != nil {
		return err
	}
	if err := b.Delete(ctx, k, second, nil); !errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("Delete of what is gone returned %v", err)
	}
	return nil
}

func revisionsAreNeverUsedAgain(ctx context.Context, b backend.Backend) error {
	k := key("revisions", "again")
	var last backend.Revision
	for range 3 {
		if err := clear(ctx, b, k); err != nil {
			return err
		}
		rev, err := b.Put(ctx, write(k, "same", 0))
		if err != nil {
			return err
		}
		if rev <= last {
			return fmt.Errorf("the record got revision %d after %d", rev, last)
		}
		last = rev
		if rev, err = b.Put(ctx, write(k, "same", rev)); err != nil { // the same value is a write too
			return err
		}
		if rev <= last {
			return fmt.Errorf("the record got revision %d after %d", rev, last)
		}
		last = rev
	}
	return nil
}

func oneOfManyWritesWins(ctx context.Context, b backend.Backend) error {
	k := key("race", "counter")
	if err := clear(ctx, b, k); err != nil {
		return err
	}
	const writers, each = 8, 10
	err := together(writers, func(int) error {
		for done := 0; done < each; {
			it, err := b.Get(ctx, k)
			if err != nil {
				return err
			}
			_, err = b.Put(ctx, write(k, string(it.Value)+"|", it.Revision))
			switch {
			case err == nil:
				done++
			case !errors.Is(err, backend.ErrConflict):
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	it, err := b.Get(ctx, k)
	if err == nil && len(it.Value) != writers*each {
		err = fmt.Errorf("of %d writes that succeeded, %d are in the record", writers*each, len(it.Value))
	}
	return err
}

// oddNames are names that are easily taken for another, or for a pattern, a
// separator or a path of the engine.
var oddNames = []string{
	"a", "A", "a.b", "a:b", "a*", "*", ">", "a b", " a", "a ", "a/../b", "\x00", "\xff\xfe", "\r\n", "é", "e\u0301",
	"{a}", "[a]", "?", "\\", "\"'`", "$", "_", "__", "=", "=41", "%41", strings.Repeat("x", 255), strings.Repeat("é", 127),
}

func keysAreApart(ctx context.Context, b backend.Backend) error {
	var keys []backend.Key
	for _, name := range oddNames {
		keys = append(keys, key("odd", name), key(name, "odd"))
	}
	keys = append(keys, key("a", "b:c"), key("a:b", "c"), key("a", "b\x00c"), key("a\x00b", "c"))
	revs := make(map[backend.Key]backend.Revision)
	for _, k := range keys {
		if _, twice := revs[k]; twice {
			continue
		}
		if err := clear(ctx, b, k); err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		rev, err := b.Put(ctx, write(k, fmt.Sprintf("%q", k), 0))
		if err != nil {
			return fmt.Errorf("key %q: %w", k, err)
		}
		revs[k] = rev
	}
	for k, rev := range revs {
		if err := has(ctx, b, k, fmt.Sprintf("%q", k), rev); err != nil {
			return err
		}
	}
	for _, name := range oddNames {
		if err := lists(ctx, b, "backendtest", name, func(k backend.Key) bool { return k.Group == name }, revs); err != nil {
			return err
		}
	}
	for k := range revs {
		if err := clear(ctx, b, k); err != nil {
			return err
		}
	}
	return nil
}

// lists checks that List yields, of the keys in revs, just those that match.
func lists(ctx context.Context, b backend.Backend, kind, group string, match func(backend.Key) bool, revs map[backend.Key]backend.Revision) error {
	found := make(map[backend.Key]bool)
	for it, err := range b.List(ctx, kind, group) {
		if err != nil {
			return fmt.Errorf("List(%q, %q): %w", kind, group, err)
		}
		rev, ours := revs[it.Key]
		switch {
		case it.Kind != kind || group != "" && it.Group != group:
			return fmt.Errorf("List(%q, %q) yielded the record of %q", kind, group, it.Key)
		case found[it.Key]:
			return fmt.Errorf("List(%q, %q) yielded %q twice", kind, group, it.Key)
		case ours && it.Revision != rev:
			return fmt.Errorf("List(%q, %q) yielded revision %d of %q, not %d", kind, group, it.Revision, it.Key, rev)
		}
		found[it.Key] = true
	}
	for k := range revs {
		if match(k) && !found[k] {
			return fmt.Errorf("List(%q, %q) did not yield %q", kind, group, k)
		}
	}
	return nil
}

func listYieldsAll(ctx context.Context, b backend.Backend) error {
	const groups, each = 4, 300
	revs := make(map[backend.Key]backend.Revision)
	var mu sync.Mutex
	err := together(groups, func(g int) error {
		for i := range each {
			k := key(fmt.Sprintf("list %d", g), fmt.Sprint(i))
			if err := clear(ctx, b, k); err != nil {
				return err
			}
			rev, err := b.Put(ctx, write(k, "x", 0))
			if err != nil {
				return err
			}
			mu.Lock()
			revs[k] = rev
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := lists(ctx, b, "backendtest", "", func(backend.Key) bool { return true }, revs); err != nil {
		return err
	}
	if err := lists(ctx, b, "backendtest", "list 1", func(k backend.Key) bool { return k.Group == "list 1" }, revs); err != nil {
		return err
	}
	if err := lists(ctx, b, "backendtest", "list", func(backend.Key) bool { return false }, revs); err != nil {
		return err
	}
	for range b.List(ctx, "backendtest", "list 2") {
		break // who breaks off ends it
	}
	for k, rev := range revs {
		if err := b.Delete(ctx, k, rev, nil); err != nil {
			return err
		}
	}
	return lists(ctx, b, "backendtest", "list 1", func(backend.Key) bool { return false }, revs)
}

func valuesAreUnchanged(ctx context.Context, b backend.Backend) error {
	for i, value := range []string{"", "\x00", "\xff\xfe\r\n\t'\"\\", strings.Repeat("v", backend.MaxValue)} {
		k := key("values", fmt.Sprint(i))
		if err := clear(ctx, b, k); err != nil {
			return err
		}
		rev, err := b.Put(ctx, write(k, value, 0))
		if err != nil {
			return err
		}
		if err := has(ctx, b, k, value, rev); err != nil {
			return err
		}
		for it, err := range b.List(ctx, k.Kind, k.Group) {
			if err != nil {
				return err
			}
			if it.Key == k && !bytes.Equal(it.Value, []byte(value)) {
				return fmt.Errorf("the value from List is %.80q, not %.80q", it.Value, value)
			}
		}
	}
	k := key("values", "too large")
	if _, err := b.Put(ctx, write(k, strings.Repeat("v", backend.MaxValue+1), 0)); !errors.Is(err, backend.ErrTooLarge) {
		return fmt.Errorf("a value of more than MaxValue bytes: %v", err)
	}
	return nil
}

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
