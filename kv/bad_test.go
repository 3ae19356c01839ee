package kv_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/kv"
)

// A call is one of a store.
type call func(ctx context.Context, s *kv.Store) error

var longKey = strings.Repeat("x", 256)

func putting(namespace, key string, size int, opts ...kv.PutOption) call {
	return func(ctx context.Context, s *kv.Store) error {
		_, err := s.Put(ctx, namespace, key, make([]byte, size), opts...)
		return err
	}
}

func getting(namespace, key string) call {
	return func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, namespace, key); return err }
}

func deleting(namespace, key string) call {
	return func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, namespace, key) }
}

func listing(namespace string, opts kv.ListOptions) call {
	return func(ctx context.Context, s *kv.Store) error { _, err := s.List(ctx, namespace, opts); return err }
}

func cancelled(c call) call {
	return func(ctx context.Context, s *kv.Store) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return c(ctx, s)
	}
}

var badCalls = []struct {
	name string
	call call
	want error
}{
	{"empty namespace", putting("", "k", 1), kv.ErrBadKey},
	{"empty key", putting("n", "", 1), kv.ErrBadKey},
	{"long namespace", putting(longKey, "k", 1), kv.ErrBadKey},
	{"long key", putting("n", longKey, 1), kv.ErrBadKey},
	{"key with NUL", putting("n", "a\x00b", 1), kv.ErrBadKey},
	{"key with a line break", putting("n", "a\nb", 1), kv.ErrBadKey},
	{"key not UTF-8", putting("n", "\xff", 1), kv.ErrBadKey},
	{"value too large", putting("n", "k", 1<<20+1), kv.ErrTooLarge},
	{"no TTL", putting("n", "k", 1, kv.TTL(0)), kv.ErrBadOption},
	{"nil option", putting("n", "k", 1, nil), kv.ErrBadOption},
	{"negative TTL", putting("n", "k", 1, kv.TTL(-time.Second)), kv.ErrBadOption},
	{"put cancelled", cancelled(putting("n", "k", 0)), context.Canceled},
	{"get: not there", getting("n", "k"), kv.ErrNotFound},
	{"get: empty namespace", getting("", "k"), kv.ErrBadKey},
	{"get: long key", getting("n", longKey), kv.ErrBadKey},
	{"get cancelled", cancelled(getting("n", "k")), context.Canceled},
	{"delete: empty key", deleting("n", ""), kv.ErrBadKey},
	{"delete: not UTF-8", deleting("\xff", "k"), kv.ErrBadKey},
	{"list: empty namespace", listing("", kv.ListOptions{}), kv.ErrBadKey},
	{"list: bad prefix", listing("n", kv.ListOptions{Prefix: "a\x00"}), kv.ErrBadKey},
	{"list: bad cursor", listing("n", kv.ListOptions{Cursor: longKey}), kv.ErrBadKey},
	{"list: negative limit", listing("n", kv.ListOptions{Limit: -1}), kv.ErrBadOption},
	{"list: large limit", listing("n", kv.ListOptions{Limit: 1001}), kv.ErrBadOption},
}

var oddCalls = []struct {
	name string
	call call
}{
	{"names as long as may be", putting(longKey[1:], longKey[1:], 1)},
	{"value as large as may be", putting("n", "large", 1<<20)},
	{"no value", putting("n", "none", 0)},
	{"the longest TTL", putting("n", "long", 0, kv.TTL(1<<63-1))},
	{"it has not expired", getting("n", "long")},
	{"the shortest TTL", putting("n", "short", 0, kv.TTL(1))},
	{"any name", putting("$n", "../*{}[]?%_'\" é", 0)},
	{"delete: not there", deleting("n", "k")},
	{"list: a page", listing("n", kv.ListOptions{Limit: 1000})},
}

func TestBadInput(t *testing.T) {
	s, r := open(t, nil)
	for _, c := range badCalls {
		if err := c.call(t.Context(), s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	r.expect(t, "")
	for _, c := range oddCalls {
		if err := c.call(t.Context(), s); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
