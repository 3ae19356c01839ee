package follow

import (
	"log/slog"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// maxMembers bounds the members whose newest event is remembered: see decoder.
const maxMembers = 1 << 14

// decoder turns records into events.
//
// The request of a member's event may hang for longer than the log remembers ids.
// The event then enters the log after a newer one of the same member, and would put a
// ghost into rosters. So each event of a member carries the revision of its change,
// and the decoder drops one whose revision is not greater than the last.
type decoder struct {
	causes map[memberID]backend.Revision
	order  queue.Queue[memberID] // of causes, the oldest first
	warned bool
}

type memberID struct{ channel, user string }

func (d *decoder) record(rec *backend.Record, late bool, log *slog.Logger) *backend.Logged {
	p, err := backend.DecodePayload(rec.Data)
	if err != nil {
		if !d.warned {
			d.warned = true
			log.Error("realtime: the log has a record that this release cannot read; such records are not shown",
				"position", rec.Pos, "error", err)
		}
		return &backend.Logged{Pos: rec.Pos}
	}
	if late && rec.Cause != 0 && p.Event.Resource == backend.Presence && d.stale(memberID{p.Event.Channel, p.Event.User}, rec.Cause) {
		log.Warn("realtime: an event of a member came too late, and is not shown",
			"channel", p.Event.Channel, "type", p.Event.Type, "position", rec.Pos)
		return &backend.Logged{Pos: rec.Pos}
	}
	return &backend.Logged{Pos: rec.Pos, Event: p.Event, Depth: p.Depth, Trace: p.Trace}
}

func (d *decoder) stale(m memberID, cause backend.Revision) bool {
	last, known := d.causes[m]
	if known && cause <= last {
		return true
	}
	if !known {
		if d.causes == nil {
			d.causes = make(map[memberID]backend.Revision)
		}
		if d.order.Len() == maxMembers {
			delete(d.causes, d.order.Pop())
		}
		d.order.Push(m)
	}
	d.causes[m] = cause
	return false
}
