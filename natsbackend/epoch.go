package natsbackend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// epochHeader has the epoch that the writer of a message knew. So a node which did
// not notice itself that the engine lost its tail knows it when it reads the first
// message of another one that did.
const epochHeader = "Realtime-Epoch"

// learn takes over the epoch of a message that was read, if it is a greater one.
func (b *Backend) learn(h nats.Header) {
	epoch, err := strconv.ParseUint(h.Get(epochHeader), 10, 64)
	if err == nil {
		b.raised(epoch)
	}
}

// refresh learns of an epoch that another node has raised.
func (b *Backend) refresh(ctx context.Context) error {
	it, err := b.plain.Get(ctx, backend.EpochKey)
	if err != nil || it.Revision == 0 {
		return err
	}
	now, err := backend.DecodeEpoch(it.Value)
	if err == nil {
		b.raised(now)
	}
	return err
}

// raise agrees with the others on a greater epoch than the one in which the tail of the
// log was lost. Revisions must grow with it, so it is greater by a unit of theirs. It
// does not verify what it writes on, since verify calls it.
func (b *Backend) raise(ctx context.Context, lost uint64) error {
	epoch, err := backend.RaiseEpoch(ctx, &store{b, b.send}, lost|(1<<epochUnit-1))
	if err == nil {
		b.raised(epoch)
	}
	return err
}

func (b *Backend) raised(epoch uint64) {
	for {
		known := b.epoch.Load()
		if epoch <= known || b.epoch.CompareAndSwap(known, epoch) {
			return
		}
	}
}

// errEpoch: nothing was sent, since the epoch is another one by now.
var errEpoch = errors.New("natsbackend: the epoch has ended")

// verify finds out, after each reconnect and before anything is written, whether the
// log still is what this node has read of it. Until then nobody may have noticed a
// loss, and what is written could belong to something that is lost.
func (b *Backend) verify(ctx context.Context) error {
	for !b.nc.IsConnected() { // what is sent on the next connection is sent after a look
		if err := b.life.Pause(ctx, retryAfter); err != nil {
			return fmt.Errorf("natsbackend: not connected: %w", err)
		}
	}
	connection := b.nc.Stats().Reconnects + 1
	if b.verified.Load() == connection {
		return nil
	}
	select {
	case b.verifying <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.verifying }()
	if b.verified.Load() == connection {
		return nil
	}
	epoch := b.epoch.Load()
	intact, err := b.intact(ctx, epoch)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = b.restore(ctx, epoch)
	} else if err == nil && !intact {
		err = b.raise(ctx, epoch)
	}
	if err == nil {
		b.verified.Store(connection)
	}
	return err
}

// intact reports whether the log has the record of an epoch that Follow passed on last.
func (b *Backend) intact(ctx context.Context, epoch uint64) (bool, error) {
	last := b.last.Load()
	if last == nil || last.Pos.Epoch != epoch {
		return true, nil
	}
	state, err := b.state(ctx, b.logStream())
	switch {
	case err != nil:
		return false, err
	case state.LastSeq < last.Pos.Seq:
		return false, nil
	case state.FirstSeq > last.Pos.Seq: // evicted, it cannot be compared
		return true, nil
	}
	m, err := b.leaderGet(ctx, b.logStream(), map[string]any{"seq": last.Pos.Seq})
	if err != nil || m == nil { // evicted meanwhile
		return m == nil, err
	}
	r := b.record(m.header(), m.Data, m.Seq, m.Time)
	return same(&r, last), nil
}

// same reports whether two records of one place are the same.
func same(a, b *backend.Record) bool {
	return a.ID == b.ID && string(a.Data) == string(b.Data) && a.Time.Equal(b.Time)
}

// restore creates streams that are gone, as after a restart of servers that keep them
// in memory, or have lost their disks. The epoch is the one in which they were there.
func (b *Backend) restore(ctx context.Context, epoch uint64) error {
	for _, c := range b.wanted {
		if err := b.place(ctx, c); err != nil {
			return err
		}
	}
	return b.raise(ctx, epoch)
}

// stored is a message as the leader of a stream returns it.
type stored struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

func (m *stored) header() nats.Header {
	h, _ := nats.DecodeHeadersMsg(m.Header) // the server has checked them
	return h
}
