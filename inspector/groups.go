package inspector

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/maravilla-realtime/realtime"
)

type group struct {
	Name        string            `json:"name"`
	Held        bool              `json:"held"`
	Pending     int               `json:"pending"`
	Lag         uint64            `json:"lag"`
	LagTime     float64           `json:"lagTime"` // seconds
	Calls       uint64            `json:"calls"`
	Retries     uint64            `json:"retries"`
	DeadLetters uint64            `json:"deadLetters"`
	Missed      map[string]uint64 `json:"missed"`
}

// letterID names a dead letter.
type letterID struct {
	Group   string          `json:"group"`
	Cursor  realtime.Cursor `json:"cursor"`
	Handler int             `json:"handler"`
}

func idOf(d realtime.DeadLetter) letterID {
	return letterID{d.Delivery.Group, d.Delivery.Cursor, d.Handler}
}

type deadLetter struct {
	ID       letterID `json:"id"`
	Group    string   `json:"group"`
	At       int64    `json:"at"` // when the event was published
	Type     string   `json:"type"`
	Name     string   `json:"name"` // of its channel or key
	Attempts int      `json:"attempts"`
	Error    string   `json:"error"`
}

// groups lists the groups of handlers, and what they have given up.
func (in *inspector) groups(w http.ResponseWriter, _ *http.Request) {
	out := struct {
		Node   string       `json:"node"`
		Groups []group      `json:"groups"`
		Dead   []deadLetter `json:"dead"`
	}{in.rt.Node(), []group{}, []deadLetter{}}
	stats := in.rt.Stats().Groups
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		g := stats[name]
		out.Groups = append(out.Groups, group{
			groupName(name), g.Held, g.Pending, g.Lag, g.LagTime.Seconds(), g.Calls.Count(), g.Retries, g.DeadLetters, g.Missed,
		})
	}
	for _, d := range in.rt.DeadLetters() {
		out.Dead = append(out.Dead, deadLetter{
			idOf(d), groupName(d.Delivery.Group), d.Event.UnixMilli, d.Event.Type, cmp.Or(d.Event.Channel, d.Event.Namespace+" "+d.Event.Key),
			d.Delivery.Attempt, clip(d.Err.Error(), 1<<10),
		})
	}
	answer(w, out)
}

// retry hands a dead letter of this node's list, which the body of the request names, to
// its handler once more, and says what has become of it.
func (in *inspector) retry(w http.ResponseWriter, r *http.Request) {
	var id letterID
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 2<<10)).Decode(&id) != nil {
		refuse(w, http.StatusBadRequest, "bad_request", "the body names no dead letter")
		return
	}
	all := in.rt.DeadLetters()
	i := slices.IndexFunc(all, func(d realtime.DeadLetter) bool { return idOf(d) == id })
	if i < 0 {
		refuse(w, http.StatusNotFound, "not_found", "this dead letter is no longer listed: it was handled, or 100 newer ones have come")
		return
	}
	out := struct {
		Outcome string `json:"outcome"` // "handled", "failed", "gone"
		Error   string `json:"error,omitempty"`
	}{Outcome: "handled"}
	switch err := in.rt.RetryDeadLetter(r.Context(), all[i]); {
	case err == nil:
	case errors.Is(err, realtime.ErrHandlerFailed):
		out.Outcome, out.Error = "failed", clip(err.Error(), 1<<10)
	case errors.Is(err, realtime.ErrGone):
		out.Outcome, out.Error = "gone", err.Error()
	default:
		realtime.WriteError(w, &realtime.RefusedError{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: clip(err.Error(), 1<<10), Retry: true})
		return
	}
	answer(w, out)
}
