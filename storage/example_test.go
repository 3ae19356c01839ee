package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/storage"
)

// Users upload below a folder of their own, and everybody sees everything. What
// the server itself stores is announced as well.
func Example() {
	ctx := context.Background()
	rt, err := realtime.New(ownFolders(), nil)
	must(err)
	defer rt.Close(ctx)

	folder, err := os.MkdirTemp("", "objects")
	must(err)
	defer os.RemoveAll(folder)
	dir, err := storage.OpenDir(folder)
	must(err)
	defer dir.Close()
	store := storage.New(rt, dir, nil)

	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", rt.Handler())
	mux.Handle("/api/storage/", storage.Handler(rt, store, nil))
	server := httptest.NewServer(rt.Attribute(mux)) // or http.ListenAndServe
	defer server.Close()

	start := rt.Cursor()
	req, err := http.NewRequest("POST", server.URL+"/api/storage/upload?path=photos/ada/cat.png", strings.NewReader("…"))
	must(err)
	req.AddCookie(&http.Cookie{Name: "session", Value: "ada"})
	resp, err := http.DefaultClient.Do(req)
	must(err)
	resp.Body.Close()
	fmt.Println(resp.Status)

	_, _, err = store.Put(ctx, "photos/thumbs/cat.png", "image/png", strings.NewReader("…"))
	must(err)

	n := 0
	for ev, err := range rt.EventsAfter(ctx, realtime.EventMatch{Resource: "storage", Key: "photos/*"}, start) {
		must(err)
		fmt.Println(ev.Type, ev.Key)
		if n++; n == 2 {
			break
		}
	}
	// Output:
	// 201 Created
	// storage.object.created photos/ada/cat.png
	// storage.object.created photos/thumbs/cat.png
}

// ownFolders lets users change what is in photos/ and their name, and see all of photos.
func ownFolders() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			cookie, err := r.Cookie("session")
			if err != nil {
				return realtime.Identity{}, errors.New("no session")
			}
			return realtime.Identity{User: cookie.Value}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			switch a.Verb {
			case realtime.VerbDownload:
				return nil
			case realtime.VerbUpload, realtime.VerbDelete:
				if strings.HasPrefix(a.Name, "photos/"+id.User+"/") {
					return nil
				}
			}
			return errors.New("not theirs")
		},
		Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("storage").Under("photos")}, nil
		},
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
