package renstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Whatever a request for a stream asks, it is refused with a code and few words,
// or understood, and then what was understood is within its bounds.
func FuzzParseREN(f *testing.F) {
	f.Add("s=kv,db&lastEventId=1.2&cid=0123456789abcdef", "", "")
	f.Add("s=*", "hog38gu134.2r", "0123456789abcdef")
	f.Add("s=%zz;&s=a&s=b", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, query, lastEventID, client string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{}}
		r.Header.Set("Last-Event-ID", lastEventID)
		r.Header.Set(wire.ClientHeader, client)
		ask, refused := parse(r)
		if refused != nil {
			if refused.Code != "bad_request" && refused.Code != "too_many" || refused.Status != http.StatusBadRequest ||
				len(refused.Message) > 512 || strings.ContainsAny(refused.Message, "\r\n\x00") {
				t.Errorf("refused with %d %+v", refused.Status, refused.Error)
			}
			return
		}
		if len(ask.domains) > maxDomains || ask.client != "" && !wire.ValidClientID(ask.client) {
			t.Errorf("%+v is accepted", ask)
		}
		for _, name := range ask.domains {
			if !wire.ValidDomain(name) {
				t.Errorf("domain %q is accepted", name)
			}
		}
		if pos := wire.Since(ask.cursor); (pos == nil) != (ask.cursor == "") {
			t.Errorf("cursor %q is at %v", ask.cursor, pos)
		}
	})
}
