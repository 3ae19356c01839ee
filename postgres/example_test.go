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

// Every row that any program writes to the table orders, psql included, is an event.
func ExampleNewSource() {
	ctx := context.Background()
	b, err := postgres.NewBackend(ctx, postgres.Options{URL: exampleURL})
	if err != nil {
		log.Fatal(err)
	}
	// Once: create publication realtime for table orders;
	source, err := postgres.NewSource(ctx, b, postgres.SourceOptions{
		Tables: map[string]postgres.Table{"orders": {Data: []string{"status"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// …
	if err := errors.Join(source.Close(ctx), b.Close(ctx)); err != nil {
		log.Print(err)
	}
}

// Changes that a request makes are those of the tab that has sent it.
func ExampleAttribute() {
	var pool *pgxpool.Pool // of the host
	pay := func(ctx context.Context, id string) error {
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if err := postgres.Attribute(ctx, tx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `update orders set status = 'paid' where id = $1`, id)
			return err
		})
	}
	_ = pay
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
