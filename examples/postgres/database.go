package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maravilla-realtime/realtime/internal/test/localpg"
	"github.com/maravilla-realtime/realtime/postgres"
)

//go:embed orders/schema.sql
var schema string

// store is the database of the app.
type store struct {
	url     string
	command string          // see commandFor
	psql    string          // the program; "": there is none
	local   *localpg.Server // that this command has started; nil: the database was there
}

// openDatabase makes everything that the app needs in a database: its table, the tables
// of package postgres, and what says which tables are followed.
func openDatabase(ctx context.Context, url string) (_ *store, err error) {
	s := &store{url: url}
	if url == "" {
		if err := s.start(ctx); err != nil {
			return nil, err
		}
	}
	s.psql = s.findPsql()
	if s.command, err = s.commandFor(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := errors.Join(postgres.Migrate(ctx, postgres.Options{URL: s.url}), s.prepare(ctx)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// start starts a server of which the socket is in a directory that nobody else can enter.
func (s *store) start(ctx context.Context) (err error) {
	fmt.Fprintln(os.Stderr, "Starting Postgres …")
	if s.local, err = localpg.New("wal_level=logical", "fsync=off", "max_slot_wal_keep_size=1GB"); err != nil {
		if errors.Is(err, localpg.ErrMissing) {
			err = fmt.Errorf("%w; or name a database whose server has wal_level = logical: -database postgres://…", err)
		}
		return err
	}
	if err := s.local.Initialise(); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.local.Start(); err != nil {
		return errors.Join(err, errors.New(s.local.Said()), s.close())
	}
	if err := createDatabase(ctx, s.local.URL("postgres")); err != nil {
		return errors.Join(err, s.close())
	}
	s.url = s.local.URL("shop")
	return nil
}

func createDatabase(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `create database shop`)
	return err
}

// prepare makes the table, some orders in it, and the publication.
func (s *store) prepare(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, schema+`
			insert into orders (customer, item, cents, status) select * from (values
				('Wile E. Coyote', 'Rocket skates, size 42', 12900, 'shipped'), ('Road Runner', 'Bird seed, 25 kg', 2450, 'packed'),
				('Marvin the Martian', 'Telescope', 89900, 'paid'), ('Wile E. Coyote', 'Giant magnet', 34000, 'paid'),
				('Granny', 'Umbrella', 1990, 'new')) seed where not exists (select from orders);
			do $$ begin
				if not exists (select from pg_publication where pubname = 'realtime') then
					create publication realtime for table orders;
				end if;
			end $$`)
		return err
	})
}

// close ends the server and removes it, if it is the command's own.
func (s *store) close() error {
	if s.local == nil {
		return nil
	}
	return s.local.Remove()
}

func (s *store) findPsql() string {
	names := []string{"psql"}
	if s.local != nil {
		names = []string{s.local.Program("psql"), "psql"}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// commandFor is what to type in a terminal to write to the database. The page shows it, so
// it has no password: psql asks for one.
func (s *store) commandFor() (string, error) {
	if s.local != nil {
		return "psql " + quoted(s.url), nil
	}
	at, err := pgx.ParseConfig(s.url)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("psql -h %s -p %d -U %s -d %s", quoted(at.Host), at.Port, quoted(at.User), quoted(at.Database)), nil
}

// quoted is a word of a command line.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
