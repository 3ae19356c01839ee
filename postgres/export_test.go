package postgres

import "context"

// Occupied returns what the source says if a process of the server has used its slot for
// some time.
func (s *Source) Occupied(ctx context.Context, pid int) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	o := occupant{source: s, catalog: c, pid: pid, looks: strangerAfter}
	return o.look(ctx, slotState{there: true, active: true, confirmed: 1, pid: pid})
}
