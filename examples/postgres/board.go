package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/examples/postgres/orders"
	"github.com/maravilla-realtime/realtime/postgres"
)

// board is the app: it reads and writes orders, and announces nothing.
type board struct {
	pool    *pgxpool.Pool
	queries *orders.Queries
}

func newBoard(pool *pgxpool.Pool) http.Handler {
	b := &board{pool: pool, queries: orders.New(pool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/orders", b.list)
	mux.HandleFunc("POST /api/orders", b.create)
	mux.HandleFunc("PATCH /api/orders/{id}", b.move)
	mux.HandleFunc("DELETE /api/orders/{id}", b.delete)
	return mux
}

// An order is refused that is no order, or of a customer who owes too much; so is what is
// to be done to one that is not there.
var (
	errBad    = errors.New("customer, item or price is missing or too long, or there is no such status")
	errCredit = errors.New("the customer owes more than 1,000.00: the transaction was rolled back")
	errGone   = errors.New("there is no such order")
)

// mostOwed is what a customer may have ordered and not paid, in cents.
const mostOwed = 100_000

// transaction changes orders in a transaction whose events name the tab that has asked,
// and the user.
func (b *board) transaction(r *http.Request, change func(ctx context.Context, q *orders.Queries) error) error {
	user := r.FormValue("by") // a real app knows whom it has let in
	if !web.Fits(user, 1, 40) {
		return errBad
	}
	ctx := r.Context()
	return pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) error {
		if err := postgres.Attribute(ctx, tx, realtime.AsUser(user)); err != nil {
			return err
		}
		return change(ctx, b.queries.WithTx(tx))
	})
}

func (b *board) list(w http.ResponseWriter, r *http.Request) {
	list, err := b.queries.ListOrders(r.Context())
	if err != nil {
		done(w, err)
		return
	}
	web.WriteJSON(w, append([]orders.Order{}, list...)) // not null
}

// create stores an order first and looks then whether it may be: what is rolled back is
// told to nobody.
func (b *board) create(w http.ResponseWriter, r *http.Request) {
	var in orders.CreateOrderParams
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if !web.Fits(in.Customer, 1, 40) || !web.Fits(in.Item, 1, 80) || in.Cents <= 0 || in.Cents > 1e9 {
		done(w, errBad)
		return
	}
	done(w, b.transaction(r, func(ctx context.Context, q *orders.Queries) error {
		if _, err := q.CreateOrder(ctx, in); err != nil {
			return err
		}
		owed, err := q.OwedBy(ctx, in.Customer)
		if err == nil && owed > mostOwed {
			return errCredit
		}
		return err
	}))
}

func (b *board) move(w http.ResponseWriter, r *http.Request) {
	var in orders.MoveOrderParams
	if !web.ReadJSON(w, r, &in) {
		return
	}
	switch in.Status {
	case "new", "paid", "packed", "shipped":
	default:
		done(w, errBad)
		return
	}
	in.ID = number(r)
	done(w, b.transaction(r, func(ctx context.Context, q *orders.Queries) error { return one(q.MoveOrder(ctx, in)) }))
}

func (b *board) delete(w http.ResponseWriter, r *http.Request) {
	done(w, b.transaction(r, func(ctx context.Context, q *orders.Queries) error { return one(q.DeleteOrder(ctx, number(r))) }))
}

// number returns the order that a request is about; 0 is none.
func number(r *http.Request) int64 {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	return id
}

// one is about a statement that has to change one row.
func one(rows int64, err error) error {
	if err == nil && rows == 0 {
		return errGone
	}
	return err
}

// done answers a request.
func done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errBad):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, errGone):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, errCredit):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	}
}
