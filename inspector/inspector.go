// Package inspector is a page for operators: what is connected, what lags, what was
// refused and why, on one node, now.
//
//	mux.Handle("/inspector/", inspector.Handler(rt, func(r *http.Request) error {
//		if !isOperator(r) {
//			return errors.New("operators only")
//		}
//		return nil
//	}))
//
// It shows everything that the node delivers, the data of events included, to everybody
// whom the function lets in. It shows no tokens, no cookies, and of client ids only the
// tags that are in events. What operators can do is to retry a dead letter, and to have
// proxies examined. It is written with the exported methods of [realtime.Realtime] only, so
// that a host can write a page of its own.
//
// The page needs no other host and no build, and runs under a strict Content Security
// Policy. It costs nothing while nobody looks at it. See docs/inspector.md.
package inspector

import (
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime"
)

//go:embed page
var files embed.FS

// inspector is the page of one node.
type inspector struct {
	rt        *realtime.Realtime
	authorize func(*http.Request) error
	page      fs.FS

	history   history
	channels  channels
	examining sync.Mutex // held during an examination of the proxies
	watching  chan struct{}
}

// maxTails bounds the tails of events that are watched at a time.
const maxTails = 32

// Handler serves the page, at any path that ends with "/", and the data for it, below
// that path. authorize is called for each request. It must return nil for operators, and
// an error for everybody else, who get 403, or what a [*realtime.RefusedError] or
// [realtime.ErrTemporary] says. To ask for a password, or redirect to a login, wrap the
// handler. authorize may block; it is called concurrently. If it is nil, everybody is
// refused.
//
// Requests that change nothing are GET. The examination of proxies, and the retry of a dead
// letter, are POST, which is refused if a browser sends it for a page of another site.
// Requests for a host that is not among [realtime.Policy].Hosts are refused (421), before
// authorize is asked.
func Handler(rt *realtime.Realtime, authorize func(*http.Request) error) http.Handler {
	page, _ := fs.Sub(files, "page") // fails for bad names only
	in := &inspector{rt: rt, authorize: authorize, page: page, watching: make(chan struct{}, maxTails)}
	return rt.Attribute(http.NewCrossOriginProtection().Handler(http.HandlerFunc(in.serve))) // which checks the host
}

var errNobody = &realtime.RefusedError{
	Status: http.StatusForbidden, Code: "forbidden", Message: "the inspector has no function that lets anybody in",
}

// allowed returns what a request is refused with, or nil.
func (in *inspector) allowed(r *http.Request) error {
	if in.authorize == nil {
		return errNobody
	}
	err := in.authorize(r)
	var refused *realtime.RefusedError
	if err == nil || errors.As(err, &refused) || errors.Is(err, realtime.ErrTemporary) {
		return err
	}
	return &realtime.RefusedError{Status: http.StatusForbidden, Code: "forbidden", Message: "operators only"}
}

// headers keep the page to its own files, and its data out of caches and frames.
func headers(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
}

func (in *inspector) serve(w http.ResponseWriter, r *http.Request) {
	headers(w.Header())
	if err := in.allowed(r); err != nil {
		realtime.WriteError(w, err)
		return
	}
	name := path.Base(r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") {
		name = "index.html"
	}
	if post := map[string]http.HandlerFunc{"diagnose": in.diagnose, "retry": in.retry}[name]; post != nil {
		in.only(http.MethodPost, post)(w, r)
		return
	}
	get := map[string]http.HandlerFunc{
		"overview": in.overview, "connections": in.connections, "connection": in.connection,
		"channels": in.listChannels, "channel": in.channel, "events": in.events, "refusals": in.refusals, "groups": in.groups,
	}[name]
	if get == nil {
		get = in.file(name)
	}
	in.only(http.MethodGet, get)(w, r)
}

// only refuses other methods.
func (in *inspector) only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			refuse(w, http.StatusMethodNotAllowed, "method", "only "+method+" is served here")
			return
		}
		next(w, r)
	}
}

// file serves a file of the page. A path without its last slash is redirected, so that
// the page finds the others.
func (in *inspector) file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := fs.Stat(in.page, name); err == nil {
			http.ServeFileFS(w, r, in.page, name)
		} else if path.Ext(name) == "" && r.URL.RawQuery == "" {
			// Relative: a proxy may have removed a prefix. A name such as \\host or http:host
			// alone would lead to another site.
			w.Header().Set("Location", "./"+url.PathEscape(name)+"/")
			w.WriteHeader(http.StatusSeeOther)
		} else {
			refuse(w, http.StatusNotFound, "not_found", "there is nothing here")
		}
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	realtime.WriteError(w, &realtime.RefusedError{Status: status, Code: code, Message: message})
}

func answer(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		realtime.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the operator is gone, or has it
}
