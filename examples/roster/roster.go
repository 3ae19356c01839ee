package main

import (
	"embed"
	"errors"
	"net/http"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/kv"
)

//go:embed page
var page embed.FS

// roster is the app.
type roster struct {
	rt    *realtime.Realtime
	store *kv.Store
}

func (ro *roster) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", ro.rt.Handler()) // streams, WebSockets and the browser SDK
	mux.HandleFunc("POST /api/groups/{group}/here", ro.here)
	mux.HandleFunc("POST /api/groups/{group}/away", ro.away)
	mux.HandleFunc("GET /api/groups/{group}/members", ro.members)
	mux.HandleFunc("GET /api/groups/{group}/huddle", ro.huddle)
	mux.Handle("/", web.Files(page))
	// Attribute tells pages where in the log they have read. The protection keeps the
	// pages of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(ro.rt.Attribute(mux))
}

// profile is what others see of a member.
type profile struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

// visitor is who asks. A visit is what a page makes up each time it enters: what
// ends is then the visit that is over, even if word of that comes late, after a
// reload has begun the next one.
type visitor struct {
	User  string `json:"user"`
	Visit string `json:"visit"`
	profile
}

// here makes a user present in a group's room, for 90 s unless asked again. A
// change of the profile is a presence.update.
func (ro *roster) here(w http.ResponseWriter, r *http.Request) {
	var in visitor
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if !web.Fits(in.Name, 1, 64) || !web.Fits(in.Status, 0, 64) || in.Visit == "" {
		http.Error(w, "name, status or visit is missing or too long", http.StatusBadRequest)
		return
	}
	done(w, ro.rt.Presence().Join(r.Context(), room(r), in.User, in.profile, realtime.FromClient(in.Visit)))
}

// away ends a visit. The user stays while other tabs are here.
func (ro *roster) away(w http.ResponseWriter, r *http.Request) {
	var in visitor
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if in.Visit == "" {
		http.Error(w, "visit is missing", http.StatusBadRequest)
		return
	}
	done(w, ro.rt.Presence().Leave(r.Context(), room(r), in.User, realtime.FromClient(in.Visit)))
}

func (ro *roster) members(w http.ResponseWriter, r *http.Request) {
	members, err := ro.rt.Presence().Members(r.Context(), room(r))
	if err != nil {
		refuse(w, err)
		return
	}
	web.WriteJSON(w, members)
}

// huddle tells whether a group is in a call, which a handler keeps as a key.
func (ro *roster) huddle(w http.ResponseWriter, r *http.Request) {
	_, err := ro.store.Get(r.Context(), namespace, activeKey(r.PathValue("group")))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		refuse(w, err)
		return
	}
	web.WriteJSON(w, map[string]bool{"active": err == nil})
}

func room(r *http.Request) string { return "room:" + r.PathValue("group") }

// done answers a write.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func refuse(w http.ResponseWriter, err error) {
	for _, bad := range []error{
		realtime.ErrBadChannel, realtime.ErrBadUser, realtime.ErrBadClientID, realtime.ErrTooLarge, kv.ErrBadKey,
	} {
		if errors.Is(err, bad) {
			http.Error(w, "group, user or visit is not what it can be", http.StatusBadRequest)
			return
		}
	}
	http.Error(w, "try again", http.StatusServiceUnavailable)
}
