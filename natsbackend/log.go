package natsbackend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// causeHeader has the revision of the change that a record came with.
const causeHeader = "Realtime-Cause"

// Append implements [backend.Log].
func (b *Backend) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	return b.append(ctx, e, 0)
}

func (b *Backend) append(ctx context.Context, e backend.Entry, cause backend.Revision) (backend.Position, error) {
	if len(e.Data) > backend.MaxData {
		return backend.Position{}, backend.ErrTooLarge
	}
	m := &nats.Msg{Subject: b.logSubject(), Data: e.Data, Header: nats.Header{}}
	if e.ID != "" {
		m.Header.Set(jetstream.MsgIDHeader, encode(e.ID)) // a header has no line breaks
	}
	if cause != 0 {
		m.Header.Set(causeHeader, strconv.FormatUint(uint64(cause), 10))
	}
	for {
		epoch, last := b.epoch.Load(), b.last.Load()
		if cause != 0 && uint64(cause)>>seqBits != epoch>>epochUnit {
			return backend.Position{}, fmt.Errorf("natsbackend: change %d is of an earlier epoch", cause)
		}
		ack, err := b.publishOnce(ctx, epoch, m)
		switch {
		case errors.Is(err, errEpoch):
			continue
		case err != nil:
			return backend.Position{}, err
		case !ack.Duplicate && last != nil && last.Pos.Epoch == epoch && ack.Sequence <= last.Pos.Seq:
			// This place in the log was read before: the engine has lost its tail.
			if err := b.raise(ctx, epoch); err != nil {
				return backend.Position{}, fmt.Errorf("%w: %w", backend.ErrMaybeStored, err)
			}
			epoch = b.epoch.Load()
		}
		return backend.Position{Epoch: epoch, Seq: ack.Sequence}, nil
	}
}

// publishOnce is publish, again while the first message with this id, of whichever
// node, is not committed yet.
func (b *Backend) publishOnce(ctx context.Context, epoch uint64, m *nats.Msg) (*jetstream.PubAck, error) {
	began := time.Now()
	for {
		ack, err := b.publish(ctx, epoch, m)
		var refused *jetstream.APIError
		if !errors.As(err, &refused) || refused.ErrorCode != idInProcess || time.Since(began) > changeTime {
			return ack, err
		}
		if b.life.Pause(ctx, retryAfter) != nil {
			return nil, err
		}
	}
}

// record returns the record of a message. Another program may have sent it: what its
// headers do not say is not there, and who reads the data finds that they are malformed. An
// error would end the log at it.
func (b *Backend) record(h nats.Header, data []byte, seq uint64, at time.Time) (r backend.Record) {
	b.learn(h)
	r.Pos = backend.Position{Epoch: b.epoch.Load(), Seq: seq}
	if r.Data, r.Time = data, at; r.Data == nil {
		r.Data = []byte{}
	}
	if id, err := decode(h.Get(jetstream.MsgIDHeader)); err == nil {
		r.ID = id
	}
	if n, err := strconv.ParseUint(h.Get(causeHeader), 10, 64); err == nil {
		r.Cause = backend.Revision(n)
	}
	return r
}

const (
	// pageMax is how many records are read at once, and pageBytes how many bytes of them, but
	// one record at least.
	pageMax   = 512
	pageBytes = 4 << 20
	// pullBytes is how many bytes of records Follow asks for at once. The largest record must
	// fit, and the server cuts a connection for which it has more than its max_pending.
	pullBytes = 8 << 20
)

// Read implements [backend.Log]. The leader says where the log begins and ends; any
// replica may have the records, and is asked again while it lags.
func (b *Backend) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return backend.Page{}, err
	}
	defer done()
	for {
		page, err := b.read(ctx, after, limit)
		if err != nil || page.Head.Epoch == b.epoch.Load() { // else a record told of another one
			return page, err
		}
	}
}

func (b *Backend) read(ctx context.Context, after backend.Position, limit int) (page backend.Page, err error) {
	state, err := b.state(ctx, b.logStream())
	if err != nil {
		return page, err
	}
	epoch := b.epoch.Load()
	page.Head = backend.Position{Epoch: epoch, Seq: state.LastSeq}
	page.First = backend.Position{Epoch: epoch, Seq: max(state.FirstSeq, 1)}
	if state.Msgs == 0 {
		page.First = page.Head.Next()
	}
	from := page.First.Seq
	switch {
	case limit <= 0, after.Compare(page.Head) >= 0:
		return page, nil
	case after.Epoch == epoch:
		from = max(from, after.Seq+1)
	}
	return b.fill(ctx, page, from, min(state.LastSeq, from+uint64(min(limit, pageMax))-1))
}

// fill reads the records from one sequence number to another into a page.
func (b *Backend) fill(ctx context.Context, page backend.Page, from, to uint64) (backend.Page, error) {
	for next := from; next <= to; {
		var records []backend.Record
		request := map[string]any{"seq": next, "batch": to - next + 1, "max_bytes": pageBytes}
		_, err := b.batch(ctx, b.logStream(), request, func(m *nats.Msg, seq uint64, at time.Time) error {
			if seq > to {
				return nil
			}
			records = append(records, b.record(m.Header, m.Data, seq, at))
			return nil
		})
		if err != nil {
			return page, err
		}
		for _, r := range records {
			if r.Pos.Seq != next { // evicted meanwhile: what is left is without a gap
				page.Records = nil
				page.First.Seq = r.Pos.Seq
			}
			page.Records = append(page.Records, r)
			next = r.Pos.Seq + 1
		}
		if len(page.Records) > 0 && len(records) > 0 {
			return page, nil
		}
		select { // the replica lags
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return page, ctx.Err()
		}
	}
	return page, nil
}

// auditEvery is how often an idle follower asks whether the log is still the same.
const (
	auditEvery = 5 * time.Second
	// beatEvery is how often the server says that a consumer is there: one that went
	// with its server is noticed after two of them.
	beatEvery = time.Second
)

// Follow implements [backend.Log]. It reads through a consumer that has no state
// worth keeping: after whatever goes wrong there is another one, which begins with
// the last record that was passed on, so that it can be compared.
func (b *Backend) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	f := &follower{Backend: b, last: backend.Record{Pos: after}, sink: sink}
	for {
		epoch := b.epoch.Load()
		_, err := f.still(ctx)
		if err == nil {
			err = f.consume(ctx)
		} else if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = f.restore(ctx, epoch)
		}
		if lost := (*backend.LostError)(nil); errors.As(err, &lost) {
			return lost
		}
		if err := b.life.Pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}

// follower is one call of Follow.
type follower struct {
	*Backend
	last backend.Record // that was passed on; with Data nil only its position is known
	sink func([]backend.Record)
}

// still checks that the log can be followed from the last record, gives the zero
// position the epoch of the log, and returns where the log ends.
func (f *follower) still(ctx context.Context) (head backend.Position, err error) {
	if err := f.refresh(ctx); err != nil {
		return head, err
	}
	page, err := f.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return head, err
	}
	if f.last.Pos == (backend.Position{}) && page.First.Seq == 1 {
		f.last.Pos.Epoch = page.Head.Epoch
	}
	switch {
	case page.Head.Epoch != f.last.Pos.Epoch, page.First.Compare(f.last.Pos.Next()) > 0:
		return head, &backend.LostError{Next: page.Head}
	case page.Head.Seq < f.last.Pos.Seq && f.last.Data == nil: // from the future: nothing is lost
		return head, &backend.LostError{Next: page.Head}
	case page.Head.Seq < f.last.Pos.Seq:
		return head, f.tailLost(ctx)
	}
	return page.Head, nil
}

// tailLost agrees on a greater epoch.
func (f *follower) tailLost(ctx context.Context) error {
	if err := f.raise(ctx, f.last.Pos.Epoch); err != nil {
		return err
	}
	page, err := f.Read(ctx, backend.Position{}, 0)
	if err != nil {
		return err
	}
	return &backend.LostError{Next: page.Head}
}

// consume passes on records until something goes wrong.
func (f *follower) consume(ctx context.Context) error {
	compare := f.last.Data != nil
	start := f.last.Pos.Seq + 1
	if compare {
		start--
	}
	ctx, stop := f.connected(ctx)
	defer stop()
	making, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	c, err := f.js.CreateConsumer(making, f.logStream(), jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(start, 1),
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	defer f.forget(c.CachedInfo().Name)
	messages, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(pageMax, pullBytes), jetstream.PullHeartbeat(beatEvery), jetstream.PullExpiry(2*auditEvery))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		waiting, cancel := context.WithTimeout(ctx, auditEvery)
		m, err := messages.Next(jetstream.NextContext(waiting))
		idle := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case idle:
			head, err := f.still(ctx)
			if err == nil && head != f.last.Pos {
				err = f.readBack(ctx, head)
			}
			if err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if err := f.take(ctx, m, &compare); err != nil {
			return err
		}
	}
}

// connected returns a context that ends when there is another connection: the server
// has perhaps forgotten the consumer, and would not say so for some time.
func (f *follower) connected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	again := f.nc.StatusChanged(nats.CONNECTED)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-again:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		watching.Wait()
		f.nc.RemoveStatusListener(again)
	}
}

// forget deletes a consumer; one that cannot be deleted ends by itself.
func (f *follower) forget(consumer string) {
	ctx, cancel := context.WithTimeout(f.life.Context(), tryTime)
	defer cancel()
	_ = f.js.DeleteConsumer(ctx, f.logStream(), consumer)
}

var (
	errGap     = errors.New("natsbackend: records are missing")
	errStalled = errors.New("natsbackend: a consumer gives nothing of what there is")
)

// readBack passes on what the log has up to head, which the consumer does not give: it
// reads from a replica that lags, or has lost touch, and says nothing. Another consumer
// then goes on, perhaps at another replica.
func (f *follower) readBack(ctx context.Context, head backend.Position) error {
	for f.last.Pos.Compare(head) < 0 {
		page, err := f.Read(ctx, f.last.Pos, pageMax)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if err := f.pass(r); err != nil {
				return err
			}
		}
	}
	return errStalled
}

// take passes a record on. The first one of a consumer must be the last one of the
// consumer before, if compare is set.
func (f *follower) take(ctx context.Context, m jetstream.Msg, compare *bool) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	r := f.record(m.Headers(), m.Data(), meta.Sequence.Stream, meta.Timestamp)
	if *compare {
		*compare = false
		switch {
		case r.Pos.Seq == f.last.Pos.Seq && !same(&r, &f.last):
			return f.tailLost(ctx)
		case r.Pos.Seq == f.last.Pos.Seq:
			return nil
		}
		// It was evicted meanwhile: the next record must follow it.
	}
	return f.pass(r)
}

// pass passes on a record, which must be the next one.
func (f *follower) pass(r backend.Record) error {
	switch {
	case r.Pos.Epoch != f.last.Pos.Epoch:
		// The record was perhaps received before the engine lost it, and has waited here
		// since: still says where the log goes on.
		return errEpoch
	case r.Pos.Seq != f.last.Pos.Seq+1:
		return errGap
	}
	f.last = r
	f.Backend.last.Store(&r)
	f.sink([]backend.Record{r})
	return nil
}
