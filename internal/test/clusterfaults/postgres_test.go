package clusterfaults

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/localpg"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// pgServer is a Postgres, which kill -9 leaves as it leaves others: what it has answered
// for is with the operating system.
type pgServer struct {
	*server
	local   *localpg.Server
	primary string // where a standby finds what it follows
}

func newPostgres(t testing.TB, name string, settings ...string) *pgServer {
	t.Helper()
	port := freePort(t)
	local, err := localpg.New(append([]string{"fsync=off", "listen_addresses=127.0.0.1", fmt.Sprint("port=", port), "wal_keep_size=64MB"}, settings...)...)
	if errors.Is(err, localpg.ErrMissing) && os.Getenv("REALTIME_REQUIRE_POSTGRES") == "" && os.Getenv("CI") != "true" {
		figure(t, "SKIPPED", "%v", err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &pgServer{local: local, server: &server{addr: fmt.Sprint("127.0.0.1:", port), dir: local.Data()}}
	s.process = &process{t: t, name: name, make: s.command, ready: func() error {
		return postgresAt(s.addr, func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) })
	}}
	t.Cleanup(func() {
		s.kill()
		if err := os.RemoveAll(local.Directory()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *pgServer) command() *exec.Cmd {
	cmd := s.local.Command()
	if s.primary != "" {
		host, port, _ := strings.Cut(s.primary, ":")
		cmd.Args = append(cmd.Args, "-c", fmt.Sprintf("primary_conninfo=host=%s port=%s user=%s", host, port, localpg.User))
	}
	return cmd
}

// postgresURL is where a database is that one of some addresses takes writes for. On a
// machine so busy that a server needs longer than the timeout for each connection, nobody
// would ever get one.
func postgresURL(addrs ...string) string {
	timeout := math.Ceil(pace.Slow(answerTime).Seconds())
	return fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable&connect_timeout=%.0f", localpg.User, strings.Join(addrs, ","), timeout)
}

// postgresNode is where a node finds the database. It says there what it is called by.
func postgresNode(proxies []string) string {
	return postgresURL(proxies...) + "&application_name=" + proxies[0]
}

// tendsOutbox returns what the node is called by that looks after the outbox.
func tendsOutbox(t testing.TB, primary func() *server) (name string) {
	t.Helper()
	within(t, patience, "a node looks after the outbox", func() bool {
		return postgresAt(primary().addr, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `select application_name from pg_locks join pg_stat_activity using (pid)
				where locktype = 'advisory' and mode = 'ExclusiveLock' and granted`).Scan(&name)
		}) == nil
	})
	return name
}

// postgresAt asks a server for something.
func postgresAt(addr string, ask func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, postgresURL(addr))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return ask(ctx, conn)
}

func onePostgres(t testing.TB) *engine { return onlyPostgres(t) }

func onlyPostgres(t testing.TB, settings ...string) *engine {
	s := newPostgres(t, "postgres", settings...)
	if err := s.local.Initialise(); err != nil {
		t.Fatal(err)
	}
	s.start()
	primary := func() *server { return s.server }
	return &engine{
		servers: []*server{s.server}, proxied: []string{s.addr}, primary: primary,
		config:  func(proxies []string) nodeConfig { return nodeConfig{Postgres: postgresNode(proxies), InTx: true} },
		faults:  []string{killNode, cutNode, silenceNode, killPrimary},
		elected: func() string { return tendsOutbox(t, primary) },
	}
}

// pair is a primary, which answers before its standby has what it answers for.
type pair struct {
	t       testing.TB
	servers [2]*pgServer
	primary int
	link    *faultproxy.Proxy // from the standby to the primary
}

// standbyPostgres has nobody publish in transactions: where the outbox has reached the
// standby, and the log has not, it comes twice, on either side of the reset.
func standbyPostgres(t testing.TB) *engine {
	p := &pair{t: t, servers: [2]*pgServer{newPostgres(t, "postgres0"), newPostgres(t, "postgres1")}}
	if err := p.servers[0].local.Initialise(); err != nil {
		t.Fatal(err)
	}
	p.servers[0].start()
	p.follow()
	addrs := []string{p.servers[0].addr, p.servers[1].addr}
	primary := func() *server { return p.servers[p.primary].server }
	return &engine{
		servers: []*server{p.servers[0].server, p.servers[1].server}, proxied: addrs,
		config:   func(proxies []string) nodeConfig { return nodeConfig{Postgres: postgresNode(proxies)} },
		faults:   []string{killNode, cutNode, failover},
		primary:  primary,
		failover: p.failover,
		elected:  func() string { return tendsOutbox(t, primary) },
	}
}

// follow makes a copy of the primary of the other server, which follows it.
func (p *pair) follow() {
	p.t.Helper()
	primary, standby := p.servers[p.primary], p.servers[1-p.primary]
	p.link = faultproxy.New(p.t, primary.addr)
	standby.primary = p.link.Addr
	if err := standby.local.CopyOf(postgresURL(primary.addr)); err != nil {
		p.t.Fatal(err)
	}
	standby.start()
	within(p.t, patience, "the standby follows the primary", func() bool {
		streams := 0
		err := postgresAt(primary.addr, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `select count(*) from pg_stat_replication where state = 'streaming'`).Scan(&streams)
		})
		return err == nil && streams > 0
	})
}

// failover has the standby lag for a time, kills the primary, and promotes the standby,
// as somebody does who is woken by it. What was answered for meanwhile is lost. The old
// primary becomes a copy of the new one.
func (p *pair) failover(lag time.Duration) {
	p.t.Helper()
	p.link.Stall(false)
	rest(p.t.Context(), lag)
	old := p.servers[p.primary]
	old.kill()
	p.link.Cut(true)
	p.link.Refuse()
	p.primary = 1 - p.primary
	now := p.servers[p.primary]
	if err := postgresAt(now.addr, func(ctx context.Context, conn *pgx.Conn) error {
		var promoted bool
		if err := conn.QueryRow(ctx, `select pg_promote(true, 60)`).Scan(&promoted); err != nil || !promoted {
			return fmt.Errorf("promote the standby: %v, %w", promoted, err)
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	now.primary = ""
	p.follow()
}
