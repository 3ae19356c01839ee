//go:build unix

package pgserver

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// User owns the server and its databases.
const User = "app"

// Server is a Postgres of this process.
type Server struct {
	t        testing.TB
	bin, dir string
	as       *syscall.Credential // nil: the user that runs the test
	settings []string
}

var errNoPostgres = errors.New("no Postgres: ci/postgres.sh installs it, REALTIME_POSTGRES names the directory of initdb and pg_ctl")

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
	c.run("pg_basebackup", "-D", c.path("data"), "-d", s.URL("postgres"), "-c", "fast", "-X", "stream", "-R", "--no-sync")
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
		if err := errors.Join(s.stop(), os.RemoveAll(s.dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// prepare makes the directory of a server.
func prepare(t testing.TB, settings []string) *Server {
	t.Helper()
	bin, err := binaries()
	if errors.Is(err, errNoPostgres) && os.Getenv("REALTIME_REQUIRE_POSTGRES") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, bin: bin, settings: settings}
	if s.as, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil { // not t.TempDir: the path of a socket is short
		t.Fatal(err)
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *Server) initialise() {
	s.t.Helper()
	s.run("initdb", "-D", s.path("data"), "-U", User, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	s.Restart()
}

// end stops the server of a test, if it still runs.
func (s *Server) end() {
	if s.t.Failed() {
		log, _ := os.ReadFile(s.path("log"))
		s.t.Logf("the server says:\n%s", log[max(0, len(log)-4000):])
	}
	if _, err := os.Stat(s.path("data/postmaster.pid")); err == nil {
		s.Kill()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Error(err)
	}
}

// URL returns where a database of the server is, as its owner.
func (s *Server) URL(database string) string { return s.URLAs(User, database) }

// URLAs returns where a database of the server is, as the given role.
func (s *Server) URLAs(role, database string) string {
	return fmt.Sprintf("postgres:///%s?user=%s&host=%s", database, role, url.QueryEscape(s.dir))
}

// Restart starts the server, after it was killed too, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	options := "-c listen_addresses='' -k " + s.dir
	for _, setting := range s.settings {
		options += " -c " + setting
	}
	s.run("pg_ctl", "-D", s.path("data"), "-l", s.path("log"), "-w", "-t", "120", "-o", options, "start")
}

// Kill ends the server as a crash does, and returns when it has ended.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) stop() error {
	return s.exec("pg_ctl", "-D", s.path("data"), "-w", "-m", "immediate", "stop")
}

// Promote makes a standby the primary.
func (s *Server) Promote() {
	s.t.Helper()
	s.run("pg_ctl", "-D", s.path("data"), "-w", "-t", "120", "promote")
}

// Directory is where the server has its socket.
func (s *Server) Directory() string { return s.dir }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	if err := s.exec(program, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) exec(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	out, err := os.CreateTemp(s.dir, "out") // no pipe: the server would inherit it, and keep it open
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", program, err, said)
	}
	return nil
}

// binaries returns the directory of the newest Postgres there is.
func binaries() (string, error) {
	if dir := os.Getenv("REALTIME_POSTGRES"); dir != "" {
		return dir, nil
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/opt/homebrew/opt/postgresql@*/bin/initdb"} {
		names, _ := filepath.Glob(pattern) // of which the patterns are good
		found = append(found, names...)
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
		return filepath.Dir(newest), nil
	}
	name, err := exec.LookPath("initdb")
	if err != nil {
		return "", errNoPostgres
	}
	return filepath.Dir(name), nil
}

// unprivileged returns whom the server runs as, since it refuses to be root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}
