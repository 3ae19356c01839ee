package renstream

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/session"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// deaf has what streams need, and forgets it.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) SetWriteDeadline(time.Time) error { return nil }

// An idle connection does not pay for the burst that it had.
func TestIdleStreamReleasesItsBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ring.New(ring.Limits{Records: 1000, Bytes: 1 << 20, Age: time.Hour}, backend.Position{Epoch: 1})
		d := New(Node{Node: driver.Node{Ring: r, Policy: new(policy.Policy), Logger: slog.New(slog.DiscardHandler), WriteTimeout: time.Minute}})
		out, missing := httpwriter.New(deaf{httptest.NewRecorder()}, time.Now())
		if missing != nil {
			t.Fatal(missing)
		}
		s := &stream{Driver: d, ctx: t.Context(), session: session.NewStream(r, func() {}), w: out, sent: new(driver.Share)}
		s.session.Do(func() {
			see := s.view([]grant.Grant{{Resource: "realtime", Data: true}})
			s.session.Begin(nil, see, []ring.Topic{ring.Domain("realtime")}, session.Hello{Domains: []string{"realtime"}})
		})
		for range 2 {
			if err := s.deliver(); err != nil {
				t.Fatal(err)
			}
			for range uint64(500) {
				r.Put([]*backend.Logged{{Pos: r.Head().Next(), Event: backend.Event{
					Resource: "realtime", Type: "realtime.message", Channel: "room", Data: []byte(`"` + strings.Repeat("x", 20) + `"`), UnixMilli: time.Now().UnixMilli(),
				}}})
			}
		}
		if s.buf != nil {
			t.Error("an idle connection keeps a buffer")
		}
	})
}
