package db_test

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"net/http"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

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

	todos := db.New(rt, sqlDB)
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
