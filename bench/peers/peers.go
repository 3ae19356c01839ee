// Package peers serves other libraries that deliver events to browsers, each as its
// documentation shows, with heartbeats that a benchmark does not meet.
package peers

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/dunglas/mercure"
	"github.com/maravilla-realtime/realtime/bench/internal/run"
	"github.com/maravilla-realtime/realtime/bench/internal/target"
	"github.com/olahol/melody"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
)

// Targets are the peers.
var Targets = []run.Target{
	{Name: "centrifuge-sse", Ref: "raw-sse", Serve: centrifugeSSE},
	{Name: "go-sse", Ref: "raw-sse", Serve: goSSE},
	{Name: "mercure", Ref: "raw-sse", Serve: mercureHub},
	{Name: "r3labs-sse", Ref: "raw-sse", Serve: r3labsSSE},
	{Name: "centrifuge-ws", Ref: "raw-ws", Serve: centrifugeWS},
	{Name: "melody", Ref: "raw-ws", Skip: "many", Serve: melodyWS},
	{Name: "socket.io", Ref: "raw-ws", Install: installSocketIO, Serve: serveSocketIO},
}

type channelKey struct{}

const noHeartbeat = time.Hour

var pings = centrifuge.PingPongConfig{PingInterval: noHeartbeat, PongTimeout: time.Minute}

func centrifugeWS() {
	spec := target.Spec{Proto: "ws", Path: "/sub?ch={ch}", Hello: []string{`{"id":1,"connect":{}}`}}
	serveCentrifuge(spec, func(node *centrifuge.Node) http.Handler {
		return centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{PingPongConfig: pings})
	})
}

func centrifugeSSE() {
	spec := target.Spec{Proto: "sse", Path: "/sub?ch={ch}&cf_connect=" + url.QueryEscape(`{"id":1,"connect":{}}`)}
	serveCentrifuge(spec, func(node *centrifuge.Node) http.Handler {
		return centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{PingPongConfig: pings})
	})
}

// serveCentrifuge serves centrifuge with its memory broker and subscriptions that the
// server makes.
func serveCentrifuge(spec target.Spec, handler func(*centrifuge.Node) http.Handler) {
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(ctx context.Context, _ centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		ch, _ := ctx.Value(channelKey{}).(string)
		return centrifuge.ConnectReply{
			Credentials: &centrifuge.Credentials{}, Subscriptions: map[string]centrifuge.SubscribeOptions{ch: {}},
		}, nil
	})
	node.OnConnect(func(*centrifuge.Client) {})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	h := handler(node)
	target.Main(target.Target{
		Spec: spec,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), channelKey{}, r.URL.Query().Get("ch"))))
		}),
		Publish: func(ch string, data []byte) {
			if _, err := node.Publish(ch, data); err != nil {
				log.Fatal(err)
			}
		},
	})
}

// goSSE serves github.com/tmaxmax/go-sse with its default provider.
func goSSE() {
	s := &gosse.Server{OnSession: func(w http.ResponseWriter, r *http.Request) ([]string, bool) {
		// Left alone, the library sends no head before the first event.
		w.Header().Set("Content-Type", "text/event-stream")
		return []string{r.URL.Query().Get("ch")}, http.NewResponseController(w).Flush() == nil
	}}
	target.Main(target.Target{
		Spec:    target.Spec{Proto: "sse", Path: "/sub?ch={ch}"},
		Handler: s,
		Publish: func(ch string, data []byte) {
			m := &gosse.Message{}
			m.AppendData(string(data))
			if err := s.Publish(m, ch); err != nil {
				log.Fatal(err)
			}
		},
	})
}

// mercureHub serves a hub to anonymous subscribers, without a database.
func mercureHub() {
	ctx := context.Background()
	list := mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize)
	hub, err := mercure.NewHub(ctx, mercure.WithAnonymous(), mercure.WithLogger(slog.New(slog.DiscardHandler)),
		mercure.WithTransport(mercure.NewLocalTransport(list)))
	if err != nil {
		log.Fatal(err)
	}
	target.Main(target.Target{
		Spec:    target.Spec{Proto: "sse", Path: "/.well-known/mercure?topic={ch}"},
		Handler: http.HandlerFunc(hub.SubscribeHandler),
		Publish: func(ch string, data []byte) {
			if err := hub.Publish(ctx, &mercure.Update{Topics: []string{ch}, Event: mercure.Event{Data: string(data)}}); err != nil {
				log.Fatal(err)
			}
		},
	})
}

// r3labsSSE serves github.com/r3labs/sse without its replay log, which keeps every
// event for ever.
func r3labsSSE() {
	s := r3labs.New()
	s.AutoReplay = false
	target.Main(target.Target{
		Spec:    target.Spec{Proto: "sse", Path: "/sub?stream={ch}"},
		Handler: http.HandlerFunc(s.ServeHTTP),
		Publish: func(ch string, data []byte) { s.Publish(ch, &r3labs.Event{Data: data}) },
		Prepare: func(n int) {
			s.CreateStream(run.Channel)
			for i := range n {
				s.CreateStream("c" + strconv.Itoa(i))
			}
		},
	})
}

// melodyWS broadcasts with github.com/olahol/melody, which has no channels.
func melodyWS() {
	m := melody.New()
	m.Config.PongWait, m.Config.PingPeriod = noHeartbeat, noHeartbeat
	target.Main(target.Target{
		Spec: target.Spec{Proto: "ws", Path: "/sub?ch={ch}"},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := m.HandleRequest(w, r); err != nil {
				log.Print(err) // the client is gone
			}
		}),
		Publish: func(_ string, data []byte) {
			if err := m.Broadcast(data); err != nil {
				log.Fatal(err)
			}
		},
	})
}
