package main

import (
	"embed"
	"errors"
	"net/http"
	"sync"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

// chat is the app. Its database is a map, so that there is something to write.
type chat struct {
	rt     *realtime.Realtime
	mu     sync.Mutex
	topics map[string]string // of rooms
}

func handler(rt *realtime.Realtime) http.Handler {
	c := &chat{rt: rt, topics: make(map[string]string)}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler()) // streams and the browser SDK
	mux.HandleFunc("GET /healthz", c.health)
	mux.HandleFunc("POST /api/say", c.say)
	mux.HandleFunc("GET /api/topic", c.topic)
	mux.HandleFunc("POST /api/topic", c.setTopic)
	mux.Handle("/", web.Files(page))
	// Attribute lets a tab recognise what its own requests caused. The protection
	// keeps the pages of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(rt.Attribute(mux))
}

// health tells a load balancer whether to send clients here.
func (c *chat) health(w http.ResponseWriter, r *http.Request) {
	if err := c.rt.Health(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

//go:generate go test -run TestTypes . -update

// message is what travels in a room; browsers publish the same. page/types.d.ts
// has it in TypeScript.
type message struct {
	User string `json:"user"`
	Name string `json:"name"`
	Text string `json:"text"`
	Via  string `json:"via"` // "server" or "websocket", to tell them apart in the page
}

// say publishes a message for a browser.
func (c *chat) say(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Room string `json:"room"`
		message
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if !web.Fits(in.Room, 1, 64) || !web.Fits(in.Name, 1, 64) || !web.Fits(in.User, 1, 64) || !web.Fits(in.Text, 1, 2000) {
		http.Error(w, "room, name, user or text is missing or too long", http.StatusBadRequest)
		return
	}
	in.Via = "server"
	// The request's context names the tab that asked, and so does the event.
	done(w, c.rt.Publish(r.Context(), "room:"+in.Room, in.message))
}

// topic tells the topic of a room.
func (c *chat) topic(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	topic := c.topics[r.FormValue("room")]
	c.mu.Unlock()
	web.WriteJSON(w, map[string]string{"topic": topic})
}

// setTopic writes to the database, and announces that: pages that show the topic read it
// again.
func (c *chat) setTopic(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Room  string `json:"room"`
		Topic string `json:"topic"`
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if !web.Fits(in.Room, 1, 64) || !web.Fits(in.Topic, 0, 120) {
		http.Error(w, "room is missing, or room or topic is too long", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.topics[in.Room] = in.Topic
	c.mu.Unlock()
	done(w, c.rt.Emit(r.Context(), realtime.KVPut("chat", "topic:"+in.Room)))
}

// done answers a request whose event is in the log, or is not.
func done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, realtime.ErrBadChannel), errors.Is(err, realtime.ErrBadEvent):
		http.Error(w, "no such room", http.StatusBadRequest)
	default:
		http.Error(w, "try again", http.StatusServiceUnavailable)
	}
}
