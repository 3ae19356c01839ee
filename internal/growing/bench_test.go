package growing_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// node is the growing messages of a node that is alone.
func node(t testing.TB) *growing.Growing {
	log := memory.New(memory.Limits{Records: 1 << 16, Bytes: 64 << 20, Age: time.Hour})
	g := growing.New(growing.Node{
		Name: func() string { return "n" }, Alone: true, Store: log, Send: func() {},
		Append: func(context.Context, backend.Entry) error { return nil },
		Limits: growing.Limits{Bytes: 1 << 20, Memory: 1 << 40, Open: 1 << 20, Channel: 1 << 20, Idle: time.Hour, Message: 1 << 20},
		Logger: slog.New(slog.DiscardHandler), Running: t.Context(), Go: func(f func()) { go f() },
		Ended: func(context.Context, growing.Key) (*backend.Event, error) { return nil, nil },
	})
	return g
}

// all sees everything.
type all struct{}

func (all) Stream(*backend.Event) (seen, data bool) { return true, true }
func (all) Channel(*backend.Event) bool             { return true }
func (all) Uniform() bool                           { return true }

// host has no rosters.
type host struct{}

func (host) Roster(string, func(*session.Roster, *wire.Error)) (stop func()) { return func() {} }
func (host) Unreadable(*wire.Error)                                          {}

const (
	messages  = 1000
	followers = 2
	appends   = 80 // a second
)

// BenchmarkAppend measures what one append costs the server: 1,000 messages grow by 80
// tokens a second each, and two clients follow each of them. It is everything but the
// writes to the network.
func BenchmarkAppend(b *testing.B) {
	g, r := node(b), ring.New(ring.Limits{Records: 1 << 16, Bytes: 64 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	var own []*growing.Own
	var clients []*session.Channels
	begin := func(run int) {
		own, clients = nil, nil
		for i := range messages {
			o, err := g.Begin(b.Context(), growing.Begin{Key: growing.Key{Channel: "room:42", ID: fmt.Sprint(run, "-", i)}}, func(error) {})
			if err != nil {
				b.Fatal(err)
			}
			own = append(own, o)
			for range followers {
				c := session.NewChannels(r, func() {}, host{}, all{}, 128)
				c.Do(func() { c.Grow(wire.Op{}, o.Text, 1) })
				clients = append(clients, c)
			}
		}
	}
	buf, now, bytes, frames := session.NewBuffer(), time.Now(), 0, 0
	fill := func() {
		for _, c := range clients {
			for more := true; more; {
				more = c.Fill(buf, session.Batch)
				if bytes += len(buf.Bytes); len(buf.Bytes) > 0 {
					frames++
				}
			}
		}
	}
	begin(0)
	fill()
	bytes, frames = 0, 0
	perPace := float64(appends) * growing.Pace.Seconds()
	done, owed := 0, 0.0
	b.ReportAllocs()
	for run := 1; b.Loop(); {
		if done%(messages*appends*10) == messages*appends*10-1 { // they do not grow for ever
			b.StopTimer()
			begin(run)
			fill()
			run++
			b.StartTimer()
		}
		_, _ = own[done%messages].Write([]byte("token "))
		if done++; done%messages == 0 {
			if owed++; owed >= perPace {
				owed -= perPace
				now = now.Add(growing.Pace)
				g.TellAll(now)
				fill()
			}
		}
	}
	b.ReportMetric(float64(frames)/float64(done), "frames/op")
}

// BenchmarkMessage is the same for plain messages of one channel with two subscribers,
// once they are in the log.
func BenchmarkMessage(b *testing.B) {
	r := ring.New(ring.Limits{Records: 1 << 16, Bytes: 64 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	var clients []*session.Channels
	for i := range messages * followers {
		c := session.NewChannels(r, func() {}, host{}, all{}, 128)
		c.Do(func() { c.Subscribe(wire.Op{Channel: fmt.Sprint("room:", i/followers)}, session.Rewind{}, 1) })
		clients = append(clients, c)
	}
	buf := session.NewBuffer()
	for _, c := range clients {
		for c.Fill(buf, session.Batch) {
		}
	}
	data := json.RawMessage(`"token "`)
	done := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		done++
		i := int(done % messages)
		ev := backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: fmt.Sprint("room:", i), Data: data}
		p := backend.Payload{Event: ev}
		decoded, err := backend.DecodePayload(p.Encode())
		if err != nil {
			b.Fatal(err)
		}
		r.Put([]*backend.Logged{{Event: decoded.Event, Pos: backend.Position{Epoch: 1, Seq: done}}})
		for _, c := range clients[i*followers : (i+1)*followers] {
			for c.Fill(buf, session.Batch) {
			}
		}
	}
}

// BenchmarkLateJoin measures the answer to a client that comes to a text of 100 KB.
func BenchmarkLateJoin(b *testing.B) {
	g, r := node(b), ring.New(ring.Limits{Records: 1 << 16, Bytes: 64 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
	o, err := g.Begin(b.Context(), growing.Begin{Key: growing.Key{Channel: "room:42", ID: "a1"}}, func(error) {})
	if err != nil {
		b.Fatal(err)
	}
	for range 100_000 / 20 {
		_, _ = o.Write([]byte("wörd \"twenty\" bytes "))
	}
	g.TellAll(time.Now().Add(time.Minute))
	buf := session.NewBuffer()
	b.ReportAllocs()
	for b.Loop() {
		c := session.NewChannels(r, func() {}, host{}, all{}, 128)
		c.Do(func() { c.Grow(wire.Op{}, o.Text, 1) })
		if c.Fill(buf, session.Batch); len(buf.Bytes) < 100_000 {
			b.Fatalf("%d bytes", len(buf.Bytes))
		}
		c.Close()
	}
}
