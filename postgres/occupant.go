package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// waitsForSlot logs why a call takes long.
func (s *Source) waitsForSlot() {
	s.log.Warn("realtime: the replication slot is being made; the server waits until all transactions have ended that are under way")
}

// strangerAfter is how many looks at the slot in a row find it in use by the same
// stranger before that is told. A Source that has just begun to follow it has perhaps not stored
// that yet.
const strangerAfter = 4

// occupant finds out whether who uses the slot is a Source.
type occupant struct {
	source  *Source
	catalog *catalog
	pid     int
	looks   int
}

// look is to be called with each state of the slot in which it is active. It returns an
// error that names the program that uses the slot if that is no Source: nothing can be
// followed until it ends.
func (o *occupant) look(ctx context.Context, slot slotState) error {
	if slot.pid != o.pid {
		o.pid, o.looks = slot.pid, 0
	}
	if o.looks++; o.looks < strangerAfter {
		return nil
	}
	if slot.confirmed == 0 {
		if o.looks == strangerAfter {
			o.source.waitsForSlot()
		}
		return nil
	}
	p, err := o.source.progress(ctx)
	if err != nil || p.PID == slot.pid || p.PID == unsaid {
		return err
	}
	var program, role string
	err = o.catalog.ask(ctx, []any{&program, &role}, `select coalesce(application_name, ''), coalesce(usename, '') from pg_stat_activity where pid = $1`, slot.pid)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // it has ended
	}
	if err != nil {
		return fmt.Errorf("postgres: ask who uses the slot: %w", err)
	}
	name := o.source.options.Slot
	return fmt.Errorf("postgres: the replication slot %s is in use by another program, and only one can use it: application %.70q, role %.70q, process %d of the server; "+
		"stop that program, or give this source another name (SourceOptions.Slot)", name, program, role, slot.pid)
}
