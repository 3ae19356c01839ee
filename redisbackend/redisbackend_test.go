package redisbackend_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/redisbackend"
	"github.com/redis/rueidis"
)

func TestConformance(t *testing.T) { onEach(t, testConformance) }

func testConformance(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, s.addr, nil) })
}

// A connection that is cut costs no record.
func TestCutConnections(t *testing.T) { onEach(t, testCutConnections) }

func testCutConnections(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	b := open(t, s.addr, nil)
	first := enginetest.Append(t, b, "first")
	f := enginetest.Follow(t, b, first)
	for i := range 20 {
		if i%5 == 0 {
			c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true})
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Do(t.Context(), c.B().Arbitrary("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Build()).Error()
			c.Close()
		}
		enginetest.Append(t, b, fmt.Sprint(i))
		if got := string(f.Next(t).Data); got != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, got)
		}
	}
}

// Follow ends with its context at once, and not when its read next returns, whether or
// not the context has a deadline as well.
func TestFollowEndsAtOnce(t *testing.T) { onEach(t, testFollowEndsAtOnce) }

func testFollowEndsAtOnce(t *testing.T, k enginetest.Redis) {
	b := open(t, startServer(t, k).addr, nil)
	b.Wait(time.Hour)
	for _, limit := range []time.Duration{0, time.Hour} {
		ctx, cancel := context.WithCancel(t.Context())
		if limit > 0 {
			ctx, cancel = context.WithTimeout(t.Context(), limit)
		}
		defer cancel()
		came, ended := make(chan struct{}), make(chan error, 1)
		pos := enginetest.Append(t, b, fmt.Sprint(limit))
		pos.Seq--
		go func() {
			ended <- b.Follow(ctx, pos, func([]backend.Record) { close(came) })
		}()
		<-came
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("with a deadline in %v, Follow has not ended 20 s after its context", limit)
		}
	}
}

// Records that are large come in pages of some MiB, and all of them.
func TestLargeRecords(t *testing.T) { onEach(t, testLargeRecords) }

func testLargeRecords(t *testing.T, k enginetest.Redis) {
	b := open(t, startServer(t, k).addr, nil)
	const small, large, all = 20, 1 << 20, 60
	for i := range all {
		data := make([]byte, 10)
		if i >= small {
			data = make([]byte, large)
		}
		if _, err := b.Append(t.Context(), backend.Entry{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	first := enginetest.Follow(t, b, backend.Position{}).Next(t).Pos
	read := 0
	for pages := 1; read < all; pages++ {
		page, err := b.Read(t.Context(), backend.Position{Epoch: first.Epoch, Seq: uint64(read)}, all)
		if err != nil || len(page.Records) == 0 || pages > all {
			t.Fatalf("after %d records: %d, %v", read, len(page.Records), err)
		}
		bytes := 0
		for _, r := range page.Records {
			if read++; r.Pos.Seq != uint64(read) {
				t.Fatalf("record %d has the position %v", read, r.Pos)
			}
			bytes += len(r.Data)
		}
		if bytes > 12*large {
			t.Errorf("a page of %d bytes", bytes)
		}
	}
}

// A connection that says nothing any longer, and is not closed, costs no record.
func TestSilentConnections(t *testing.T) { onEach(t, testSilentConnections) }

func testSilentConnections(t *testing.T, k enginetest.Redis) {
	p := faultproxy.New(t, startServer(t, k).addr)
	b := open(t, p.Addr, nil)
	b.Wait(time.Second)
	f := enginetest.Follow(t, b, enginetest.Append(t, b, "first"))
	enginetest.Append(t, b, "second")
	f.Next(t)
	p.Silence()
	enginetest.Append(t, b, "third")
	if got := string(f.Next(t).Data); got != "third" {
		t.Errorf("after the silence came %q", got)
	}
}

// A server that comes back without its newest records is noticed, by who followed it
// and by who asks, and goes on in a greater epoch.
func TestServerLosesItsTail(t *testing.T) { onEach(t, testServerLosesItsTail) }

func testServerLosesItsTail(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	b := open(t, s.addr, nil)
	before := enginetest.Append(t, b, "before")
	f := enginetest.Follow(t, b, backend.Position{})
	f.Next(t)
	s.kill()
	s.start() // with an empty log
	lost := f.Lost(t)
	if lost.Next.Epoch <= before.Epoch {
		t.Errorf("the log goes on after %v in epoch %d", before, lost.Next.Epoch)
	}
	after := enginetest.Append(t, b, "after")
	if after.Epoch != lost.Next.Epoch {
		t.Errorf("the next record is at %v, and Next was %v", after, lost.Next)
	}
	if got := string(enginetest.Follow(t, b, lost.Next).Next(t).Data); got != "after" {
		t.Errorf("following from Next gives %q", got)
	}
}

// The same, for a server that keeps an older state on disk: sequence numbers that are
// given again are of a greater epoch.
func TestServerIsPutBack(t *testing.T) { onEach(t, testServerIsPutBack) }

func testServerIsPutBack(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	b := open(t, s.addr, nil)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	enginetest.Append(t, b, "kept")
	if err := c.Do(t.Context(), c.B().Save().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	last := enginetest.Append(t, b, "lost")
	f := enginetest.Follow(t, b, backend.Position{})
	f.Next(t)
	f.Next(t)
	key := backend.Key{Kind: "test", Group: "g", Name: "n"}
	rev, err := b.Put(t.Context(), backend.Write{Key: key, Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.start()
	again := enginetest.Append(t, b, "again")
	if again.Epoch <= last.Epoch {
		t.Errorf("after %v the log goes on at %v", last, again)
	}
	f.Lost(t)
	second, err := b.Put(t.Context(), backend.Write{Key: key, Value: []byte("v")})
	if err != nil || second <= rev {
		t.Errorf("the record got revision %d after %d, %v", second, rev, err)
	}
}

// A former master that is the master again, with what it had before another one was
// promoted, goes on in an epoch greater than that of the other one. So who followed either
// of them is told.
func TestFormerMaster(t *testing.T) { onEach(t, testFormerMaster) }

func testFormerMaster(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, call := range map[string]func(b *redisbackend.Backend) error{
		"append": func(b *redisbackend.Backend) error {
			_, err := b.Append(t.Context(), backend.Entry{Data: []byte("after")})
			return err
		},
		"read": func(b *redisbackend.Backend) error {
			_, err := b.Read(t.Context(), backend.Position{}, 1)
			return err
		},
		"put": func(b *redisbackend.Backend) error {
			key := backend.Key{Kind: "test", Group: "g", Name: "n"}
			_, err := b.Put(t.Context(), backend.Write{Key: key, Value: []byte("v"), Append: &backend.Entry{Data: []byte("after")}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := func(o *redisbackend.Options) { o.Prefix = name }
			b, ignorant := open(t, s.addr, prefix), open(t, s.addr, prefix)
			first := enginetest.Append(t, b, "first")
			meta, err := c.Do(t.Context(), c.B().Hgetall().Key(b.Key("meta")).Build()).AsStrMap()
			if err != nil {
				t.Fatal(err)
			}
			// The other master.
			do(t, s.addr, []string{"HSET", b.Key("meta"), "run", "another"})
			second := enginetest.Append(t, b, "second")
			if second.Epoch <= first.Epoch {
				t.Fatalf("another server goes on after %v at %v", first, second)
			}
			// The former one.
			do(t, s.addr,
				[]string{"DEL", b.Key("log")},
				[]string{"XADD", b.Key("log"), fmt.Sprintf("%d-%d", first.Epoch, first.Seq), "d", "first"},
				[]string{"HSET", b.Key("meta"), "epoch", meta["epoch"], "seq", meta["seq"], "run", meta["run"]},
			)
			f := enginetest.Follow(t, ignorant, backend.Position{})
			f.Next(t)
			if err := call(b); err != nil {
				t.Fatal(err)
			}
			if lost := f.Lost(t); lost.Next.Epoch <= second.Epoch {
				t.Errorf("after %v the log goes on at %v", second, lost.Next)
			}
		})
	}
}

// What another program writes into the keys of the store is no record, and hides none. What
// it adds to the log keeps its place.
func TestForeignEntries(t *testing.T) { onEach(t, testForeignEntries) }

func testForeignEntries(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	b := open(t, s.addr, nil)
	f := enginetest.Follow(t, b, backend.Position{})
	before := enginetest.Append(t, b, "before")
	key := backend.Key{Kind: "k", Group: "g", Name: "n"}
	if _, err := b.Put(t.Context(), backend.Write{Key: key, Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	do(t, s.addr,
		[]string{"HSET", b.Key("s", "k", "g"), "odd", "no revision", "empty", "", "digits", "12"},
		[]string{"HINCRBY", b.Key("meta"), "seq", "1"},
		[]string{"XADD", b.Key("log"), fmt.Sprintf("%d-%d", before.Epoch, before.Seq+1), "foreign", "1"},
	)
	after := enginetest.Append(t, b, "after")

	want := []string{"before", "", "after"}
	page, err := b.Read(t.Context(), backend.Position{}, 10)
	if err != nil || len(page.Records) != len(want) || page.Head != after {
		t.Fatalf("%d records up to %v, %v", len(page.Records), page.Head, err)
	}
	for i, text := range want {
		if got := f.Next(t); string(got.Data) != text || string(page.Records[i].Data) != text || got.Pos != page.Records[i].Pos {
			t.Errorf("record %d is %+v, as read %+v, want %q", i, got, page.Records[i], text)
		}
	}
	for it, err := range b.List(t.Context(), "k", "") {
		if err != nil || it.Key != key || string(it.Value) != "v" {
			t.Errorf("found %+v, %v", it, err)
		}
	}
	odd := backend.Key{Kind: "k", Group: "g", Name: "odd"}
	if it, err := b.Get(t.Context(), odd); err != nil || it.Revision != 0 {
		t.Errorf("%+v, %v", it, err)
	}
	if _, err := b.Put(t.Context(), backend.Write{Key: odd, Value: []byte("v")}); err != nil {
		t.Errorf("a record in its place: %v", err)
	}
}
