module github.com/maravilla-realtime/realtime/examples/gotth

go 1.26.0

require (
	github.com/a-h/templ v0.3.1100
	github.com/maravilla-realtime/realtime v0.0.0
)

require (
	github.com/a-h/parse v0.0.0-20250122154542-74294addb73e // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/gobwas/glob v1.1.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/maravilla-realtime/realtime => ../..
