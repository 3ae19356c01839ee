// Package localpg runs a Postgres of this process, for tests and examples: in a
// directory for temporary files, on a socket in it, as another user where the process is
// root, which Postgres refuses to be. It needs initdb and pg_ctl where Debian, Homebrew or
// PATH has them, or where REALTIME_POSTGRES says.
package localpg

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// User owns a server and its databases.
const User = "app"

// ErrMissing says that there is no Postgres.
var ErrMissing = errors.New("no Postgres here; install it (apt-get install postgresql, brew install postgresql@17), or name the directory of its initdb and pg_ctl in REALTIME_POSTGRES")

// Server is a Postgres that this process starts and stops. Its methods are for one
// goroutine at a time.
type Server struct {
	bin, dir string
	as       account
	settings []string
}

// Find returns [ErrMissing] where there is no Postgres.
func Find() error {
	_, err := binaries()
	return err
}

// New makes the directory of a server with settings such as "fsync=off", which does not run
// yet. The error is [ErrMissing] where there is no Postgres. The caller calls
// [Server.Remove].
func New(settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if s.as, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil { // short: so is the path of a socket
		return nil, err
	}
	if err := s.as.give(s.dir); err != nil {
		return nil, errors.Join(err, os.Remove(s.dir))
	}
	return s, nil
}

// Initialise makes a database in the directory. Any user who can reach its socket may log
// in.
func (s *Server) Initialise() error {
	return s.exec("initdb", "-D", s.Data(), "-U", User, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
}

// CopyOf fills the directory with a copy of the server at a URL, which it follows as its
// standby once it is started.
func (s *Server) CopyOf(url string) error {
	return errors.Join(os.RemoveAll(s.Data()),
		s.exec("pg_basebackup", "-D", s.Data(), "-d", url, "-c", "fast", "-X", "stream", "-R", "--no-sync"))
}

// Command returns the command that runs the server itself, for a caller who looks after
// the process.
func (s *Server) Command() *exec.Cmd {
	cmd := exec.Command(s.Program("postgres"), "-D", s.Data(), "-k", s.dir)
	for _, setting := range s.settings {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Dir = s.dir
	s.as.run(cmd)
	return cmd
}

// Start starts the server, after it was killed too, and returns when it answers.
func (s *Server) Start() error {
	options := "-c listen_addresses='' -k " + s.dir
	for _, setting := range s.settings {
		options += " -c " + setting
	}
	return s.exec("pg_ctl", "-D", s.Data(), "-l", s.path("log"), "-w", "-t", "120", "-o", options, "start")
}

// Stop ends the server in order, with all connections to it.
func (s *Server) Stop() error { return s.stop("fast") }

// Kill ends the server as a crash does, and returns when it has ended.
func (s *Server) Kill() error { return s.stop("immediate") }

func (s *Server) stop(mode string) error {
	return s.exec("pg_ctl", "-D", s.Data(), "-w", "-m", mode, "stop")
}

// Promote makes a standby the primary.
func (s *Server) Promote() error {
	return s.exec("pg_ctl", "-D", s.Data(), "-w", "-t", "120", "promote")
}

// Remove kills the server if it runs, and removes all it has.
func (s *Server) Remove() error {
	var err error
	if _, gone := os.Stat(filepath.Join(s.Data(), "postmaster.pid")); gone == nil {
		err = s.Kill()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// URL returns where a database of the server is, as its owner.
func (s *Server) URL(database string) string { return s.URLAs(User, database) }

// URLAs returns where a database of the server is, as the given role.
func (s *Server) URLAs(role, database string) string {
	return fmt.Sprintf("postgres:///%s?user=%s&host=%s", database, role, url.QueryEscape(s.dir))
}

// Program returns the path of a program that comes with Postgres, such as "psql".
func (s *Server) Program(name string) string { return filepath.Join(s.bin, name) }

// Directory is where the server has its socket.
func (s *Server) Directory() string { return s.dir }

// Data is where the server has its data.
func (s *Server) Data() string { return s.path("data") }

// Said returns the end of the server's log.
func (s *Server) Said() string {
	log, _ := os.ReadFile(s.path("log")) // it is for an error
	return string(log[max(0, len(log)-4000):])
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) exec(program string, args ...string) error {
	cmd := exec.Command(s.Program(program), args...)
	cmd.Dir = s.dir
	s.as.run(cmd)
	out, err := os.CreateTemp(s.dir, "out") // no pipe: the server would inherit it, and keep it open
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", program, err, strings.TrimSpace(string(said)))
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
		return "", ErrMissing
	}
	return filepath.Dir(name), nil
}
