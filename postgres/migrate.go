package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DefaultSchema is the schema that is used where none is named.
const DefaultSchema = "realtime"

//go:embed migrations/1.sql
var migration1 string

// migrations have the version of their place, from 1. One that was released does not
// change.
var migrations = []string{migration1}

var goodSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// schemaOr returns the name of a schema, or an error for one that is no good.
func schemaOr(name string) (string, error) {
	if name == "" {
		return DefaultSchema, nil
	}
	if !goodSchema.MatchString(name) {
		return "", fmt.Errorf("postgres: the schema %.60q must be at most 40 of a-z, 0-9 and _, and begin with no digit", name)
	}
	return name, nil
}

// in makes SQL that is written for the default schema that of another one, which is
// also the channel of its notifications.
func in(schema, sql string) string {
	return strings.NewReplacer(`"`+DefaultSchema+`"`, `"`+schema+`"`, `'`+DefaultSchema+`'`, `'`+schema+`'`).Replace(sql)
}

// Schema returns the SQL that creates everything this package needs, in one
// transaction, for the tool that a host migrates its database with. schema is the name of the
// schema; "" is [DefaultSchema]. It fails where it was run before: [Migrations] has
// the steps one by one.
func Schema(schema string) (string, error) {
	steps, err := Migrations(schema)
	if err != nil {
		return "", err
	}
	return "begin;\n\n" + strings.Join(steps, "\n") + "\ncommit;\n", nil
}

// Migrations returns the steps of [Schema], that of version 1 first. A release may add
// steps and changes none.
func Migrations(schema string) ([]string, error) {
	schema, err := schemaOr(schema)
	if err != nil {
		return nil, err
	}
	steps := make([]string, len(migrations))
	for i, sql := range migrations {
		steps[i] = in(schema, sql)
	}
	return steps, nil
}

// Migrate brings a database to the version that this package needs: it runs those
// steps of [Migrations] that were not run yet, each in a transaction. Several processes may call
// it at once. The role needs the right to create schemas in the database, or to
// create tables in a schema that is there, and owns what is created. Only URL,
// Configure and Schema of the options count.
func Migrate(ctx context.Context, o Options) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("postgres: connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	steps, err := Migrations(o.Schema)
	if err != nil {
		return err
	}
	for {
		done, err := migrateOnce(ctx, conn, o.Schema, steps)
		if err != nil {
			return fmt.Errorf("postgres: migrate: %w", err)
		}
		if done {
			return nil
		}
	}
}

// migrateOnce runs the next step, under a lock, and reports whether there was none.
func migrateOnce(ctx context.Context, conn *pgx.Conn, schema string, steps []string) (done bool, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, in(schema, `select pg_advisory_xact_lock(hashtextextended('maravilla realtime migrate "realtime"', 0))`)); err != nil {
			return err
		}
		at, err := version(ctx, tx, schema)
		if err != nil {
			return err
		}
		if at >= len(steps) {
			done = true
			return nil
		}
		_, err = tx.Conn().PgConn().Exec(ctx, steps[at]).ReadAll() // of many statements
		return err
	})
	return done, err
}

// querier is a connection, a transaction or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// version returns the version of what is in the database, or 0 if there is nothing.
func version(ctx context.Context, q querier, schema string) (version int, err error) {
	var there bool
	if err := q.QueryRow(ctx, `select to_regclass($1) is not null`, fmt.Sprintf("%q.migrations", schema)).Scan(&there); err != nil || !there {
		return 0, err
	}
	err = q.QueryRow(ctx, in(schema, `select max(version) from "realtime".migrations`)).Scan(&version)
	return version, err
}

// checkVersion returns an error that says what to do if the database has not what
// this package needs.
func checkVersion(ctx context.Context, q querier, schema string) error {
	at, err := version(ctx, q, schema)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == insufficientPrivilege:
		return fmt.Errorf("postgres: the role has no access to the schema %s; grant it as docs/postgres.md says: %w", schema, err)
	case err != nil:
		return fmt.Errorf("postgres: %w", err)
	case at == 0:
		return fmt.Errorf("postgres: the database has no schema %s of this package; call postgres.Migrate, or run what postgres.Schema returns", schema)
	case at < len(migrations):
		return fmt.Errorf("postgres: the schema %s is of version %d and has to be of %d; call postgres.Migrate, or run what postgres.Migrations returns from step %d on",
			schema, at, len(migrations), at+1)
	}
	return nil
}
