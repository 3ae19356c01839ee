// Package own serves this library, and the floor that everything is compared with.
package own

import (
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/bench/internal/run"
	"github.com/maravilla-realtime/realtime/bench/internal/target"
)

// Targets are the floor and this library.
var Targets = []run.Target{
	{Name: "raw-sse", Ref: "raw-sse", Burst: 1, Serve: func() { raw("sse", false) }},
	{Name: "raw-sse-batch", Ref: "raw-sse", Only: "fan", Burst: run.Burst, Serve: func() { raw("sse", true) }},
	{Name: "raw-ws", Ref: "raw-ws", Burst: 1, Serve: func() { raw("ws", false) }},
	{Name: "raw-ws-batch", Ref: "raw-ws", Only: "fan", Burst: run.Burst, Serve: func() { raw("ws", true) }},
	{Name: "ours-sse", Ref: "raw-sse", Serve: func() { ours("sse", realtime.HijackDefault, silent) }},
	{Name: "ours-sse-handlers", Ref: "raw-sse", Serve: func() { ours("sse", realtime.HijackNever, silent) }},
	{Name: "ours-ws", Ref: "raw-ws", Serve: func() { ours("ws", realtime.HijackDefault, silent) }},
	{Name: "ours-ws-handlers", Ref: "raw-ws", Serve: func() { ours("ws", realtime.HijackNever, silent) }},
	{Name: "ours-sse-beats", As: "ours-sse", Only: "beat", Serve: func() { ours("sse", realtime.HijackDefault, run.Beat) }},
	{Name: "ours-ws-beats", As: "ours-ws", Only: "beat", Serve: func() { ours("ws", realtime.HijackDefault, run.Beat) }},
	{Name: "ours-ws-handlers-beats", As: "ours-ws-handlers", Only: "beat", Serve: func() { ours("ws", realtime.HijackNever, run.Beat) }},
}

// silent is an interval of heartbeats that no test meets.
const silent = time.Hour

// ours serves REN streams that are granted one channel each, or WebSockets that
// subscribe to one.
func ours(transport string, hijack realtime.Hijack, heartbeat time.Duration) {
	policy := realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{Claims: r.URL.Query().Get("ch")}, nil
		},
		Allow: func(context.Context, realtime.Identity, realtime.Action) error { return nil },
		Grants: func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("realtime").Under(id.Claims.(string)).WithData()}, nil
		},
	}
	rt, err := realtime.New(policy, &realtime.Options{
		Heartbeat: heartbeat, StreamLife: 4 * time.Hour, Logger: slog.New(slog.DiscardHandler), Hijack: hijack,
	})
	if err != nil {
		log.Fatal(err)
	}
	spec := target.Spec{Proto: "ws", Path: "/ws?ch={ch}", Hello: []string{
		`{"op":"hello","cid":"0123456789abcdef"}`, `{"op":"subscribe","ref":1,"channel":"{ch}"}`}}
	h := rt.WebSocketHandler()
	if transport == "sse" {
		spec = target.Spec{Proto: "sse", Path: "/ren?ch={ch}"}
		h = rt.RenHandler()
	}
	target.Main(target.Target{
		Spec: spec, Handler: h, ConnContext: realtime.ConnContext,
		Publish: func(ch string, data []byte) {
			if err := rt.Publish(context.Background(), ch, json.RawMessage(data)); err != nil {
				log.Fatal(err)
			}
		},
	})
}
