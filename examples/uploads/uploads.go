package main

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
	"github.com/maravilla-realtime/realtime/storage"
)

//go:embed page
var page embed.FS

const folder = "photos/" // also the segment that is granted

// policy lets everybody in, but only to the pictures, and to the channel in which
// pages tell how far they are. So only the name in a request tells the gallery's own
// pages from one of another site whose name was made to resolve to this machine.
var policy = realtime.Policy{
	Hosts:        []string{"localhost", "127.0.0.1", "[::1]"},
	Authenticate: func(*http.Request) (realtime.Identity, error) { return realtime.Identity{}, nil },
	Allow: func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		switch a.Verb {
		case realtime.VerbUpload, realtime.VerbDelete, realtime.VerbDownload:
			if strings.HasPrefix(a.Name, folder) {
				return nil
			}
		case realtime.VerbSubscribe, realtime.VerbPublish:
			if a.Name == "uploads" {
				return nil
			}
		}
		return errors.New("not part of the gallery")
	},
	Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
		return []realtime.Grant{realtime.GrantAll("storage").Under("photos")}, nil
	},
}

// gallery is the app.
type gallery struct {
	rt    *realtime.Realtime
	store *storage.Store
	most  int64 // bytes of a picture
}

func (g *gallery) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", g.rt.Handler()) // streams, WebSockets and the browser SDK
	mux.Handle("/api/storage/", storage.Handler(g.rt, g.store, &storage.HandlerOptions{MaxSize: g.most}))
	mux.HandleFunc("GET /api/photos", g.photos)
	mux.Handle("/", web.Files(page))
	// Attribute lets a tab recognise its own uploads. The protection keeps the pages
	// of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(g.rt.Attribute(mux))
}

// photos lists the gallery, the first 1,000 pictures of it.
func (g *gallery) photos(w http.ResponseWriter, r *http.Request) {
	list, _, err := g.store.List(r.Context(), folder, "", 0)
	if err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	if list == nil {
		list = []storage.Info{} // not null, which pages would have to know
	}
	web.WriteJSON(w, list)
}
