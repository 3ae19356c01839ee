package handle

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/fields"
)

// record is the record of a group in the store.
type record struct {
	origin string // the node that made the record without having known one; "": not written
	holder string // "": none
	floor  backend.Position
	done   map[uint64]struct{} // after floor
	failed map[uint64]int      // after floor
}

// maxDone bounds the positions after the floor in a record: at up to 4 bytes each
// they stay well below the size of a value.
const maxDone = 4096

func (r *record) progress() Progress {
	return Progress{Floor: r.floor, Done: slices.Sorted(maps.Keys(r.done)), Failed: maps.Clone(r.failed)}
}

// add returns the record with more progress.
func (r record) add(p Progress) record {
	if p.Floor.Epoch < r.floor.Epoch {
		return r
	}
	passed := func(seq uint64) bool { return seq <= p.Floor.Seq }
	r.done, r.failed = maps.Clone(r.done), maps.Clone(r.failed)
	if r.done == nil {
		r.done, r.failed = make(map[uint64]struct{}), make(map[uint64]int)
	}
	if p.Floor.Epoch > r.floor.Epoch {
		clear(r.done)
		clear(r.failed)
	}
	if p.Floor.Compare(r.floor) > 0 {
		r.floor = p.Floor
		maps.DeleteFunc(r.done, func(seq uint64, _ struct{}) bool { return passed(seq) })
		maps.DeleteFunc(r.failed, func(seq uint64, _ int) bool { return passed(seq) })
	}
	for _, seq := range p.Done {
		if seq > r.floor.Seq && len(r.done) < maxDone {
			r.done[seq] = struct{}{}
		}
		delete(r.failed, seq)
	}
	for seq, times := range p.Failed {
		if _, done := r.done[seq]; !done && seq > r.floor.Seq && len(r.failed) < maxDone {
			r.failed[seq] = times
		}
	}
	return r
}

// recordVersion is the first byte of a record. After it come, as unsigned varints
// unless said otherwise: the length of the holder's name, the name (bytes), epoch and
// seq of the floor, the number of events done, each as its distance from the one
// before, the number of events that failed, each with its distance and count, and, if
// there is an origin, its length and itself (bytes).
const recordVersion = 1

func (r *record) encode() []byte {
	b := fields.AppendText([]byte{recordVersion}, r.holder)
	b = binary.AppendUvarint(b, r.floor.Epoch)
	b = binary.AppendUvarint(b, r.floor.Seq)
	b = binary.AppendUvarint(b, uint64(len(r.done)))
	last := r.floor.Seq
	for _, seq := range slices.Sorted(maps.Keys(r.done)) {
		b = binary.AppendUvarint(b, seq-last)
		last = seq
	}
	b = binary.AppendUvarint(b, uint64(len(r.failed)))
	last = r.floor.Seq
	for _, seq := range slices.Sorted(maps.Keys(r.failed)) {
		b = binary.AppendUvarint(b, seq-last)
		b = binary.AppendUvarint(b, uint64(r.failed[seq]))
		last = seq
	}
	if r.origin != "" {
		b = fields.AppendText(b, r.origin)
	}
	return b
}

var errRecord = errors.New("handle: malformed record of a group")

// decode decodes a record. An item without a revision is an empty record.
func decode(it backend.Item) (r record, err error) {
	r.done, r.failed = make(map[uint64]struct{}), make(map[uint64]int)
	if it.Revision == 0 {
		return r, nil
	}
	if len(it.Value) == 0 || it.Value[0] != recordVersion {
		return r, errRecord
	}
	d := fields.Reader{Rest: it.Value[1:]}
	r.holder = string(d.Text())
	r.floor = backend.Position{Epoch: d.Number(), Seq: d.Number()}
	last := r.floor.Seq
	for range min(d.Number(), maxDone) {
		last += d.Number()
		r.done[last] = struct{}{}
	}
	last = r.floor.Seq
	for range min(d.Number(), maxDone) {
		last += d.Number()
		r.failed[last] = int(d.Number())
	}
	if len(d.Rest) > 0 {
		r.origin = string(d.Text())
	}
	if d.Bad {
		return record{}, errRecord
	}
	return r, nil
}
