module github.com/maravilla-realtime/realtime/internal/test/browsertest

go 1.26.0

tool (
	github.com/maravilla-realtime/realtime/examples/ai
	github.com/maravilla-realtime/realtime/examples/chat
	github.com/maravilla-realtime/realtime/examples/dashboard
	github.com/maravilla-realtime/realtime/examples/embed
	github.com/maravilla-realtime/realtime/examples/react
	github.com/maravilla-realtime/realtime/examples/roster
	github.com/maravilla-realtime/realtime/examples/uploads
)

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/maravilla-realtime/realtime v0.0.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/gobwas/glob v1.1.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/maravilla-realtime/realtime => ../../..
