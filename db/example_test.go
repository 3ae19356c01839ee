package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

// What is committed is announced, in the order of the commits, and nothing else is.
func Example() {
	ctx := context.Background()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)
	sqlDB := sql.OpenDB(&diary{}) // any database
	defer sqlDB.Close()
	todos := db.New(rt, sqlDB, nil)

	start := rt.Cursor()
	add := func(id string, then error) error {
		return todos.InTx(ctx, nil, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO todos …"); err != nil {
				return err
			}
			if err := tx.Emit(realtime.DocumentCreated("todos", id)); err != nil {
				return err
			}
			return then
		})
	}
	fmt.Println(add("1", nil), add("2", errors.New("no money left")), add("3", nil))

	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Resource: "db", Namespace: "todos"}, start) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Type, ev.Key)
		if ev.Key == "3" {
			break
		}
	}
	// Output:
	// <nil> no money left <nil>
	// db.document.created 1
	// db.document.created 3
}

// A handler of a host: the row and its event, or neither. Tabs other than the one
// that sent the request see who did it.
func ExampleDB_InTx() {
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(context.Background())
	sqlDB, err := sql.Open("pgx", "postgres://localhost/app")
	if err != nil {
		log.Fatal(err)
	}
	defer sqlDB.Close()

	todos := db.New(rt, sqlDB, nil)
	rename := func(w http.ResponseWriter, r *http.Request) {
		id, ctx := r.PathValue("id"), r.Context()
		err := todos.InTx(ctx, nil, func(tx *db.Tx) error {
			if _, err := tx.ExecContext(ctx, `UPDATE todos SET title = $1 WHERE id = $2`, r.FormValue("title"), id); err != nil {
				return err
			}
			return tx.Emit(realtime.DocumentUpdated("todos", id))
		})
		var un *db.UnannouncedError
		switch {
		case errors.As(err, &un): // it is committed: the user need not know
			log.Print(un)
		case err != nil:
			http.Error(w, "try again", http.StatusInternalServerError)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /todos/{id}", rename)
	app := rt.Attribute(mux)
	_ = app // http.ListenAndServe(addr, app)
}
