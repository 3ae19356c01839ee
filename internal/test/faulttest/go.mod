module github.com/maravilla-realtime/realtime/internal/test/faulttest

go 1.26.0

tool github.com/maravilla-realtime/realtime/examples/chat

require (
	github.com/coder/websocket v1.8.15
	github.com/evanw/esbuild v0.28.2
	github.com/maravilla-realtime/realtime v0.0.0
	github.com/tmaxmax/go-sse v0.12.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/gobwas/glob v1.1.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/maravilla-realtime/realtime => ../../..
