module github.com/maravilla-realtime/realtime/kv/boltkv

go 1.26.0

require (
	github.com/maravilla-realtime/realtime v0.0.0
	go.etcd.io/bbolt v1.5.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/gobwas/glob v1.1.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/maravilla-realtime/realtime => ../..
