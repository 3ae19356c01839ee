package realtime

import (
	"context"
	"fmt"
	"net/http"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/match"
)

// NewMemory returns the default backend.
func NewMemory() backend.Backend { return memory.New(memory.Limits{}) }

// Index is an index of handlers.
type Index struct{ match.Index[int] }

// NewIndex returns an index of n patterns: a third exact ones, prefixes and globs.
func NewIndex(n int) (*Index, error) {
	var x Index
	for i := range n {
		key := fmt.Sprintf("list:%d", i) + []string{"", ":*", ":item:*:done"}[i%3]
		sel, err := EventMatch{Resource: "kv", Type: "kv.*", Namespace: "demo", Key: key}.compile()
		if err != nil {
			return nil, err
		}
		x.Add(match.Rule{Selector: sel}, i)
	}
	return &x, nil
}

// Find returns how many patterns match.
func (x *Index) Find(ev RenEvent) int { return len(x.Index.Find((*backend.Event)(&ev))) }

// DiagnoseOver is Diagnose over a transport.
func DiagnoseOver(ctx context.Context, rt *Realtime, baseURL string, over http.RoundTripper) (*Diagnosis, error) {
	return rt.diagnose(ctx, baseURL, over)
}

// Waiting returns how many events wait for handlers of this process.
func Waiting(rt *Realtime) int { return rt.Stats().Groups["$process"].Pending }

// Remembered returns of how many users, and of how many sessions, rt keeps something
// in memory.
func (rt *Realtime) Remembered() (users, sessions int) {
	return rt.conns.Users(), rt.presence.inner.Sessions()
}

// Handshakes returns how many clients rt is letting in.
func Handshakes(rt *Realtime) int { return rt.conns.Handshakes() }

// GroupProgress reads what was committed for a group.
var GroupProgress = handle.Read

// Engine returns the backend as rt calls it.
func Engine(rt *Realtime) backend.Backend { return rt.backend }
