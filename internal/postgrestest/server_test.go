//go:build unix

package postgrestest_test

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
)

// server is a Postgres of this process.
type server struct {
	bin, dir string
	as       *syscall.Credential // nil: whoever runs the test
}

var errNoPostgres = errors.New("no Postgres: ci/postgres.sh installs it, REALTIME_POSTGRES names the directory of initdb and pg_ctl")

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

// start starts a server and returns a database of it, which is empty. It stops
// with the test.
func start(t *testing.T) *sql.DB {
	t.Helper()
	bin, err := binaries()
	if errors.Is(err, errNoPostgres) && os.Getenv("REALTIME_REQUIRE_POSTGRES") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &server{bin: bin}
	if s.as, err = unprivileged(); err != nil {
		t.Fatal(err)
	}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil { // not t.TempDir: the path of a socket is short
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.run(t, "initdb", "-D", s.path("data"), "-U", "app", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	s.run(t, "pg_ctl", "-D", s.path("data"), "-l", s.path("log"), "-w", "-t", "120", "-o", "-c listen_addresses='' -k "+s.dir, "start")
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(s.path("log"))
			t.Logf("the server says:\n%s", log[max(0, len(log)-4000):])
		}
		s.run(t, "pg_ctl", "-D", s.path("data"), "-w", "-m", "immediate", "stop")
	})
	db, err := sql.Open("pgx", fmt.Sprintf("postgres:///postgres?user=app&host=%s", url.QueryEscape(s.dir)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(workers + 2)
	db.SetMaxIdleConns(workers + 2)
	return db
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	out, err := os.CreateTemp(s.dir, "out") // no pipe: the server would inherit it, and keep it open
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		t.Fatalf("%s: %v\n%s", program, err, said)
	}
}
