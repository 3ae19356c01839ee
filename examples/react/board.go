package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

//go:embed page
var page embed.FS

const (
	namespace = "board"
	most      = 100 // cards
)

func cardKey(id string) string { return "card:" + id }

// board is the app.
type board struct {
	rt    *realtime.Realtime
	store *kv.Store

	mu   sync.Mutex // held by who adds or changes a card
	last int        // id given out
}

// handler serves the app, and the folder "page" of files.
func (b *board) handler(files fs.FS) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", b.rt.Handler()) // streams and the browser SDK
	mux.HandleFunc("GET /api/cards", b.list)
	mux.HandleFunc("POST /api/cards", b.add)
	mux.HandleFunc("PATCH /api/cards/{id}", b.tick)
	mux.HandleFunc("DELETE /api/cards/{id}", b.remove)
	mux.HandleFunc("GET /api/live", b.live)
	mux.Handle("/", web.Files(files))
	// Attribute lets a tab recognise what its own requests caused. The protection
	// keeps the pages of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(b.rt.Attribute(mux))
}

// list reads the cards. Their ids are in the order of their making.
func (b *board) list(w http.ResponseWriter, r *http.Request) {
	found, err := b.entries(r.Context())
	cards := []card{} // not null, which pages would have to know
	for _, e := range found {
		var c card
		err = errors.Join(err, json.Unmarshal(e.Value, &c))
		cards = append(cards, c)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	web.WriteJSON(w, cards)
}

func (b *board) entries(ctx context.Context) ([]kv.Entry, error) {
	found, err := b.store.List(ctx, namespace, kv.ListOptions{Prefix: cardKey(""), Limit: most})
	return found.Entries, err
}

func (b *board) add(w http.ResponseWriter, r *http.Request) {
	var in card
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if in.Text = strings.TrimSpace(in.Text); !web.Fits(in.Text, 1, 120) || !fits(in.By) {
		http.Error(w, "the text, or who writes it, is missing or too long", http.StatusBadRequest)
		return
	}
	// The request's context names the tab that asked, and so does the event of the write.
	done(w, b.create(r.Context(), in))
}

func fits(p person) bool { return web.Fits(p.ID, 1, 64) && web.Fits(p.Name, 1, 64) }

var errFull = errors.New("the board is full")

// create makes a card, with an id of its own.
func (b *board) create(ctx context.Context, c card) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	found, err := b.entries(ctx)
	if err != nil {
		return err
	}
	if len(found) == most {
		return errFull
	}
	b.last++
	c.ID = fmt.Sprintf("%06d", b.last)
	return b.put(ctx, c)
}

func (b *board) put(ctx context.Context, c card) error {
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = b.store.Put(ctx, namespace, cardKey(c.ID), value)
	return err
}

func (b *board) tick(w http.ResponseWriter, r *http.Request) {
	var in card
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if !fits(in.By) {
		http.Error(w, "who ticks it is missing or too long", http.StatusBadRequest)
		return
	}
	done(w, b.change(r.Context(), r.PathValue("id"), in))
}

// change ticks a card, or takes that back. What is finished is an event of the
// app's own as well, beside that of the write.
func (b *board) change(ctx context.Context, id string, to card) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, err := b.store.Get(ctx, namespace, cardKey(id))
	if err != nil {
		return err
	}
	var c card
	if err := json.Unmarshal(e.Value, &c); err != nil {
		return err
	}
	c.Done, c.By = to.Done, to.By
	if err := b.put(ctx, c); err != nil || !c.Done {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // it is done, whether or not its user has left the page
	return b.rt.Emit(ctx, realtime.RenEvent{Resource: namespace, Type: "card.done", Key: id, Data: data})
}

func (b *board) remove(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	err := b.store.Delete(r.Context(), namespace, cardKey(r.PathValue("id")))
	b.mu.Unlock()
	done(w, err)
}

// live tells which channels are in use, and who is present in each. The page does
// not need it; it shows that what a component has begun ends with it.
func (b *board) live(w http.ResponseWriter, r *http.Request) {
	channels, err := b.rt.Channels(r.Context())
	users := make(map[string][]string)
	for _, name := range channels {
		members, failed := b.rt.Presence().Members(r.Context(), name)
		err = errors.Join(err, failed)
		users[name] = []string{}
		for _, m := range members {
			users[name] = append(users[name], m.UserID)
		}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	web.WriteJSON(w, users)
}

// done answers a write.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, kv.ErrNotFound), errors.Is(err, kv.ErrBadKey):
		http.Error(w, "there is no such card", http.StatusNotFound)
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	}
}

// fill makes cards to begin with.
func (b *board) fill(ctx context.Context) error {
	robot := person{ID: "robot", Name: "Robot"}
	for _, c := range []card{
		{Text: "Agree on a date", Done: true, By: robot},
		{Text: "Write the announcement", By: robot},
		{Text: "Try it on a train", By: robot},
		{Text: "Invite everybody", By: robot},
	} {
		if err := b.create(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
