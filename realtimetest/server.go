// Package realtimetest is a test kit for hosts of package realtime: a server
// with its handlers on a network in memory, a recorder of what happens, and
// faults of network and log that can be switched on.
//
//	func TestTodo(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) { // hours pass in milliseconds
//			srv := realtimetest.New(t, policy, &realtimetest.Options{Handler: newApp})
//			rec := srv.Record(realtime.EventMatch{Resource: "kv"})
//			post(t, srv.HTTPClient(), srv.URL+"/todos", "milk")
//			rec.Expect(realtime.EventMatch{Type: "kv.put", Key: "todo:*"})
//			rec.None()
//		})
//	}
//
// Everything works inside bubbles of [testing/synctest] and outside. Inside, no
// test ever waits: heartbeats, leases, grace and retries take no time, and a
// goroutine that does not end fails the test.
package realtimetest

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
)

// TB is what the kit needs of a [testing.TB].
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
}

var _ TB = testing.TB(nil)

// Options are all optional.
type Options struct {
	// Realtime configures the Realtime. Two of its defaults differ: without a
	// Logger, the log is kept for [Server.Logs] and shown if the test fails; without
	// a Backend, it is the one in memory, below the faults of [Server.Log].
	Realtime realtime.Options

	// Handler returns what is served. Default: rt.Attribute(rt.Handler()).
	Handler func(rt *realtime.Realtime) http.Handler

	// Timeout is how long a [Recorder] waits for what has to come. Default: 10 s,
	// and in a bubble 10 min, in which leases end as well.
	Timeout time.Duration
}

// Server is a Realtime that serves on a network in memory until its test ends.
// Its methods may be called concurrently, except those that can fail the test: only
// the goroutine of the test may call these.
type Server struct {
	Realtime *realtime.Realtime

	// URL is where clients that [Server.HTTPClient] returns find the server,
	// without a slash at the end.
	URL string

	// Net is the network between the server and its clients, with its faults.
	Net *Network

	// Log is the log below the Realtime, with its faults. It is nil if
	// [Options].Realtime has a Backend that is not itself a *backendtest.Faulty.
	Log *backendtest.Faulty

	// Config may be changed until [Server.Start].
	Config *http.Server

	t       TB
	name    string // of its log
	shared  bool   // others use the log below it
	timeout time.Duration
	logger  *slog.Logger
	logs    testkit.Logs
	running sync.WaitGroup // Serve, connections, requests and recorders
}

// New returns a server that runs until the test ends. Then the Realtime is
// closed, connections are cut, and the goroutines of the server are waited for:
// a handler that goes on when the context of its request has ended holds it up.
func New(t TB, policy realtime.Policy, opts *Options) *Server {
	t.Helper()
	s := NewUnstarted(t, policy, opts)
	s.Start()
	return s
}

// NewUnstarted is New without [Server.Start], which the caller must call.
func NewUnstarted(t TB, policy realtime.Policy, opts *Options) *Server {
	t.Helper()
	o := opts.orDefaults()
	s := newServer(t, policy, o)
	s.Log, _ = o.Realtime.Backend.(*backendtest.Faulty)
	return s
}

// orDefaults returns the options with those defaults that several nodes share.
func (o *Options) orDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Realtime.Backend == nil {
		h := opts.Realtime.History
		opts.Realtime.Backend = backendtest.NewFaulty(memory.New(memory.Limits{Records: h.Events, Bytes: h.Bytes, Age: h.Age}))
	}
	return opts
}

// newServer returns a server that is still to be started.
func newServer(t TB, policy realtime.Policy, o Options) *Server {
	t.Helper()
	s := &Server{t: t, name: "the server", timeout: o.Timeout, URL: "http://realtime.test", Net: &Network{}}
	s.Net.listen()
	if s.timeout == 0 {
		if s.timeout = 10 * time.Second; settle() {
			s.timeout = 10 * time.Minute
		}
	}
	if o.Realtime.Logger == nil {
		o.Realtime.Logger = s.logs.Logger(slog.LevelDebug)
	}
	s.logger = o.Realtime.Logger
	rt, err := realtime.New(policy, &o.Realtime)
	if err != nil {
		t.Fatalf("realtimetest: %v", err)
	}
	if o.Handler == nil {
		o.Handler = func(rt *realtime.Realtime) http.Handler { return rt.Attribute(rt.Handler()) }
	}
	s.Realtime = rt
	s.Config = &http.Server{Handler: o.Handler(rt), ErrorLog: slog.NewLogLogger(o.Realtime.Logger.Handler(), slog.LevelError)}
	t.Cleanup(s.end)
	return s
}

// Start begins to serve, if the server is one of [NewUnstarted].
func (s *Server) Start() {
	serve, observe := s.Config.Handler, s.Config.ConnState
	// Connections are counted before Serve can return, and requests before their
	// connections are done, so that end misses none.
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.running.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.running.Done()
		}
		if observe != nil {
			observe(c, state)
		}
	}
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1)
		defer s.running.Done()
		serve.ServeHTTP(w, r)
	})
	listener := s.Net.listener.Load()
	s.running.Go(func() { _ = s.Config.Serve(listener) }) // until end closes it
}

// closeTime is how long clients may take to hear that the server ends.
const closeTime = time.Second

func (s *Server) end() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = s.Realtime.Close(ctx) // who did not read in time was dropped
	if s.Log != nil && !s.shared {
		_ = s.Log.Close(ctx) // memory has nothing to fail with
	}
	s.Net.close() // ends what is left
	s.running.Wait()
	if log := s.Logs(); log != "" && s.t.Failed() {
		s.t.Logf("%s's log:\n%s", s.name, log)
	}
}

// HTTPClient returns a new client, with connections of its own, whose dials all
// end at the server, whatever the host. Its Transport is an [*http.Transport].
// Every library that takes an [*http.Client] can use it, those for WebSockets
// among them.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: s.Net.Dial}}
}

// Logs returns what was logged so far, at debug level and above, in the form of
// [slog.TextHandler]; nothing if [Options].Realtime has a Logger. It says why a client
// was refused, which no client is told.
func (s *Server) Logs() string { return s.logs.String() }

// settle waits, in a bubble, until everything else in it waits. Outside it
// returns false at once.
func settle() (bubble bool) {
	// There is no way to ask beforehand. Wait panics outside a bubble, and where
	// somebody else waits already.
	defer func() { bubble = recover() == nil }()
	synctest.Wait()
	return true
}
