package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /live", a.live)
	mux.HandleFunc("POST /questions", known(a.ask))
	mux.HandleFunc("POST /questions/{id}/vote", known(a.vote))
	mux.HandleFunc("POST /questions/{id}/answer", known(a.answer))
	mux.HandleFunc("POST /poll/{choice}", known(a.choose))
	mux.HandleFunc("POST /here", known(a.here))
	mux.HandleFunc("POST /away", known(a.away))
	mux.Handle("/", web.Files(page))
	// The protection keeps the pages of other sites from posting here, and Local those whose
	// name was made to resolve to this machine.
	return web.Local(http.NewCrossOriginProtection().Handler(web.Secure(mux)))
}

// live is the page's stream of HTML. It begins with all parts, so that nothing is missing
// that happened since the page was loaded, and goes on with those that change. htmx swaps
// in what an unnamed event has: each part says where it belongs.
func (a *app) live(w http.ResponseWriter, r *http.Request) {
	v, _ := visitorOf(r) // who is no visitor is refused by the policy
	a.rt.Fragments(w, r, realtime.EventMatch{}, func(ctx context.Context, to *realtime.Fragment, ev realtime.RenEvent) error {
		parts, err := a.parts(ctx, v, ev)
		if err != nil {
			return err
		}
		return templ.Join(parts...).Render(ctx, to)
	})
}

// parts returns what an event changes on a visitor's page; of the zero event that is all.
func (a *app) parts(ctx context.Context, v visitor, ev realtime.RenEvent) (parts []templ.Component, err error) {
	all := ev.Type == ""
	if all || ev.Resource == "presence" {
		here, err := a.present(ctx)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part("#people", people(here, v)))
	}
	if all || ev.Namespace == questions {
		parts = append(parts, part("#questions", questionList(a.stage.questions(v.id))))
	}
	if all || ev.Namespace == poll {
		parts = append(parts, part("#poll", choiceList(a.stage.poll(v.id))))
	}
	return parts, nil
}

// present lists who is there.
func (a *app) present(ctx context.Context) ([]visitor, error) {
	members, err := a.rt.Presence().Members(ctx, audience)
	if err != nil {
		return nil, err
	}
	here := make([]visitor, len(members))
	for i, m := range members {
		var p profile
		if err := json.Unmarshal(m.Metadata, &p); err != nil {
			return nil, err
		}
		here[i] = visitor{m.UserID, p.Name, p.Hue}
	}
	return here, nil
}

// home is the page, complete without any script.
func (a *app) home(w http.ResponseWriter, r *http.Request) {
	v, ok := visitorOf(r)
	if !ok {
		v = newVisitor(w, r)
	}
	choices, voted := a.stage.poll(v.id)
	show(w, r, document(v, a.stage.questions(v.id), choices, voted))
}

// ask adds a question, and answers with the form to ask the next one. The question comes
// to this page as it comes to all others.
func (a *app) ask(w http.ResponseWriter, r *http.Request, v visitor) {
	text := strings.TrimSpace(r.FormValue("text"))
	if !web.Fits(text, 1, 140) {
		show(w, r, askForm(text, "Ask something, in at most 140 characters."))
		return
	}
	id, err := a.stage.ask(v.id, v.name, text)
	if err != nil {
		show(w, r, askForm(text, "There are enough questions for today."))
		return
	}
	a.announce(r.Context(), realtime.DocumentCreated(questions, strconv.Itoa(id)))
	show(w, r, askForm("", ""))
}

func (a *app) vote(w http.ResponseWriter, r *http.Request, v visitor) {
	id, _ := strconv.Atoi(r.PathValue("id")) // 0 is no question
	a.changed(w, r, questions, id, a.stage.vote(v.id, id))
}

// answer marks a question as answered. Every visitor may do so here; a real app asks who
// is on the stage.
func (a *app) answer(w http.ResponseWriter, r *http.Request, _ visitor) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	a.changed(w, r, questions, id, a.stage.answer(id))
}

func (a *app) choose(w http.ResponseWriter, r *http.Request, v visitor) {
	choice, err := strconv.Atoi(r.PathValue("choice"))
	if err != nil {
		choice = -1
	}
	a.changed(w, r, poll, choice, a.stage.choose(v.id, choice))
}

// changed answers a change, and announces it if it was one.
func (a *app) changed(w http.ResponseWriter, r *http.Request, collection string, id int, err error) {
	if err == nil {
		a.announce(r.Context(), realtime.DocumentUpdated(collection, strconv.Itoa(id)))
	}
	done(w, err)
}

// announce emits the event of a change. The change is made, so others must hear of it
// even if its visitor has left the page.
func (a *app) announce(ctx context.Context, ev realtime.RenEvent) {
	if err := a.rt.Emit(context.WithoutCancel(ctx), ev); err != nil {
		slog.Error("announce", "collection", ev.Namespace, "key", ev.Key, "error", err)
	}
}

// most is the size of a form, and formTime how long one may take to come.
const (
	most     = 4 << 10
	formTime = 10 * time.Second
)

// known serves visitors, and reads what their form has.
func known(next func(http.ResponseWriter, *http.Request, visitor)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := visitorOf(r)
		if !ok {
			http.Error(w, "open the page first", http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, most)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTime)) // where it fails there is no connection
		if err := r.ParseForm(); err != nil {
			http.Error(w, "not the form expected", http.StatusBadRequest)
			return
		}
		next(w, r, v)
	}
}

func show(w http.ResponseWriter, r *http.Request, c templ.Component) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := c.Render(r.Context(), w); err != nil {
		slog.Error("page", "path", r.URL.Path, "error", err)
	}
}

// done answers a change whose result comes by the stream.
func done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errNone):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, realtime.ErrBadClientID):
		http.Error(w, "visit is not what it can be", http.StatusBadRequest)
	default:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	}
}
