module github.com/maravilla-realtime/realtime

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/gobwas/glob v1.1.0
	github.com/google/go-cmp v0.7.0
	golang.org/x/sync v0.24.0
	golang.org/x/time v0.16.0
)
