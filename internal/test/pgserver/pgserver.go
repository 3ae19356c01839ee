//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/localpg"
)

// User owns the server and its databases.
const User = localpg.User

// Server is a Postgres of a test, which fails where the server does.
type Server struct {
	*localpg.Server
	t        testing.TB
	settings []string
}

// Start starts a server with settings such as "fsync=off". It stops with the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := prepare(t, settings)
	t.Cleanup(s.end)
	s.initialise()
	return s
}

// Standby starts a copy of s that follows it.
func (s *Server) Standby() *Server {
	s.t.Helper()
	c := prepare(s.t, s.settings)
	s.t.Cleanup(c.end)
	c.must(c.Server.CopyOf(s.URL("postgres")))
	c.Restart()
	return c
}

var shared struct {
	sync.Mutex
	server *Server
}

// Shared returns a server that is the same for all tests of the process. It syncs
// nothing to disk. TestMain calls [Main] for it.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s := prepare(t, []string{"fsync=off", "max_connections=200", "wal_level=logical", "max_wal_senders=50", "max_replication_slots=50"})
		s.initialise()
		shared.server = s
	}
	return shared.server
}

// Main runs the tests, and stops the server that they share.
func Main(m *testing.M) (code int) {
	code = m.Run()
	if s := shared.server; s != nil {
		if err := s.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// Require skips the test where there is no Postgres, or fails it where there has to be
// one.
func Require(t testing.TB) {
	t.Helper()
	err := localpg.Find()
	if errors.Is(err, localpg.ErrMissing) && os.Getenv("REALTIME_REQUIRE_POSTGRES") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// prepare makes the directory of a server.
func prepare(t testing.TB, settings []string) *Server {
	t.Helper()
	Require(t)
	s, err := localpg.New(settings...)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Server: s, t: t, settings: settings}
}

func (s *Server) initialise() {
	s.t.Helper()
	s.must(s.Server.Initialise())
	s.Restart()
}

// end stops the server of a test, if it still runs.
func (s *Server) end() {
	if s.t.Failed() {
		s.t.Logf("the server says:\n%s", s.Said())
	}
	if err := s.Remove(); err != nil {
		s.t.Error(err)
	}
}

// Restart starts the server, after it was killed too, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.must(s.Server.Start())
}

// Kill ends the server as a crash does, and returns when it has ended.
func (s *Server) Kill() {
	s.t.Helper()
	s.must(s.Server.Kill())
}

// Promote makes a standby the primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.must(s.Server.Promote())
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
