package realtimetest

import (
	"github.com/maravilla-realtime/realtime/client"
)

// base is the path at which hosts mount [realtime.Realtime.Handler] and the browser
// SDK expects it. The default of [Options].Handler serves it at every path.
const base = "/api/maravilla"

// Ren returns a new Go client of the REN stream at /api/maravilla/ren, with
// connections of its own. Without a Since, it begins with the events from this call
// on, even if its loop begins later. Without a Logger, it uses that of the server. If
// the host serves the stream at another path, or the test must tell the connections
// of two clients apart, use [client.NewRen] with the [Server.URL] and
// [Server.HTTPClient]. Bad options end the test.
func (s *Server) Ren(opts *client.RenOptions) *client.Ren {
	s.t.Helper()
	var o client.RenOptions
	if opts != nil {
		o = *opts
	}
	if o.Since == "" {
		settle()
		o.Since = s.Realtime.Cursor()
	}
	if o.HTTPClient == nil {
		o.HTTPClient = s.HTTPClient()
	}
	if o.Logger == nil {
		o.Logger = s.logger
	}
	ren, err := client.NewRen(s.URL+base+"/ren", &o)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	return ren
}

// Connect returns a new Go client of the channels at /api/maravilla/realtime, with
// a connection of its own. It connects in the background, and is closed when the test
// ends. In a bubble it is connected when Connect returns, if the server accepts it
// and the network works. For the other defaults see [Server.Ren].
func (s *Server) Connect(opts *client.RealtimeOptions) *client.Realtime {
	s.t.Helper()
	var o client.RealtimeOptions
	if opts != nil {
		o = *opts
	}
	if o.HTTPClient == nil {
		o.HTTPClient = s.HTTPClient()
	}
	if o.Logger == nil {
		o.Logger = s.logger
	}
	rt, err := client.NewRealtime(s.URL+base+"/realtime", &o)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	s.t.Cleanup(func() { _ = rt.Close() }) // a test may check itself why the server refused it
	rt.Connect()
	settle()
	return rt
}
