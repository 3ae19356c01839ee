package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

// handler is the load balancer, and beside what it balances the page and its buttons.
func (c *cluster) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/maravilla/", c.balance)
	mux.HandleFunc("GET /cluster", c.tell)
	mux.HandleFunc("POST /cluster/{node}/{action}", c.control)
	mux.Handle("/", web.Files(page))
	return web.Local(http.NewCrossOriginProtection().Handler(mux))
}

func (c *cluster) control(w http.ResponseWriter, r *http.Request) {
	switch err := c.act(r.PathValue("node"), r.PathValue("action")); err {
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case errUnknown:
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// status is what a page shows of the cluster.
type status struct {
	Serving string       `json:"serving"` // the node that the page's connection is to; "" for none
	Nodes   []nodeStatus `json:"nodes"`
}

type nodeStatus struct {
	Name    string `json:"name"`
	Process int    `json:"process"` // its id; 0: none runs
	Address string `json:"address"`
	Paused  bool   `json:"paused"`
	Cut     bool   `json:"cut"`
	Healthy bool   `json:"healthy"`
	Pages   int    `json:"pages"` // that are connected to it
}

// status returns what there is, and a channel that is closed when that changes.
func (c *cluster) status(page string) (s status, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		ns := nodeStatus{Name: n.name, Paused: n.paused, Cut: n.cut, Healthy: n.healthy}
		if n.process != nil {
			ns.Process, ns.Address = n.process.Pid(), n.process.URL.Host
		}
		for conn := range n.conns {
			if conn.page != "" {
				ns.Pages++
			}
			if conn.page == page && page != "" {
				s.Serving = n.name
			}
		}
		s.Nodes = append(s.Nodes, ns)
	}
	return s, c.changed
}

// tell streams the state of the cluster. It does not run over the cluster: it has to
// say something even when no node is left.
func (c *cluster) tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for last := ""; ; {
		s, changed := c.status(r.URL.Query().Get("page"))
		now, _ := json.Marshal(s) // strings and numbers encode
		if string(now) != last {
			last = string(now)
			fmt.Fprintf(w, "data: %s\n\n", now)
			if out.Flush() != nil {
				return // gone
			}
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-c.ending.Done():
			return
		}
	}
}
