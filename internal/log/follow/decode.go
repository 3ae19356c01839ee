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
// and the decoder drops one whose revision is not greater than the last. The same is true
// of the messages that tell the beginning and the end of a growing message.
type decoder struct {
	payloads backend.Decoder
	batch    batch // of what was decoded

	causes map[recordID]backend.Revision
	order  queue.Queue[recordID] // of causes, the oldest first
	warned bool
}

// recordID names a record of the store whose changes are events: that of a member, or of a
// growing message.
type recordID struct{ resource, channel, name string }

// changed returns which record an event is of.
func changed(ev *backend.Event) recordID {
	if ev.Resource == backend.Presence {
		return recordID{ev.Resource, ev.Channel, ev.User}
	}
	return recordID{ev.Resource, ev.Channel, ev.Key}
}

func (d *decoder) record(rec *backend.Record, late bool, log *slog.Logger) *backend.Logged {
	p, err := d.payloads.Decode(rec.Data)
	if err != nil {
		if !d.warned {
			d.warned = true
			log.Error("realtime: the log has a record that this release cannot read; such records are not shown",
				"position", rec.Pos, "error", err)
		}
		return d.batch.add(backend.Logged{Pos: rec.Pos})
	}
	if late && rec.Cause != 0 && d.stale(changed(&p.Event), rec.Cause) {
		log.Warn("realtime: an event of a member, or of a growing message, came too late, and is not shown",
			"channel", p.Event.Channel, "type", p.Event.Type, "position", rec.Pos)
		return d.batch.add(backend.Logged{Pos: rec.Pos})
	}
	return d.batch.add(backend.Logged{Pos: rec.Pos, Event: p.Event, Depth: p.Depth, Trace: p.Trace})
}

func (d *decoder) stale(m recordID, cause backend.Revision) bool {
	last, known := d.causes[m]
	if cause <= last { // which is 0 if it is not known
		return true
	}
	if !known {
		if d.causes == nil {
			d.causes = make(map[recordID]backend.Revision)
		}
		if d.order.Len() == maxMembers {
			delete(d.causes, d.order.Pop())
		}
		d.order.Push(m)
	}
	d.causes[m] = cause
	return false
}
