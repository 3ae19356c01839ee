package realtime_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Attribute labels by the header, and what comes between a fetch and the stream
// that is opened after it is not missed.
func TestAttribute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := prepare(t, open(), nil)
		streams := h.handler
		mux := http.NewServeMux()
		mux.Handle("/ren", streams)
		mux.HandleFunc("/data", func(w http.ResponseWriter, r *http.Request) {
			// another one writes just after this one has read
			h.emit(realtime.KVPut("n", "in between"))
			fmt.Fprint(w, "old data")
		})
		mux.HandleFunc("/act", func(w http.ResponseWriter, r *http.Request) {
			if err := errors.Join(h.Publish(r.Context(), "room", 1), h.Presence().Join(r.Context(), "room", "ada", nil),
				h.Emit(r.Context(), realtime.KVPut("n", "k")), h.Emit(r.Context(), realtime.KVPut("n", "k"), realtime.FromClient(tab2))); err != nil {
				t.Error(err)
			}
		})
		h.handler = h.Attribute(mux)
		h.serve()
		resp := h.do(t.Context(), get("/data"))
		resp.Body.Close()
		s := h.ren(get("/ren?lastEventId=" + resp.Header.Get("X-Ren-Cursor")))
		if got := s.keys(1); s.hello.State != "resumed" || got != "in between" {
			t.Errorf("%s, then %s", s.hello.Raw, got)
		}
		resp = h.do(t.Context(), get("/act", "X-Ren-Client", tab1))
		resp.Body.Close()
		for i, want := range []string{tab1, tab1, tab1, tab2} {
			if ev := s.next(); ev.Source != wire.Tag(want) {
				t.Errorf("event %d: %s", i, ev.Raw)
			}
		}
		s.nothing()
	})
}

// Attribute hides nothing of the ResponseWriter.
func TestAttributeKeepsTheWriter(t *testing.T) {
	rt := bare(t, nil)
	rec := httptest.NewRecorder()
	rt.Attribute(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if w != http.ResponseWriter(rec) {
			t.Errorf("the writer is wrapped in a %T", w)
		}
	})).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
}
