package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/natsbackend"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
	"github.com/nats-io/nats.go"
)

func start(t testing.TB, o embedded.Options) *embedded.Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var names atomic.Int64

func open(t testing.TB, url string, change func(*natsbackend.Options)) *natsbackend.Backend {
	t.Helper()
	o := natsbackend.Options{URL: url, Name: fmt.Sprint("test", names.Add(1)), Events: 1000}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := natsbackend.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func TestConformance(t *testing.T) {
	s := start(t, embedded.Options{})
	for _, memory := range []bool{true, false} {
		t.Run(fmt.Sprintf("memory %v", memory), func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backend.Backend {
				return open(t, s.URL(), func(o *natsbackend.Options) { o.Memory = memory })
			})
		})
	}
}

// cluster starts three servers and returns the URLs of all.
func cluster(t testing.TB) (urls string, servers []*embedded.Server) {
	t.Helper()
	var addrs []string
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
		ln.Close()
	}
	var list []string
	for i, a := range addrs {
		s := start(t, embedded.Options{Name: fmt.Sprint("n", i), Cluster: a, Routes: addrs})
		servers, list = append(servers, s), append(list, s.URL())
	}
	return strings.Join(list, ","), servers
}

func TestConformanceOfThree(t *testing.T) {
	urls, _ := cluster(t)
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		return open(t, urls, func(o *natsbackend.Options) { o.Replicas = 3 })
	})
}

func TestNewRefuses(t *testing.T) {
	s := start(t, embedded.Options{})
	for _, o := range []natsbackend.Options{
		{}, {URL: s.URL(), Name: "a.b"}, {URL: s.URL(), Replicas: 2}, {URL: s.URL(), Bytes: -1}, {URL: "nats://127.0.0.1:1"},
	} {
		if _, err := natsbackend.New(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	open(t, s.URL(), func(o *natsbackend.Options) { o.Name = "taken" })
	_, err := natsbackend.New(t.Context(), natsbackend.Options{URL: s.URL(), Name: "taken", Events: 5})
	if err == nil || !strings.Contains(err.Error(), "max_msgs") {
		t.Errorf("a stream with other settings: %v", err)
	}
}

// A store directory that is put back to an earlier state loses records that a node
// has read. The node notices, whichever node appends first, and all agree on a greater epoch.
func TestStoreIsPutBack(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	s, err := embedded.Start(embedded.Options{Dir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, s.URL(), nil)
	keep := enginetest.Append(t, b, "kept")
	changed, err := b.Put(t.Context(), backend.Write{Key: backend.Key{Kind: "k", Group: "g", Name: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s, err = embedded.Start(embedded.Options{Dir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	records := make(chan backend.Record, 100)
	go func() {
		ended <- b.Follow(t.Context(), keep, func(recs []backend.Record) {
			for _, r := range recs {
				records <- r
			}
		})
	}()
	for i := range 3 {
		enginetest.Append(t, b, fmt.Sprint("lost ", i))
		<-records
	}
	s.Close()
	start(t, embedded.Options{Dir: copied, Listen: addr})
	var lost *backend.LostError
	select {
	case err := <-ended:
		if !errors.As(err, &lost) || lost.Next.Epoch <= keep.Epoch {
			t.Fatalf("Follow ended with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the loss was not told")
	}
	again := enginetest.Append(t, b, "again")
	if again.Epoch != lost.Next.Epoch {
		t.Errorf("the log goes on at %v after %v", again, lost.Next)
	}
	if pos, err := b.Store.Append(t.Context(), backend.Entry{Data: []byte("late")}, changed); err == nil {
		t.Errorf("the entry of a change that is perhaps lost is at %v", pos)
	}
}

// What another program sends to the subjects of the log and of the store keeps its place,
// or is no record. It ends neither the log nor a list.
func TestForeignMessages(t *testing.T) {
	s := start(t, embedded.Options{})
	const name = "foreign"
	b := open(t, s.URL(), func(o *natsbackend.Options) { o.Name = name })
	f := enginetest.Follow(t, b, backend.Position{})
	enginetest.Append(t, b, "before")
	k := backend.Key{Kind: "k", Group: "g", Name: "n"}
	if _, err := b.Put(t.Context(), backend.Write{Key: k, Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	send := func(subject string, h nats.Header) {
		m := &nats.Msg{Subject: subject, Header: h, Data: []byte("foreign")}
		if answer, err := nc.RequestMsg(m, 20*time.Second); err != nil || strings.Contains(string(answer.Data), "error") {
			t.Fatalf("%s: %v %s", subject, err, answer.Data)
		}
	}
	send(name+".log", nats.Header{"Nats-Msg-Id": {"%"}})
	send(name+".log", nats.Header{"Realtime-Cause": {"none"}})
	send(name+".store.aw=.Zw=.deep.er", nil)
	send(name+".store.aw=.Zw=.%", nil)
	send(name+".store.aw=.Zw=.b2Rk=", nil) // "odd"
	after := enginetest.Append(t, b, "after")

	want := []string{"before", "foreign", "foreign", "after"}
	page, err := b.Read(t.Context(), backend.Position{}, 10)
	if err != nil || len(page.Records) != len(want) || page.Head != after {
		t.Fatalf("%d records up to %v, %v", len(page.Records), page.Head, err)
	}
	for i, text := range want {
		if got := f.Next(t); string(got.Data) != text || string(page.Records[i].Data) != text || got.Pos != page.Records[i].Pos || got.Cause != 0 {
			t.Errorf("record %d is %+v, as read %+v, want %q", i, got, page.Records[i], text)
		}
	}
	found := make(map[string]string)
	for it, err := range b.List(t.Context(), "k", "") {
		if err != nil {
			t.Fatal(err)
		}
		found[it.Name] = string(it.Value)
	}
	if !maps.Equal(found, map[string]string{"n": "v", "odd": "foreign"}) {
		t.Errorf("found %q", found)
	}
}
