package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

//go:embed page
var page embed.FS

const (
	namespace = "demo"
	most      = 100 // items of a list
)

// nap is how long an item sleeps.
var nap = web.Slow(5 * time.Second)

var lists = []string{"launch", "garden"}

// Keys. Patterns of handlers and filters of pages speak of these.
func itemKey(list, id string) string   { return "todolist:" + list + ":item:" + id }
func snoozeKey(list, id string) string { return "todolist:" + list + ":snooze:" + id }
func statsKey(list string) string      { return "stats:" + list }

// dashboard is the app.
type dashboard struct {
	rt    *realtime.Realtime
	store *kv.Store

	mu   sync.Mutex // held by who changes an item that is there
	last int        // id given out
}

// item is what a key holds.
type item struct {
	Text   string `json:"text"`
	Done   bool   `json:"done"`
	Urgent bool   `json:"urgent"`
}

// shown is an item as the page gets it.
type shown struct {
	ID string `json:"id"`
	item
	SnoozedUntil int64 `json:"snoozedUntil,omitempty"` // milliseconds since the Unix epoch
}

func (d *dashboard) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", d.rt.Handler()) // streams and the browser SDK
	mux.HandleFunc("GET /api/lists/{list}/items", d.list)
	mux.HandleFunc("GET /api/lists/{list}/stats", d.stats)
	mux.HandleFunc("POST /api/lists/{list}/items", d.add)
	mux.HandleFunc("PATCH /api/lists/{list}/items/{id}", d.tick)
	mux.HandleFunc("DELETE /api/lists/{list}/items/{id}", d.remove)
	mux.HandleFunc("POST /api/lists/{list}/items/{id}/snooze", d.snooze)
	mux.HandleFunc("POST /api/lists/{list}/items/{id}/escalate", d.escalate)
	mux.Handle("/", web.Files(page))
	// Attribute lets a tab recognise what its own requests caused. The protection
	// keeps the pages of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(d.rt.Attribute(mux))
}

func (d *dashboard) list(w http.ResponseWriter, r *http.Request) {
	items, err := d.items(r.Context(), r.PathValue("list"))
	if err != nil {
		refuse(w, err)
		return
	}
	web.WriteJSON(w, items)
}

// items reads a list. The ids are in the order of their making.
func (d *dashboard) items(ctx context.Context, list string) ([]shown, error) {
	naps, err := d.entries(ctx, snoozeKey(list, ""))
	if err != nil {
		return nil, err
	}
	until := make(map[string]int64)
	for _, e := range naps {
		until[strings.TrimPrefix(e.Key, snoozeKey(list, ""))] = e.Expires.UnixMilli()
	}
	found, err := d.entries(ctx, itemKey(list, ""))
	items := []shown{} // not null, which pages would have to know
	for _, e := range found {
		id := strings.TrimPrefix(e.Key, itemKey(list, ""))
		it := shown{ID: id, SnoozedUntil: until[id]}
		if err := json.Unmarshal(e.Value, &it.item); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, err
}

func (d *dashboard) entries(ctx context.Context, prefix string) ([]kv.Entry, error) {
	page, err := d.store.List(ctx, namespace, kv.ListOptions{Prefix: prefix, Limit: most})
	return page.Entries, err
}

// stats tells the summary that the handler keeps.
func (d *dashboard) stats(w http.ResponseWriter, r *http.Request) {
	e, err := d.store.Get(r.Context(), namespace, statsKey(r.PathValue("list")))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		web.WriteJSON(w, stats{})
	case err != nil:
		refuse(w, err)
	default:
		web.WriteJSON(w, json.RawMessage(e.Value))
	}
}

func (d *dashboard) add(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Text string `json:"text"`
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if in.Text = strings.TrimSpace(in.Text); !web.Fits(in.Text, 1, 120) {
		http.Error(w, "the text is missing or too long", http.StatusBadRequest)
		return
	}
	// The request's context names the tab that asked, and so does the event of the write.
	done(w, d.create(r.Context(), r.PathValue("list"), item{Text: in.Text}))
}

var errFull = errors.New("the list is full")

func (d *dashboard) create(ctx context.Context, list string, it item) error {
	if !slices.Contains(lists, list) {
		return kv.ErrNotFound
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.entries(ctx, itemKey(list, ""))
	if err != nil {
		return err
	}
	if len(found) == most {
		return errFull
	}
	d.last++
	return d.put(ctx, itemKey(list, fmt.Sprintf("%06d", d.last)), it)
}

func (d *dashboard) tick(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Done bool `json:"done"`
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	done(w, d.change(r.Context(), keyOf(r), func(it *item) { it.Done = in.Done }))
}

// change changes an item that is there.
func (d *dashboard) change(ctx context.Context, key string, change func(*item)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.store.Get(ctx, namespace, key)
	if err != nil {
		return err
	}
	var it item
	if err := json.Unmarshal(e.Value, &it); err != nil {
		return err
	}
	change(&it)
	return d.put(ctx, key, it)
}

func (d *dashboard) put(ctx context.Context, key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = d.store.Put(ctx, namespace, key, value)
	return err
}

func (d *dashboard) remove(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	err := d.store.Delete(r.Context(), namespace, keyOf(r))
	d.mu.Unlock()
	done(w, err)
}

// snooze puts an item to sleep: it is asleep while a key beside it is there, which
// ends by itself. The page sees that as kv.expired.
func (d *dashboard) snooze(w http.ResponseWriter, r *http.Request) {
	_, err := d.store.Get(r.Context(), namespace, keyOf(r))
	if err == nil {
		key := snoozeKey(r.PathValue("list"), r.PathValue("id"))
		_, err = d.store.Put(r.Context(), namespace, key, nil, kv.TTL(nap))
	}
	done(w, err)
}

// escalate emits an event of the app's own: no data is written here. A handler
// decides what comes of it.
func (d *dashboard) escalate(w http.ResponseWriter, r *http.Request) {
	done(w, d.rt.Emit(r.Context(), realtime.RenEvent{
		Resource: "custom", Namespace: "jobs", Type: "priority:high", Key: keyOf(r),
	}))
}

func keyOf(r *http.Request) string { return itemKey(r.PathValue("list"), r.PathValue("id")) }

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
	case errors.Is(err, kv.ErrNotFound), errors.Is(err, kv.ErrBadKey), errors.Is(err, realtime.ErrBadEvent):
		http.Error(w, "there is no such thing here", http.StatusNotFound)
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	}
}

// fill makes items to begin with.
func (d *dashboard) fill(ctx context.Context) error {
	for _, sample := range []struct {
		list string
		item
	}{
		{"launch", item{Text: "Write the changelog", Done: true}},
		{"launch", item{Text: "Run the soak test over night", Done: true}},
		{"launch", item{Text: "Read the migration guide once more"}},
		{"launch", item{Text: "Tell support what is new"}},
		{"launch", item{Text: "Press the button"}},
		{"garden", item{Text: "Water the tomatoes"}},
		{"garden", item{Text: "Mend the fence"}},
	} {
		if err := d.create(ctx, sample.list, sample.item); err != nil {
			return err
		}
	}
	return nil
}
