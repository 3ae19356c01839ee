package main

import (
	"context"
	"embed"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/child"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

// front has the page, with a door to each process at /a/ and /b/.
type front struct {
	nodes []*child.Process
	db    *store
	pages atomic.Int64 // that were opened
}

func newFront(nodes []*child.Process, db *store) *front { return &front{nodes: nodes, db: db} }

func (f *front) handler() http.Handler {
	mux := http.NewServeMux()
	for _, n := range f.nodes {
		mux.Handle("/"+n.Name+"/", http.StripPrefix("/"+n.Name, door(n)))
	}
	mux.Handle("GET /api/maravilla/realtime.js", door(f.nodes[0]))
	mux.HandleFunc("GET /place", f.place)
	mux.HandleFunc("POST /psql/{name}", f.run)
	mux.Handle("/", web.Files(page))
	return web.Local(http.NewCrossOriginProtection().Handler(mux))
}

// door leads to a process.
func door(p *child.Process) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(p.URL)
			r.Out.Host = r.In.Host // which nodes compare with the origin
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
}

// place is what a page is told of itself.
type place struct {
	Writes     process     `json:"writes"` // the process that it reads and writes through
	Events     process     `json:"events"` // the process that it hears of changes from
	Command    string      `json:"command"`
	Statements []statement `json:"statements"` // that the page may have run
}

type process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// place gives each page the two processes, in turns, so that what it writes through one
// always comes back through the other.
func (f *front) place(w http.ResponseWriter, _ *http.Request) {
	at := int(f.pages.Add(1))
	name := func(i int) process {
		n := f.nodes[i%len(f.nodes)]
		return process{n.Name, n.Pid()}
	}
	p := place{Writes: name(at), Events: name(at + 1), Command: f.db.command}
	if f.db.psql != "" {
		p.Statements = statements
	}
	web.WriteJSON(w, p)
}

// statement is one that the page has a button for. It is run by psql, and by nothing that
// knows of this app.
type statement struct {
	Name string   `json:"name"`
	SQL  []string `json:"sql"`
}

var statements = []statement{
	{"Order", []string{`insert into orders (customer, item, cents) values ('Daffy Duck', 'Jet pogo stick', 19900)`}},
	{"All pay", []string{`update orders set status = 'paid' where status = 'new'`}},
	{"Delete all, roll back", []string{`begin`, `delete from orders`, `rollback`}},
	{"Tidy up", []string{`delete from orders where status = 'shipped'`}},
}

// run runs a statement by its name, and answers with what psql says.
func (f *front) run(w http.ResponseWriter, r *http.Request) {
	for _, s := range statements {
		if s.Name == r.PathValue("name") && f.db.psql != "" {
			web.WriteJSON(w, map[string]string{"said": f.db.runPsql(r.Context(), s.SQL)})
			return
		}
	}
	http.NotFound(w, r)
}

func (s *store) runPsql(ctx context.Context, statements []string) string {
	ctx, cancel := context.WithTimeout(ctx, web.Slow(10*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, s.psql, "--no-psqlrc", "--no-password", "--dbname", s.url)
	for _, sql := range statements {
		cmd.Args = append(cmd.Args, "--command", sql)
	}
	cmd.Env = append(os.Environ(), "PGOPTIONS=-c lock_timeout=5s")
	said, err := cmd.CombinedOutput()
	if err != nil && len(said) == 0 {
		return err.Error()
	}
	return strings.TrimSpace(string(said))
}
