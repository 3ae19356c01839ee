package natsbackend

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batch asks for messages directly, which any replica of the stream may answer, and
// passes them to f in order. It returns how many more there are. f may get some, and
// then others again, if an answer breaks off.
func (b *Backend) batch(ctx context.Context, stream string, request map[string]any, f func(m *nats.Msg, seq uint64, at time.Time) error) (pending uint64, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	got := false
	err = b.try(ctx, func(ctx context.Context) error {
		if got {
			pending = 1 // at least: the caller asks for the rest
			return nil
		}
		pending, err = b.batchOnce(ctx, stream, body, func(m *nats.Msg, seq uint64, at time.Time) error {
			got = true
			return f(m, seq, at)
		})
		return err
	})
	return pending, err
}

// noMessages is a status of a direct get: there are none, or no more.
const (
	noMessages   = "404"
	endOfBatch   = "204"
	statusHeader = "Status"
)

func (b *Backend) batchOnce(ctx context.Context, stream string, body []byte, f func(*nats.Msg, uint64, time.Time) error) (pending uint64, err error) {
	inbox := b.nc.NewInbox()
	messages := make(chan *nats.Msg, listMax+1)
	sub, err := b.nc.ChanSubscribe(inbox, messages)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails where the connection has ended
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return 0, err
	}
	for {
		select {
		case m := <-messages:
			switch status := m.Header.Get(statusHeader); status {
			case "":
				seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("natsbackend: a message has the sequence %q", m.Header.Get(jetstream.SequenceHeader))
				}
				at, _ := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
				if err := f(m, seq, at); err != nil {
					return 0, err
				}
			case endOfBatch:
				pending, _ = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
				return pending, nil
			case noMessages:
				return 0, nil
			default:
				return 0, fmt.Errorf("natsbackend: direct get: status %s", status)
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// leaderGet asks the leader of a stream for a message: nil if there is none.
func (b *Backend) leaderGet(ctx context.Context, stream string, request map[string]any) (found *stored, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	err = b.try(ctx, func(ctx context.Context) error {
		m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
		if err != nil {
			return err
		}
		var answer struct {
			Message *stored             `json:"message"`
			Error   *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return err
		}
		found = answer.Message
		if answer.Error != nil && answer.Error.ErrorCode != noMessage {
			return answer.Error
		}
		return nil
	})
	if err == nil && found != nil {
		b.learn(found.header())
	}
	return found, err
}
