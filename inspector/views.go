package inspector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime"
)

const maxDetail = 500 // of what one connection sees, and the members of one channel

type connection struct {
	ID      uint64  `json:"id"`
	Kind    string  `json:"kind"`
	User    string  `json:"user"`
	Source  string  `json:"source"`
	Address string  `json:"address"`
	Age     float64 `json:"age"` // seconds
	Unread  int     `json:"unread"`
	Lag     float64 `json:"lag"` // seconds
	Writing bool    `json:"writing"`

	Sees   []string `json:"sees,omitempty"` // at most maxDetail
	More   int      `json:"more,omitempty"` // how many are left out
	Joined []string `json:"joined,omitempty"`
}

func describe(c *realtime.Connection, now time.Time) *connection {
	return &connection{
		ID: c.ID, Kind: c.Kind, User: c.User, Source: c.Source, Address: c.Address, Age: now.Sub(c.Since).Seconds(),
		Unread: c.Unread, Lag: c.Lag.Seconds(), Writing: c.Writing,
	}
}

// connections lists those that match q (user, tag, address), kind and channel.
func (in *inspector) connections(w http.ResponseWriter, r *http.Request) {
	q, kind, channel := strings.ToLower(r.FormValue("q")), r.FormValue("kind"), r.FormValue("channel")
	total, rows := 0, selectPage(r, connectionsBy[r.FormValue("sort")])
	for c := range in.rt.Connections() {
		total++
		if kind != "" && c.Kind != kind || !contains(q, c.User, c.Source, c.Address) ||
			channel != "" && !(c.Kind == "websocket" && slices.Contains(c.Sees(), channel)) {
			continue
		}
		rows.add(c)
	}
	now := time.Now()
	answer(w, listed(in, rows, total, func(c *realtime.Connection) *connection { return describe(c, now) }))
}

// connectionsBy are the orders of connections. Where they leave it open, and by default,
// the oldest comes first.
var connectionsBy = map[string]func(a, b *realtime.Connection) int{
	"user":    func(a, b *realtime.Connection) int { return cmp.Compare(a.User, b.User) },
	"kind":    func(a, b *realtime.Connection) int { return cmp.Compare(a.Kind, b.Kind) },
	"address": func(a, b *realtime.Connection) int { return cmp.Compare(a.Address, b.Address) },
	"age":     func(a, b *realtime.Connection) int { return cmp.Compare(b.ID, a.ID) }, // ids grow
	"lag": func(a, b *realtime.Connection) int {
		if o := cmp.Compare(a.Lag, b.Lag); o != 0 {
			return o
		}
		return cmp.Or(cmp.Compare(a.Unread, b.Unread), truth(a.Writing)-truth(b.Writing))
	},
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// contains reports whether one of some texts contains q.
func contains(q string, texts ...string) bool {
	return q == "" || slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), q) })
}

// connection shows one, with what it may see.
func (in *inspector) connection(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.FormValue("id"), 10, 64)
	for c := range in.rt.Connections() {
		if err != nil || c.ID != id {
			continue
		}
		d := describe(&c, time.Now())
		sees := c.Sees()
		d.Sees, d.Joined = sees[:min(len(sees), maxDetail)], c.Joined()
		d.More = len(sees) - len(d.Sees)
		answer(w, d)
		return
	}
	refuse(w, http.StatusNotFound, "not_found", "this connection has ended")
}

// channels keeps the list of channels for a moment, since it costs the backend something.
type channels struct {
	mu     sync.Mutex
	names  []string
	at     time.Time
	asking *asking // the question that is under way, for all who ask meanwhile
}

// asking is a question to the backend. Its result may be read when it is done.
type asking struct {
	done  chan struct{}
	names []string
	err   error
}

// channelsFor is how long a list of channels is good enough.
const channelsFor = 5 * time.Second

// list returns the channels. It asks the backend once for all who come at the same time:
// the first of them asks, and the others wait as long as their ctx.
func (c *channels) list(ctx context.Context, ask func(context.Context) ([]string, error)) ([]string, error) {
	c.mu.Lock()
	if time.Since(c.at) < channelsFor {
		defer c.mu.Unlock()
		return c.names, nil
	}
	a := c.asking
	first := a == nil
	if first {
		a = &asking{done: make(chan struct{})}
		c.asking = a
	}
	c.mu.Unlock()
	if first {
		c.ask(context.WithoutCancel(ctx), a, ask) // others wait for it, too
	}
	select {
	case <-a.done:
		return a.names, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask asks, within the time that a call of [realtime.Realtime.Channels] has.
func (c *channels) ask(ctx context.Context, a *asking, ask func(context.Context) ([]string, error)) {
	defer close(a.done)
	a.err = errAsking // unless it returns
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.asking = nil; a.err == nil {
			c.names, c.at = a.names, time.Now()
		}
	}()
	a.names, a.err = ask(ctx)
}

var errAsking = errors.New("inspector: the question for the channels has panicked")

type channel struct {
	Name      string `json:"name"`
	Followers int    `json:"followers"` // WebSockets on this node
}

func (in *inspector) listChannels(w http.ResponseWriter, r *http.Request) {
	names, err := in.channels.list(r.Context(), in.rt.Channels)
	if err != nil {
		realtime.WriteError(w, err)
		return
	}
	followers := in.followers()
	known := names
	for name := range followers { // that came since the list was made
		if _, there := slices.BinarySearch(known, name); !there {
			names = append(slices.Clip(names), name)
		}
	}
	if len(names) > len(known) {
		slices.Sort(names) // a copy
	}
	by := func(a, b *channel) int { return cmp.Compare(a.Name, b.Name) }
	if r.FormValue("sort") == "followers" {
		by = func(a, b *channel) int { return cmp.Compare(a.Followers, b.Followers) }
	}
	q, rows := strings.ToLower(r.FormValue("q")), selectPage(r, by)
	for _, name := range names {
		if contains(q, name) {
			rows.add(channel{name, followers[name]})
		}
	}
	answer(w, listed(in, rows, len(names), func(c *channel) channel { return *c }))
}

// followers counts the WebSockets of this node by channel.
func (in *inspector) followers() map[string]int {
	n := map[string]int{}
	for c := range in.rt.Connections() {
		if c.Kind == "websocket" {
			for _, name := range c.Sees() {
				n[name]++
			}
		}
	}
	return n
}

type member struct {
	User     string          `json:"user"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
	Seen     int64           `json:"seen"` // milliseconds since the Unix epoch
}

// channel shows one, with its members on all nodes.
func (in *inspector) channel(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	found, err := in.rt.Presence().Members(r.Context(), name)
	if errors.Is(err, realtime.ErrBadChannel) {
		realtime.WriteError(w, err)
		return
	}
	if err != nil {
		realtime.WriteError(w, &realtime.RefusedError{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: err.Error(), Retry: true})
		return
	}
	d := struct {
		channel
		Total   int      `json:"total"` // members
		Members []member `json:"members"`
	}{channel{name, in.followers()[name]}, len(found), []member{}}
	for _, m := range found[:min(len(found), maxDetail)] {
		d.Members = append(d.Members, member{m.UserID, m.Metadata, m.LastSeen.UnixMilli()})
	}
	answer(w, d)
}

type refusal struct {
	At      int64  `json:"at"` // milliseconds since the Unix epoch
	Count   int    `json:"count"`
	Code    string `json:"code"`
	User    string `json:"user"`
	Address string `json:"address"`
	Verb    string `json:"verb"`
	Name    string `json:"name"`
	Reason  string `json:"reason"`
}

// refusals lists those that match q, the newest first.
func (in *inspector) refusals(w http.ResponseWriter, r *http.Request) {
	all, rows := in.rt.Refusals(), selectPage[realtime.Refusal](r, nil)
	q := strings.ToLower(r.FormValue("q"))
	for i := range all {
		if f := &all[i]; contains(q, f.Code, f.User, f.Address, string(f.Action.Verb), f.Action.Name, f.Reason) {
			rows.add(*f)
		}
	}
	answer(w, listed(in, rows, len(all), func(f *realtime.Refusal) refusal {
		return refusal{f.Time.UnixMilli(), f.Count, f.Code, f.User, f.Address, string(f.Action.Verb), f.Action.Name, f.Reason}
	}))
}

// clip shortens text.
func clip(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "\uFFFD") }

type finding struct {
	Code     string            `json:"code"`
	Problem  string            `json:"problem"`
	Fault    bool              `json:"fault"`
	Remedies map[string]string `json:"remedies"`
}

// diagnose examines the proxies in front of a URL, which is the body of the request.
func (in *inspector) diagnose(w http.ResponseWriter, r *http.Request) {
	if !in.examining.TryLock() {
		refuse(w, http.StatusConflict, "busy", "an examination is under way")
		return
	}
	defer in.examining.Unlock()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2<<10))
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", "the body is not a URL")
		return
	}
	d, err := in.rt.Diagnose(r.Context(), strings.TrimSpace(string(body)))
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	out := struct {
		URL      string    `json:"url"`
		Proxies  []string  `json:"proxies"`
		Findings []finding `json:"findings"`
	}{d.URL, append([]string{}, d.Proxies...), []finding{}}
	for _, f := range d.Findings {
		out.Findings = append(out.Findings, finding(f))
	}
	answer(w, out)
}
