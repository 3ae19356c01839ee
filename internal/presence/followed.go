package presence

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// A node records which channels are followed on it, so that the others can list them.
// The records of a node are one group: its name. Each has as many names as fit, with
// line breaks between them, which no channel has in its name.
const (
	followedKind = "followed"

	// followedMax bounds a record.
	followedMax = backend.MaxValue - 4<<10
	// followedRecords bounds the records of a node: room for 15,000 of the longest
	// names, and for 100,000 as they are common.
	followedRecords = 64
	// followedEvery is how often a node looks whether there is something to record. It
	// waits so long again for each record that it wrote, so what it writes is bounded
	// too: 60 KiB a second.
	followedEvery = time.Second
)

// followed is what a node has recorded. It is of the goroutine that records it.
type followed struct {
	again   bool   // the store was put back: read what is there; guarded by Presence.mu
	node    string // under which name
	records []followedRecord
	cut     bool // there were more channels than there is room for, and it was logged
}

type followedRecord struct {
	names    []byte
	revision backend.Revision
}

// recordFollowed records which channels are followed here, where that has changed, and
// returns how long to wait before the next look.
func (p *Presence) recordFollowed(ctx context.Context) (time.Duration, error) {
	if err := p.knowRecorded(ctx); err != nil {
		return followedEvery, err
	}
	values, cut := pack(p.followedHere())
	if cut && !p.followed.cut {
		p.log.Warn("realtime: more channels are followed here than other nodes can be told; Channels lists not all of them there")
	}
	p.followed.cut = cut
	wrote := 0
	for i := range max(len(values), len(p.followed.records)) {
		changed, err := p.recordNames(ctx, i, values)
		if err != nil {
			return followedEvery, err
		}
		if changed {
			wrote++
		}
	}
	return time.Duration(1+wrote) * followedEvery, nil
}

// knowRecorded reads what is recorded under the name of this node, if that is another
// one than before, or the store was put back.
func (p *Presence) knowRecorded(ctx context.Context) error {
	p.mu.Lock()
	node, again := p.node, p.followed.again
	p.followed.again = false
	p.mu.Unlock()
	if p.followed.node != node {
		p.followed.node, p.followed.records = node, nil // a name is new
	}
	if !again {
		return nil
	}
	records := make([]followedRecord, 0, followedRecords)
	for it, err := range p.store.List(ctx, followedKind, node) {
		if err != nil {
			p.mu.Lock()
			p.followed.again = true
			p.mu.Unlock()
			return err
		}
		i, err := strconv.ParseUint(it.Name, 10, 8)
		if err != nil || i >= followedRecords {
			continue // not of this release
		}
		for uint64(len(records)) <= i {
			records = append(records, followedRecord{})
		}
		records[i] = followedRecord{it.Value, it.Revision}
	}
	p.followed.node, p.followed.records = node, records
	return nil
}

// recordNames writes the i-th record as it should be, if it is not.
func (p *Presence) recordNames(ctx context.Context, i int, values [][]byte) (changed bool, err error) {
	records := &p.followed.records
	if i == len(*records) {
		*records = append(*records, followedRecord{})
	}
	rec := &(*records)[i]
	key := backend.Key{Kind: followedKind, Group: p.followed.node, Name: strconv.Itoa(i)}
	var names []byte // nil: there must be no record
	if i < len(values) {
		names = values[i]
	}
	if bytes.Equal(rec.names, names) {
		return false, nil
	}
	var rev backend.Revision
	if names == nil {
		err = p.store.Delete(ctx, key, rec.revision, nil)
	} else {
		rev, err = p.store.Put(ctx, backend.Write{Key: key, Value: names, If: rec.revision})
	}
	if errors.Is(err, backend.ErrConflict) || errors.Is(err, backend.ErrMaybeStored) {
		// Only this node writes it. Survivors may delete it if they take the node for
		// dead.
		it, err := p.store.Get(ctx, key)
		if err != nil {
			return false, err
		}
		*rec = followedRecord{it.Value, it.Revision}
		return true, nil // the next look goes on from there
	}
	if err != nil {
		return false, err
	}
	*rec = followedRecord{names, rev}
	return true, nil
}

// pack puts names into records, in order; cut: not all of them, for want of room.
func pack(names []string) (values [][]byte, cut bool) {
	slices.Sort(names)
	for _, name := range names {
		last := len(values) - 1
		switch {
		case last >= 0 && len(values[last])+1+len(name) <= followedMax:
			values[last] = append(append(values[last], '\n'), name...)
		case len(values) == followedRecords:
			return values, true
		default:
			values = append(values, []byte(name))
		}
	}
	return values, false
}

var errFollowed = errors.New("presence: malformed record of followed channels")

// unpack is the inverse of [pack], of one record.
func unpack(value []byte) (names []string, err error) {
	names = strings.Split(string(value), "\n")
	if slices.ContainsFunc(names, func(name string) bool { return !wire.ValidChannel(name) }) {
		return nil, errFollowed
	}
	return names, nil
}

// Followed lists the channels that are followed on other nodes, as they recorded it a
// second or some ago; those of a node that has died until it is given up. Some may be
// listed more than once.
func (p *Presence) Followed(ctx context.Context) (channels []string, err error) {
	nodes, err := p.Nodes(ctx)
	if len(nodes) < 2 {
		return nil, err // there are no others, or they cannot be listed
	}
	for it, err := range p.store.List(ctx, followedKind, "") {
		if err != nil {
			return nil, err
		}
		if !slices.Contains(nodes, it.Group) || p.mine(it.Group) {
			continue
		}
		names, err := unpack(it.Value)
		if err != nil {
			p.malformed.Report(p.log, it.Key, err)
			continue
		}
		channels = append(channels, names...)
	}
	return channels, nil
}

// reapFollowed deletes what nodes recorded that are gone.
func (p *Presence) reapFollowed(ctx context.Context, isGone func(node string) (bool, error)) error {
	for it, err := range p.store.List(ctx, followedKind, "") {
		if err != nil {
			return err
		}
		if it.Group == p.nodeName() {
			continue
		}
		gone, err := isGone(it.Group)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		err = p.store.Delete(ctx, it.Key, it.Revision, nil)
		if err != nil && !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {
			return err
		}
	}
	return nil
}
