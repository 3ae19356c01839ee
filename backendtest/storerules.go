package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// listYieldsWhatChanges lists records while they are written. They are pages enough for a
// record to be written again between two of them, before it was seen.
func listYieldsWhatChanges(ctx context.Context, b backend.Backend) error {
	const writers, each, looks = 4, 500, 5
	moving := func(w, i int) backend.Key { return key("moving", fmt.Sprint(w, " ", i)) }
	var revs [writers][each]backend.Revision
	put := func(w, i int) error {
		rev, err := b.Put(ctx, write(moving(w, i), "x", revs[w][i]))
		if errors.Is(err, backend.ErrMaybeStored) || errors.Is(err, backend.ErrConflict) {
			it, err := b.Get(ctx, moving(w, i))
			revs[w][i] = it.Revision
			return err
		}
		revs[w][i] = rev
		return err
	}
	if err := together(writers, func(w int) error {
		for i := range each {
			for revs[w][i] == 0 {
				if err := put(w, i); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	looked := make(chan struct{})
	return together(1+writers, func(w int) error {
		if w < writers {
			for {
				select {
				case <-looked:
					return nil
				default:
				}
				if err := put(w, rand.IntN(each)); err != nil {
					return err
				}
			}
		}
		defer close(looked)
		for range looks {
			found := make(map[backend.Key]bool)
			for it, err := range b.List(ctx, "backendtest", "moving") {
				switch {
				case err != nil:
					return err
				case found[it.Key]:
					return fmt.Errorf("%q was listed twice", it.Key)
				}
				found[it.Key] = true
			}
			if len(found) != writers*each {
				return fmt.Errorf("%d of %d records were listed, which were written meanwhile", len(found), writers*each)
			}
		}
		return nil
	})
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
