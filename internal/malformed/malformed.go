// Package malformed reports records of a store that this release cannot read, because
// another program or a newer release wrote them. Such a record concerns nobody else, so
// who reads the records of others reports it and goes on.
package malformed

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// Records remembers which records were reported. The zero Records is ready for use. Its
// methods may be called concurrently, and do not block.
type Records struct {
	mu       sync.Mutex
	reported map[backend.Key]struct{}
}

// maxReported bounds the records that are reported.
const maxReported = 100

// Report logs once why the record of k cannot be read. After 100 records it reports no
// others.
func (r *Records) Report(log *slog.Logger, k backend.Key, why error) {
	r.mu.Lock()
	_, known := r.reported[k]
	full := len(r.reported) == maxReported
	if !known && !full {
		if r.reported == nil {
			r.reported = make(map[backend.Key]struct{})
		}
		r.reported[k] = struct{}{}
	}
	r.mu.Unlock()
	if !known && !full {
		log.Error("realtime: a record of the store cannot be read, and is left alone; another program or a newer release has written it",
			"record", fmt.Sprintf("%s %q %q", k.Kind, k.Group, k.Name), "error", why)
	}
}
