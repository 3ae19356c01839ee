package doctor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
)

// client is the client's end of a stream.
type client struct {
	*httptest.ResponseRecorder
	deadlines, writes int
	onDeadline        func(n int)
}

func (c *client) SetWriteDeadline(time.Time) error {
	c.deadlines++
	c.onDeadline(c.deadlines)
	return nil
}

func (c *client) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

// A probe that is aborted while its deadline is put off is not written to: the write
// would have the new deadline.
func TestAbortedBeforeTheDeadlineWasPutOff(t *testing.T) {
	for _, aborted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			open := conns.New(conns.Limits{Connections: 1})
			a := &Answers{
				Conns: open, Heartbeat: time.Second, Serves: func(*http.Request) bool { return true },
				Headers: func(http.Header, *http.Request) {},
				Refuse:  func(_ http.ResponseWriter, err error) { t.Error(err) },
			}
			c := &client{ResponseRecorder: httptest.NewRecorder(), onDeadline: func(n int) {
				if n == 2 && aborted { // that of the first is httpwriter's
					ctx, cancel := context.WithDeadline(t.Context(), time.Now())
					defer cancel()
					go open.Drain(ctx, t.Context(), backend.Position{})
					synctest.Wait()
				}
			}}
			a.ServeStream(c, httptest.NewRequest("GET", "/ren", nil).WithContext(t.Context()))
			if want := map[bool]int{false: 2, true: 0}[aborted]; c.writes != want {
				t.Errorf("aborted %v: %d writes, want %d", aborted, c.writes, want)
			}
		})
	}
}
