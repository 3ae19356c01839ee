package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
)

// noon is when the entries of the rules expire, more or less.
var noon = time.UnixMilli(4_102_488_000_123)

func entry(namespace, key, value string) kv.Entry {
	return kv.Entry{Namespace: namespace, Key: key, Value: []byte(value), Version: "0version-of-1"}
}

func expiring(key string, at time.Time) kv.Entry {
	e := entry("demo", key, "value of "+key)
	e.Expires = at
	return e
}

func put(ctx context.Context, engine kv.Engine, entries ...kv.Entry) error {
	for _, e := range entries {
		if err := engine.Put(ctx, e); err != nil {
			return fmt.Errorf("put %q %q: %w", e.Namespace, e.Key, err)
		}
	}
	return nil
}

// same reports how got differs from want.
func same(got, want kv.Entry) error {
	if got.Namespace != want.Namespace || got.Key != want.Key || !bytes.Equal(got.Value, want.Value) ||
		got.Version != want.Version || !got.Expires.Equal(want.Expires) || got.Expires.IsZero() != want.Expires.IsZero() {
		return fmt.Errorf("got %s, want %s", show(got), show(want))
	}
	return nil
}

func show(e kv.Entry) string {
	return fmt.Sprintf("{%q %q %.64q version %q expires %v}", e.Namespace, e.Key, e.Value, e.Version, e.Expires)
}

// holds reports how what the engine holds for the keys of want differs from it.
func holds(ctx context.Context, engine kv.Engine, want ...kv.Entry) error {
	for _, e := range want {
		got, err := engine.Get(ctx, e.Namespace, e.Key)
		if err == nil {
			err = same(got, e)
		}
		if err != nil {
			return fmt.Errorf("get %q %q: %w", e.Namespace, e.Key, err)
		}
	}
	return nil
}

func keys(entries []kv.Entry) string {
	var list []string
	for _, e := range entries {
		list = append(list, e.Key)
	}
	return strings.Join(list, " ")
}

func getReturnsWhatWasPut(ctx context.Context, engine kv.Engine) error {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	later := expiring("expires", noon)
	later.Version = strings.Repeat("~", 32)
	bytes := entry("demo", "bytes", string(every))
	bytes.Version = ""
	all := []kv.Entry{entry("demo", "empty", ""), entry("demo", "large", strings.Repeat("x", 1<<20)), bytes, later}
	if err := put(ctx, engine, all...); err != nil {
		return err
	}
	return holds(ctx, engine, all...)
}

func unknownIsNotFound(ctx context.Context, engine kv.Engine) error {
	if err := put(ctx, engine, entry("demo", "key", "1")); err != nil {
		return err
	}
	for _, name := range [][2]string{{"demo", "ke"}, {"demo", "key2"}, {"dem", "key"}, {"other", "key"}} {
		if _, err := engine.Get(ctx, name[0], name[1]); !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("get %q %q: %v", name[0], name[1], err)
		}
	}
	return nil
}

func putReplaces(ctx context.Context, engine kv.Engine) error {
	first := expiring("key", noon)
	for _, second := range []kv.Entry{entry("demo", "key", ""), expiring("key", noon.Add(time.Hour)), entry("demo", "key", "longer than it was")} {
		second.Version = "0version-of-2"
		if err := errors.Join(put(ctx, engine, first, second), holds(ctx, engine, second)); err != nil {
			return err
		}
	}
	return nil
}

func deleteRemoves(ctx context.Context, engine kv.Engine) error {
	stays := entry("demo", "stays", "1")
	if err := put(ctx, engine, stays, entry("demo", "goes", "1")); err != nil {
		return err
	}
	for _, key := range []string{"goes", "goes", "never was"} {
		if err := engine.Delete(ctx, "demo", key); err != nil {
			return fmt.Errorf("delete %q: %w", key, err)
		}
		if _, err := engine.Get(ctx, "demo", key); !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("get %q after its deletion: %v", key, err)
		}
	}
	return holds(ctx, engine, stays)
}

func namesAreKeptApart(ctx context.Context, engine kv.Engine) error {
	long := strings.Repeat("x", 254)
	names := [][2]string{
		{"a", "b:c"}, {"a:b", "c"}, {"a/b", "c"}, {"a", "b/c"}, {"ab", "c"}, {"a", "bc"},
		{"A", "bc"}, {"a", "Bc"}, {"a", "bc "}, {" a", "bc"}, {"é", "ü€😀"}, {"e\u0301", "u\u0308"},
		{"..", "../x"}, {"'", `"`}, {"a%", "b_"}, {"a*", "b?"}, {"$a", "{b}"},
		{long + "a", long + "b"}, {long + "b", long + "a"},
	}
	var all []kv.Entry
	for i, name := range names {
		all = append(all, entry(name[0], name[1], fmt.Sprint(i)))
	}
	if err := put(ctx, engine, all...); err != nil {
		return err
	}
	return holds(ctx, engine, all...)
}

func slicesAreNotShared(ctx context.Context, engine kv.Engine) error {
	value := bytes.Repeat([]byte("value"), 10_000) // too large to be copied for other reasons
	e := kv.Entry{Namespace: "demo", Key: "key", Value: value, Version: "1", Expires: noon}
	if err := put(ctx, engine, e); err != nil {
		return err
	}
	e.Value = bytes.Clone(value)
	value[0] = 'X'
	for range 2 {
		got, err := engine.Get(ctx, "demo", "key")
		if err == nil {
			err = same(got, e)
		}
		if err != nil {
			return err
		}
		got.Value[0] = 'Y'
		list, err := engine.List(ctx, "demo", "", "", 10)
		if err != nil || len(list) != 1 {
			return fmt.Errorf("listed %d entries: %w", len(list), err)
		}
		if err := same(list[0], e); err != nil {
			return err
		}
		list[0].Value[0] = 'Z'
		if list, err = engine.Expiring(ctx, 10); err != nil || len(list) != 1 {
			return fmt.Errorf("%d entries expire: %w", len(list), err)
		}
		clear(list[0].Value) // which may be missing
	}
	return nil
}

// shelf has keys of which the prefix, the order and the wildcards of some query
// languages matter.
func shelf() []kv.Entry {
	list := []kv.Entry{entry("cold", "a:1", "x"), entry("demoo", "a:1", "x"), expiring("a:9", noon)}
	for _, key := range []string{"a", "a:", "a:1", "a:10", "a:2", "a;", "A:1", "b", "a%", "a_1", "ab1", "a:é", "a:z", "ä"} {
		list = append(list, entry("demo", key, "value of "+key))
	}
	return list
}

func listIsInOrder(ctx context.Context, engine kv.Engine) error {
	if list, err := engine.List(ctx, "demo", "", "", 10); err != nil || len(list) != 0 {
		return fmt.Errorf("of nothing, %d entries: %w", len(list), err)
	}
	if err := put(ctx, engine, shelf()...); err != nil {
		return err
	}
	for _, c := range []struct {
		prefix, want string
	}{
		{"", "A:1 a a% a: a:1 a:10 a:2 a:9 a:z a:é a; a_1 ab1 b ä"},
		{"a:", "a: a:1 a:10 a:2 a:9 a:z a:é"},
		{"a%", "a%"},
		{"a_", "a_1"},
		{"a:\u00e9", "a:é"},
		{"none", ""},
	} {
		list, err := engine.List(ctx, "demo", c.prefix, "", 100)
		if err != nil {
			return err
		}
		if got := keys(list); got != c.want {
			return fmt.Errorf("prefix %q: listed %q, want %q", c.prefix, got, c.want)
		}
		if err := holds(ctx, engine, list...); err != nil {
			return fmt.Errorf("it was listed, but %w", err)
		}
	}
	return nil
}

func listGoesOn(ctx context.Context, engine kv.Engine) error {
	if err := put(ctx, engine, shelf()...); err != nil {
		return err
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"a:", "", 2, "a: a:1"},
		{"a:", "a:1", 2, "a:10 a:2"},
		{"a:", "a:15", 2, "a:2 a:9"}, // which is not, or no longer, there
		{"a:", "a:9", 100, "a:z a:é"},
		{"a:", "a:é", 2, ""},
		{"a:", "A", 1, "a:"},
		{"a:", "b", 2, ""},
		{"", "b", 2, "ä"},
	} {
		list, err := engine.List(ctx, "demo", c.prefix, c.after, c.limit)
		if err != nil {
			return err
		}
		if got := keys(list); got != c.want {
			return fmt.Errorf("%d of prefix %q after %q: listed %q, want %q", c.limit, c.prefix, c.after, got, c.want)
		}
	}
	return nil
}

// queue returns the keys of Expiring, after a look at what it says of them.
func queue(ctx context.Context, engine kv.Engine, limit int) (string, error) {
	list, err := engine.Expiring(ctx, limit)
	if err != nil {
		return "", err
	}
	for _, e := range list {
		full, err := engine.Get(ctx, e.Namespace, e.Key)
		if err != nil {
			return "", err
		}
		e.Value = full.Value // which it may leave out
		if err := same(e, full); err != nil {
			return "", fmt.Errorf("it was said to expire, but %w", err)
		}
	}
	return keys(list), nil
}

func expiringIsInOrder(ctx context.Context, engine kv.Engine) error {
	other := expiring("3rd", noon.Add(3*time.Millisecond))
	other.Namespace = "other"
	past := expiring("1st", time.UnixMilli(7))
	err := put(ctx, engine, expiring("4th", noon.Add(time.Hour)), entry("demo", "stays", "1"), expiring("2nd", noon), other, past)
	if err != nil {
		return err
	}
	for limit, want := range map[int]string{1: "1st", 3: "1st 2nd 3rd", 100: "1st 2nd 3rd 4th"} {
		got, err := queue(ctx, engine, limit)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("the first %d are %q, want %q", limit, got, want)
		}
	}
	return nil
}

func replacedDoesNotExpire(ctx context.Context, engine kv.Engine) error {
	err := put(ctx, engine,
		expiring("stays", noon), entry("demo", "stays", "now"),
		expiring("later", noon), expiring("later", noon.Add(time.Hour)),
		expiring("as before", noon.Add(time.Minute)), expiring("as before", noon.Add(time.Minute)),
		expiring("goes", noon))
	if err != nil {
		return err
	}
	if err := engine.Delete(ctx, "demo", "goes"); err != nil {
		return err
	}
	got, err := queue(ctx, engine, 100)
	if want := "as before later"; err == nil && got != want {
		err = fmt.Errorf("%q expire, want %q", got, want)
	}
	return err
}

func expiredIsThere(ctx context.Context, engine kv.Engine) error {
	past := expiring("past", time.UnixMilli(time.Now().UnixMilli()-1000))
	if err := errors.Join(put(ctx, engine, past), holds(ctx, engine, past)); err != nil {
		return err
	}
	list, err := engine.List(ctx, "demo", "", "", 10)
	if err == nil && keys(list) != "past" {
		err = fmt.Errorf("listed %q", keys(list))
	}
	return err
}

func callsDoNotDisturb(ctx context.Context, engine kv.Engine) error {
	const n, rounds = 16, 10
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		all.Go(func() {
			mine := expiring(fmt.Sprintf("%02d", i), noon.Add(time.Duration(i)*time.Millisecond))
			for range rounds {
				errs[i] = errors.Join(errs[i], put(ctx, engine, mine), holds(ctx, engine, mine))
				_, err := engine.List(ctx, "demo", "", "", n)
				_, err2 := engine.Expiring(ctx, n)
				errs[i] = errors.Join(errs[i], err, err2, engine.Delete(ctx, "demo", mine.Key), put(ctx, engine, mine))
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	list, err := engine.List(ctx, "demo", "", "", 2*n)
	if err != nil {
		return err
	}
	got, err := queue(ctx, engine, 2*n)
	if err == nil && (len(list) != n || got != keys(list) || !slices.IsSorted(strings.Fields(got))) {
		err = fmt.Errorf("%d calls at once left %q listed and %q expiring", n, keys(list), got)
	}
	return err
}

func endedContextIsHonoured(ctx context.Context, engine kv.Engine) error {
	if err := put(ctx, engine, entry("demo", "key", "1")); err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	end()
	_, err1 := engine.Get(ctx, "demo", "key")
	_, err2 := engine.List(ctx, "demo", "", "", 1)
	_, err3 := engine.Expiring(ctx, 1)
	for i, err := range []error{err1, err2, err3, engine.Put(ctx, entry("demo", "key", "2")), engine.Delete(ctx, "demo", "key")} {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s with an ended context: %v", []string{"Get", "List", "Expiring", "Put", "Delete"}[i], err)
		}
	}
	return nil
}
