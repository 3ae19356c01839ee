package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

const most = 200 // orders of a team

// order is a document of the app's database.
type order struct {
	ID     int    `json:"id"`
	Item   string `json:"item"`
	Status string `json:"status"` // one of statuses
}

var statuses = []string{"new", "packed", "shipped"}

// orders are the app's database.
type orders struct {
	mu   sync.Mutex
	last int                // id
	of   map[string][]order // by team, the oldest first
}

// list returns the orders of a team.
func (o *orders) list(team string) []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]order{}, o.of[team]...)
}

// add returns the id of a new order, or 0 if there are too many.
func (o *orders) add(team, item string) (id int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = make(map[string][]order)
	}
	if len(o.of[team]) == most {
		return 0
	}
	o.last++
	o.of[team] = append(o.of[team], order{o.last, item, statuses[0]})
	return o.last
}

// advance takes an order to its next status; ok says that there is one.
func (o *orders) advance(team string, id int) (ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, found := range o.of[team] {
		if next := slices.Index(statuses, found.Status) + 1; found.ID == id && next < len(statuses) {
			o.of[team][i].Status = statuses[next]
			return true
		}
	}
	return false
}

func (a *app) listOrders(w http.ResponseWriter, _ *http.Request, u user) {
	web.WriteJSON(w, a.orders.list(u.team))
}

func (a *app) addOrder(w http.ResponseWriter, r *http.Request, u user) {
	var in struct {
		Item string `json:"item"`
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if in.Item = strings.TrimSpace(in.Item); !web.Fits(in.Item, 1, 80) {
		http.Error(w, "the item is missing or too long", http.StatusBadRequest)
		return
	}
	id := a.orders.add(u.team, in.Item)
	if id == 0 {
		http.Error(w, "there are too many orders", http.StatusConflict)
		return
	}
	a.announce(r.Context(), realtime.DocumentCreated("orders", key(u.team, id))) // Added
	w.WriteHeader(http.StatusNoContent)
}

func (a *app) advanceOrder(w http.ResponseWriter, r *http.Request, u user) {
	id, _ := strconv.Atoi(r.PathValue("id")) // 0 is no order
	if !a.orders.advance(u.team, id) {
		http.Error(w, "that order goes nowhere", http.StatusNotFound)
		return
	}
	a.announce(r.Context(), realtime.DocumentUpdated("orders", key(u.team, id))) // Added
	w.WriteHeader(http.StatusNoContent)
}

// Added: key is an order's in events. It begins with the team, which is what the
// policy goes by.
func key(team string, id int) string { return fmt.Sprintf("%s:%d", team, id) }

// Added: announce tells those who show what has been written to read it again. The
// write is done, so others must hear of it even if its user has left the page, and
// an error is none of the user's. With database/sql, package db announces what a
// transaction commits.
func (a *app) announce(ctx context.Context, ev realtime.RenEvent) {
	if err := a.rt.Emit(context.WithoutCancel(ctx), ev); err != nil {
		slog.Error("announce", "key", ev.Key, "error", err)
	}
}
