package redisbackend

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/redis/rueidis"
)

const (
	// blockTime is how long a read waits for records in Redis.
	blockTime = 5 * time.Second
	// pageMost and pageBytes bound what Read reads at once, the latter with a few records
	// more.
	pageMost, pageBytes = 512, 4 << 20
	// followMost is how many records Follow reads at once: XREAD has no bound on bytes.
	followMost = 64
	// retryAfter is how long Follow waits after an error.
	retryAfter = 50 * time.Millisecond
)

func position(id string) (backend.Position, error) {
	epoch, seq, _ := strings.Cut(id, "-")
	var p backend.Position
	var err error
	if p.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		p.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return p, fmt.Errorf("redisbackend: %q is no position", id)
	}
	return p, nil
}

func streamID(p backend.Position) string {
	return strconv.FormatUint(p.Epoch, 10) + "-" + strconv.FormatUint(p.Seq, 10)
}

// Append implements [backend.Log].
func (b *Backend) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if len(e.Data) > backend.MaxData {
		return backend.Position{}, backend.ErrTooLarge
	}
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return backend.Position{}, err
	}
	defer done()
	id, err := appendScript.Exec(ctx, b.client, []string{b.key("log"), b.key("meta"), b.key("id", e.ID)},
		[]string{e.ID, rueidis.BinaryString(e.Data), milliseconds(idTime), b.events, b.seen()}).ToString()
	if err != nil {
		return backend.Position{}, b.outcome(err)
	}
	pos, err := position(id)
	b.see(pos)
	return pos, err
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Read implements [backend.Log]. A script reads, so the head is of the same moment.
func (b *Backend) Read(ctx context.Context, after backend.Position, limit int) (page backend.Page, err error) {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return page, err
	}
	defer done()
	answer, err := readScript.Exec(ctx, b.client, []string{b.key("log"), b.key("meta")},
		[]string{streamID(after), strconv.Itoa(min(max(limit, 0), pageMost)), strconv.Itoa(pageBytes), b.seen()}).ToArray()
	if err == nil && len(answer) != 3 {
		err = fmt.Errorf("the script returned %d values", len(answer))
	}
	if err != nil {
		return page, b.failed(err)
	}
	head, err := answer[0].ToString()
	if err != nil {
		return page, b.failed(err)
	}
	if page.Head, err = position(head); err != nil {
		return page, err
	}
	b.see(page.Head)
	page.First = page.Head.Next()
	if first, _ := answer[1].ToString(); first != "" {
		if page.First, err = position(first); err != nil {
			return page, err
		}
	}
	found, err := answer[2].AsXRange()
	if err != nil {
		return page, b.failed(err)
	}
	for _, x := range found {
		r, err := record(x)
		if err != nil {
			return page, err
		}
		page.Records = append(page.Records, r)
	}
	return page, nil
}

// record returns a record. Another program may have added it: what its fields do not say
// is zero, and who reads the data finds that they are malformed. An error would end the log
// at it.
func record(x rueidis.XRangeEntry) (r backend.Record, err error) {
	if r.Pos, err = position(x.ID); err != nil {
		return r, err
	}
	cause, _ := strconv.ParseUint(x.FieldValues["c"], 10, 64)
	milli, _ := strconv.ParseInt(x.FieldValues["t"], 10, 64)
	r.ID, r.Data = x.FieldValues["i"], []byte(x.FieldValues["d"])
	r.Cause, r.Time = backend.Revision(cause), time.UnixMilli(milli)
	return r, nil
}

// Follow implements [backend.Log]. A read that blocks has no gaps except those of
// trimming, and shows a new epoch in the positions themselves. It cannot show that a log
// was put back and has not been appended to since: Follow looks for that after each error
// and after each read without records.
func (b *Backend) Follow(ctx context.Context, after backend.Position, sink func([]backend.Record)) error {
	ctx, done, err := b.life.Call(ctx)
	if err != nil {
		return err
	}
	defer done()
	last := backend.Record{Pos: after}
	look := true
	for {
		if look {
			err = b.still(ctx, &last)
		}
		var records []backend.Record
		if err == nil {
			records, err = b.wait(ctx, last.Pos)
		}
		switch lost := err.(type) {
		case nil:
		case *backend.LostError:
			return lost
		default:
			if err := b.life.Pause(ctx, retryAfter); err != nil {
				return err
			}
			look, err = true, nil
			continue
		}
		look = len(records) == 0
		n := dense(last.Pos, records)
		if n > 0 {
			last = records[n-1]
			sink(records[:n:n])
		}
		if n < len(records) {
			return b.lost(ctx, last.Pos)
		}
	}
}

// dense returns how many records follow pos without a gap.
func dense(pos backend.Position, records []backend.Record) int {
	for i, r := range records {
		if r.Pos != pos.Next() {
			return i
		}
		pos = r.Pos
	}
	return len(records)
}

// wait returns the records after pos, as soon as there are some, or none after a
// while. It returns when ctx ends.
func (b *Backend) wait(ctx context.Context, pos backend.Position) ([]backend.Record, error) {
	// Where a context has a deadline, rueidis looks at that alone, and would wait on after
	// ctx was cancelled. So the bound is a timer: a connection that has gone silent never
	// answers, and rueidis sets no bound where a command blocks.
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	defer time.AfterFunc(b.blockTime+requestTime, cancel).Stop()
	cmd := b.client.B().Xread().Count(followMost).Block(b.blockTime.Milliseconds()).Streams().Key(b.key("log")).Id(streamID(pos)).Build()
	streams, err := b.client.Do(waiting, cmd).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []backend.Record
	for _, x := range streams[b.key("log")] {
		r, err := record(x)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// still checks that the log still has the last record that was passed on, the same
// one at the same place. Of a position alone it checks that it can be followed from,
// and gives the zero position the epoch of the log.
func (b *Backend) still(ctx context.Context, last *backend.Record) error {
	before := last.Pos
	if before.Seq > 0 {
		before.Seq--
	}
	page, err := b.Read(ctx, before, 1)
	if err != nil {
		return err
	}
	if last.Pos == (backend.Position{}) && page.First.Seq == 1 {
		last.Pos.Epoch = page.Head.Epoch
		return nil
	}
	switch {
	case page.Head.Epoch != last.Pos.Epoch, page.Head.Seq < last.Pos.Seq, page.First.Compare(last.Pos.Next()) > 0:
		return &backend.LostError{Next: page.Head}
	case last.Data == nil || page.First.Compare(last.Pos) > 0: // nothing to compare
		return nil
	case len(page.Records) == 0 || page.Records[0].Pos != last.Pos || page.Records[0].ID != last.ID || string(page.Records[0].Data) != string(last.Data):
		return &backend.LostError{Next: page.Head}
	}
	return nil
}

// lost returns the error for records after pos that are gone.
func (b *Backend) lost(ctx context.Context, pos backend.Position) error {
	for {
		page, err := b.Read(ctx, pos, 0)
		if err == nil {
			return &backend.LostError{Next: page.Head}
		}
		if err := b.life.Pause(ctx, retryAfter); err != nil {
			return err
		}
	}
}
