package realtimetest

import (
	"github.com/maravilla-realtime/realtime/client"
)

// base is where hosts mount [realtime.Realtime.Handler], and the browser SDK looks
// for it. [Options].Handler's default serves it everywhere.
const base = "/api/maravilla"

// Ren returns a new Go client of the REN stream at /api/maravilla/ren, with
// connections of its own. Without a Since, it begins with what happens from the
// call on, whenever its loop begins; without a Logger, it logs where the server
// does. A host that serves the stream elsewhere, or a test that has to tell two
// clients' connections apart, gives [client.NewRen] the [Server.URL] and
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
// a connection of its own, that connects in the background and is closed when the
// test ends. In a bubble it is connected, if the server lets it in and the network
// works. As for the rest, see [Server.Ren].
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
	s.t.Cleanup(func() { _ = rt.Close() }) // why the server refused it is the test's to ask
	rt.Connect()
	settle()
	return rt
}
