// Package malformed reports records of a store that this release cannot read, because
// another program or a newer release wrote them. Such a record concerns nobody else, so
// who reads the records of others reports it and goes on.
package malformed

import (
	"fmt"
	"log/slog"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/said"
)

// Records remembers which records were reported. The zero Records is ready for use. Its
// methods may be called concurrently, and do not block.
type Records struct{ reported said.Once }

// Report logs once why the record of k cannot be read. After [said.Most] records it reports
// no others.
func (r *Records) Report(log *slog.Logger, k backend.Key, why error) {
	if record := fmt.Sprintf("%s %q %q", k.Kind, k.Group, k.Name); r.reported.First(record) {
		log.Error("realtime: a record of the store cannot be read, and is left alone; another program or a newer release has written it",
			"record", record, "error", why)
	}
}
