package growing_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// journal is what nodes log.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

// reports checks that so many records were reported since the last call, and nothing else
// was said.
func (j *journal) reports(t *testing.T, when string, want int) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	said := j.buf.String()
	j.buf.Reset()
	if n := strings.Count(said, "a record of the store cannot be read"); n != want || strings.Count(said, "\n") != want {
		t.Errorf("%s: %d records are reported, want %d: %s", when, n, want, said)
	}
}

// oddRecords returns values that no release has written so far.
func oddRecords() map[string][]byte {
	node := func(name string) []byte { // of version 1, with this node
		b := append([]byte{1, 0, 0, 0, 1, 'r'}, binary.AppendUvarint(nil, uint64(len(name)))...)
		return append(append(b, name...), 0, 0, 0)
	}
	return map[string][]byte{
		"empty": {}, "other version": {2, 0, 0, 0}, "other program": []byte(`{"id":"a1"}`), "cut": {1, 0, 0, 0, 9},
		"no node": node(""), "impossible node": node(strings.Repeat("n", 300)),
	}
}

// overwrite stores a value whatever is there; nil: nothing is there any longer.
func overwrite(t *testing.T, s backend.Store, id string, value []byte) {
	t.Helper()
	k := backend.Key{Kind: "stream", Group: "room", Name: id}
	it, err := s.Get(t.Context(), k)
	switch {
	case err == nil && value == nil:
		err = s.Delete(t.Context(), k, it.Revision, nil)
	case err == nil:
		_, err = s.Put(t.Context(), backend.Write{Key: k, Value: value, If: it.Revision})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// begun begins some messages of a node.
func begun(t *testing.T, s backend.Store, g *growing.Growing, n int) (list []*growing.Own) {
	t.Helper()
	for i := range n {
		o, err := g.Begin(t.Context(), growing.Begin{Key: growing.Key{Channel: "room", ID: fmt.Sprint(i)}}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
	return list
}

// Records that cannot be read change nothing for the messages of a dead node: these fail.
func TestOddRecordsOfDeadNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, said := memory.New(memory.Limits{}), new(journal)
		writer, reader := loggingPair(t, store, 1<<30, slog.New(slog.NewTextHandler(said, nil)))
		begun(t, store, writer, 3)
		odd := oddRecords()
		for name, value := range odd {
			overwrite(t, store, name, value)
		}
		for range 3 {
			gone := func(node string) (bool, error) { return node == "a", nil }
			if err := reader.Reap(t.Context(), gone, func(node string) bool { return node == "b" }); err != nil {
				t.Error(err)
			}
		}
		said.reports(t, "reaped", len(odd))
		for i := range 3 {
			if _, err := reader.Follow(t.Context(), growing.Key{Channel: "room", ID: fmt.Sprint(i)}); err == nil {
				t.Errorf("message %d is open", i)
			}
		}
	})
}

// If nothing is heard of the messages that a node follows, it finds out about each, also
// where it cannot of one: who follows that is told that it does not go on.
func TestOddRecordsOfFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, said := memory.New(memory.Limits{}), new(journal)
		writer, reader := loggingPair(t, store, 1<<30, slog.New(slog.NewTextHandler(said, nil)))
		const n = 6
		var texts []*growing.Text
		for i, o := range begun(t, store, writer, n) {
			text, err := reader.Follow(t.Context(), o.Key)
			if err != nil {
				t.Fatal(err)
			}
			defer text.Follow(func() {}).Close()
			texts = append(texts, text)
			overwrite(t, store, o.ID, map[bool][]byte{true: {2}}[i < n/2])
		}
		writer.Close(t.Context(), growing.End{State: growing.Failed})
		time.Sleep(time.Minute)
		for i, text := range texts {
			if v := text.From(0); v.End == nil || v.End.State != "" {
				t.Errorf("message %d goes on: %+v", i, v)
			}
		}
		said.reports(t, "inquired", n/2)
	})
}

// A node that finds out, after a loss, which of its messages others have ended ends those
// and one whose record it cannot read.
func TestOddRecordsOfThisNode(t *testing.T) {
	for _, lost := range []bool{false, true} { // the store was put back as well
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, said := memory.New(memory.Limits{}), new(journal)
				writer, _ := loggingPair(t, store, 1<<30, slog.New(slog.NewTextHandler(said, nil)))
				own := begun(t, store, writer, 6)
				for i, o := range own {
					if odd := i == 0; odd || !lost {
						overwrite(t, store, o.ID, map[bool][]byte{true: {2}}[odd])
					}
				}
				writer.Lost(lost)
				time.Sleep(time.Minute)
				for i, o := range own {
					open := lost && i > 0
					if _, err := o.Write([]byte("x")); (err == nil) != open {
						t.Errorf("message %d: %v", i, err)
					}
				}
				said.reports(t, "verified", 1)
				if err := own[0].End(context.WithoutCancel(t.Context()), growing.End{State: growing.Complete}); err == nil {
					t.Error("a message has ended as complete that has failed")
				}
				if err := own[5].End(t.Context(), growing.End{State: growing.Complete}); (err == nil) != lost {
					t.Errorf("the last message: %v", err)
				}
			})
		})
	}
}

// Pieces that cannot be read come often, and are reported once. Others are taken.
func TestOddPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := new(journal)
		writer, reader := loggingPair(t, memory.New(memory.Limits{}), 1<<30, slog.New(slog.NewTextHandler(said, nil)))
		k := growing.Key{Channel: "room", ID: "a1"}
		o, copied := copied(t, writer, reader, k)
		defer copied.Follow(func() {}).Close()
		for range 100 {
			reader.Live(&backend.Event{Type: growing.Piece, Channel: k.Channel, Key: k.ID, Version: o.Run, Data: []byte{99}})
		}
		if _, err := o.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v := copied.From(0); string(v.Content) != "text" {
			t.Errorf("the copy is %+v", v)
		}
		said.mu.Lock()
		defer said.mu.Unlock()
		if log := said.buf.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "a piece of a growing message cannot be read") {
			t.Errorf("the log says %s", log)
		}
	})
}
