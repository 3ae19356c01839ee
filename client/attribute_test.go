package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

func TestTransport(t *testing.T) {
	bubble(t, "own writes, and nothing between reading and listening", func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		rt := h.Realtime
		h.serve(rt.Attribute(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/write" {
				_ = rt.Emit(r.Context(), realtime.KVPut("demo", r.URL.RawQuery))
				return
			}
			rt.Handler().ServeHTTP(w, r)
		})))
		transport := &client.Transport{Base: h.http.Transport, Origin: "http://host.test", ClientID: "some-program-0001"}
		web := &http.Client{Transport: transport}
		write := func(host, key string) {
			resp, err := web.Get(host + "/write?" + key)
			must(t, err)
			resp.Body.Close()
		}
		write("http://host.test", "a")
		write("http://other.test", "b")
		write("http://host.test", "c")
		r := newRen(t, &client.RenOptions{
			HTTPClient: h.http, ClientID: "some-program-0001", Since: transport.TakeCursor(),
		})
		if again := transport.TakeCursor(); again != "" {
			t.Errorf("the cursor %q is handed out twice", again)
		}
		loop := record(t, r.Events, func(ev realtime.RenEvent) string { return fmt.Sprint(ev.Key, ev.Source == r.Tag()) })
		loop.want(t, "atrue bfalse ctrue")
	})
}
