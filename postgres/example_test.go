package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/postgres"
)

const exampleURL = "postgres://localhost/app"

// Several processes with this have one log, one presence, and handlers that run once
// for all of them.
func ExampleNewBackend() {
	ctx := context.Background()
	if err := postgres.Migrate(ctx, postgres.Options{URL: exampleURL}); err != nil {
		log.Fatal(err)
	}
	b, err := postgres.NewBackend(ctx, postgres.Options{URL: exampleURL})
	if err != nil {
		log.Fatal(err)
	}
	rt, err := realtime.New(realtime.Policy{}, &realtime.Options{Backend: b})
	if err != nil {
		log.Fatal(err)
	}
	// …
	if err := errors.Join(rt.Close(ctx), b.Close(ctx)); err != nil {
		log.Print(err)
	}
}

// The order and its event: both, or neither. No Backend is needed in this process.
func ExampleEmit() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, exampleURL)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `insert into orders (id) values ('42')`); err != nil {
			return err
		}
		return postgres.Emit(ctx, tx, realtime.DocumentCreated("orders", "42"))
	})
	if err != nil {
		log.Print(err) // nobody was told
	}
}

// With database/sql.
func ExamplePublish() {
	ctx := context.Background()
	db, err := sql.Open("pgx", exampleURL)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() // which does nothing after a commit
	if err := postgres.Publish(ctx, postgres.SQL(tx), "room:42", "hello"); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
}
