// Package natsbackend keeps the log and the store of a realtime deployment in NATS
// JetStream, server 2.12.3 or later.
//
//	b, err := natsbackend.New(ctx, natsbackend.Options{URL: "nats://nats:4222", Replicas: 3})
//	…
//	rt, err := realtime.New(policy, &realtime.Options{Backend: b})
//
// The log is one stream and the records are another one, with a subject for each
// record. Both are created if they are missing. Streams that exist with other
// settings are refused and never changed.
//
// # What nil from Publish means
//
// A majority of the replicas has the event. With three replicas it survives the crash
// of one server. A server that writes to disk does so every two minutes by default
// (sync_interval): a common power cut of all can lose the events since, which is
// told. With sync_interval: always none are lost.
//
// An engine that lost its tail, because a store directory was put back or all servers
// lost what they had not written, is recognised by the nodes that followed it: they
// agree on a greater epoch, and clients are reset.
package natsbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backend/onestep"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say where NATS is and what to keep there. Zero fields mean the defaults.
type Options struct {
	// URL lists the servers, separated by commas. Required.
	URL string

	// Connect are more options of the connection: credentials, TLS, a name. New adds
	// that it reconnects for ever, even if the server refuses its credentials for a time,
	// and that nothing is buffered while there is no connection.
	Connect []nats.Option

	// Name begins the names of streams and subjects: letters, digits, '-' and '_'.
	// Deployments that share an account need different ones. Default "realtime".
	Name string

	// Replicas is how many servers have each event: 1, 3 or 5. Default 1.
	Replicas int

	// Memory keeps everything in the memory of the servers. Default: on disk.
	Memory bool

	// Events, Bytes and Age bound the log; the first bound reached counts. They should
	// be those of realtime.Options.History. Defaults: 65,536, 64 MiB, 5 minutes.
	Events int64
	Bytes  int64
	Age    time.Duration
}

func (o *Options) check() error {
	if o.Name == "" {
		o.Name = "realtime"
	}
	if strings.ContainsFunc(o.Name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) || len(o.Name) > 64 {
		return fmt.Errorf("natsbackend: Options.Name %q must be at most 64 letters, digits, '-' and '_'", o.Name)
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	switch {
	case o.URL == "":
		return errors.New("natsbackend: Options.URL is missing")
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("natsbackend: Options.Replicas is %d; it must be 1, 3 or 5", o.Replicas)
	case o.Events < 0 || o.Bytes < 0 || o.Age < 0:
		return errors.New("natsbackend: Options.Events, Bytes or Age is negative")
	}
	if o.Events == 0 {
		o.Events = 1 << 16
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 20
	}
	if o.Age == 0 {
		o.Age = 5 * time.Minute
	}
	return nil
}

// connection returns the options of the connection. A backend is of no use once its
// connection has ended for good.
func (o *Options) connection() []nats.Option {
	return append(append([]nats.Option{nats.Name("maravilla realtime")}, o.Connect...),
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(100*time.Millisecond), nats.IgnoreAuthErrorAbort(),
		nats.RetryOnFailedConnect(false), // New says why there is none
		func(o *nats.Options) error {
			o.AllowReconnect = true // in spite of nats.NoReconnect
			return nil
		})
}

const (
	// tryTime bounds one request: a stream without a leader does not answer at all.
	tryTime = time.Second
	// changeTime bounds a change, whose request must not be repeated.
	changeTime = 4 * time.Second
	// retryAfter is how long after a failed request the next one is made.
	retryAfter = 20 * time.Millisecond
	// peersTime is how long a stream waits for servers that are offline, or for JetStream,
	// before it is refused.
	peersTime = 10 * time.Second
	// idTime is how long an id is remembered: see [backend.Log].
	idTime = 2 * time.Minute
	// minVersion is the first server with everything that is used here. Before 2.12.3 a
	// stream that is read in batches while it is written to can hang for good: the server
	// takes the read lock of the stream twice.
	minVersion = "2.12.3"
)

// Backend implements [backend.Backend]. Its methods may be called concurrently.
type Backend struct {
	onestep.Store
	plain *store

	nc   *nats.Conn
	js   jetstream.JetStream
	name string

	wanted []jetstream.StreamConfig

	epoch     atomic.Uint64
	last      atomic.Pointer[backend.Record] // that Follow has passed on
	verified  atomic.Uint64                  // the connection on which the log was looked at
	verifying chan struct{}                  // holds one

	life *backend.Life
}

var _ backend.Backend = (*Backend)(nil)

// New connects to NATS, checks the server, and creates the streams if they are
// missing. The owner calls [Backend.Close]. The error says what to change if the
// server is too old, or if a stream has other settings.
func New(ctx context.Context, o Options) (*Backend, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	nc, err := backend.Connect(ctx, func() (*nats.Conn, error) { return nats.Connect(o.URL, o.connection()...) }, (*nats.Conn).Close)
	if err != nil {
		return nil, fmt.Errorf("natsbackend: connect: %w", err)
	}
	b := &Backend{nc: nc, name: o.Name, verifying: make(chan struct{}, 1), life: backend.NewLife()}
	b.wanted = b.streams(o)
	b.plain = &store{b, b.publish}
	b.Store = onestep.Store{Plain: b.plain, Append: b.append}
	if err := b.start(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

func (b *Backend) start(ctx context.Context) (err error) {
	if version := b.nc.ConnectedServerVersion(); older(version, minVersion) {
		return fmt.Errorf("natsbackend: the server is version %s; it must be %s or later", version, minVersion)
	}
	if most, need := b.nc.MaxPayload(), int64(backend.MaxData+backend.MaxValue+margin); most < need {
		return fmt.Errorf("natsbackend: the server's max_payload is %d bytes; it must be %d or more, such as 8MB", most, need)
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return fmt.Errorf("natsbackend: %w", err)
	}
	for _, c := range b.wanted {
		if err := b.place(ctx, c); err != nil {
			return fmt.Errorf("natsbackend: stream %s: %w", c.Name, err)
		}
	}
	epoch, err := backend.RaiseEpoch(ctx, b.plain, 0)
	if err != nil {
		return fmt.Errorf("natsbackend: epoch: %w", err)
	}
	b.epoch.Store(epoch)
	return nil
}

// older compares versions, such as 2.9.10 with 2.12.3.
func older(version, than string) bool {
	v, t := strings.Split(version, "."), strings.Split(than, ".")
	for i := range t {
		if i >= len(v) {
			return true
		}
		have, _ := strconv.Atoi(v[i])
		want, _ := strconv.Atoi(t[i])
		if have != want {
			return have < want
		}
	}
	return false
}

// Close implements [backend.Backend]. It does not wait for sinks to return.
func (b *Backend) Close(context.Context) error {
	b.life.End(b.nc.Close)
	return nil
}

// try repeats a request that changes nothing until it is answered or ctx ends.
func (b *Backend) try(ctx context.Context, f func(context.Context) error) error {
	for {
		once, cancel := context.WithTimeout(ctx, tryTime)
		err := f(once)
		cancel()
		var refused *jetstream.APIError
		if err == nil || errors.As(err, &refused) && (refused.Code != 503 || slices.Contains(disabled, refused.ErrorCode)) {
			return err
		}
		if ended := b.life.Pause(ctx, retryAfter); ended != nil {
			return fmt.Errorf("natsbackend: %w: %w", ended, err)
		}
	}
}

// The codes of errors that JetStream answers with.
const (
	wrongLastSequence   = 10071
	wrongLastSequenceK  = 10164
	idInProcess         = 10158 // the first message with this id is not committed yet
	noMessage           = 10037
	messageExceedsLimit = 10054
	noPeers             = 10005
)

// disabled are the codes which say that there is no JetStream, and will not be soon: for
// the account, and for all.
var disabled = []jetstream.ErrorCode{10039, 10076}

// outcome returns what an error of a publish means.
func (b *Backend) outcome(err error) error {
	var refused *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		switch refused.ErrorCode {
		case wrongLastSequence, wrongLastSequenceK:
			return backend.ErrConflict
		case messageExceedsLimit:
			return fmt.Errorf("%w: %w", backend.ErrTooLarge, err)
		case idInProcess:
			return fmt.Errorf("%w: %w", backend.ErrMaybeStored, err)
		}
		return fmt.Errorf("natsbackend: %w", err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: the server's max_payload: %w", backend.ErrTooLarge, err)
	}
	return b.life.Unanswered(fmt.Errorf("natsbackend: %w", err))
}

// publish makes one attempt to store a message, in the epoch that its sender knows.
// errEpoch: that has ended, and nothing was sent.
func (b *Backend) publish(ctx context.Context, epoch uint64, m *nats.Msg) (*jetstream.PubAck, error) {
	ctx, done, err := b.change(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	switch err := b.verify(ctx); {
	case b.life.Ended():
		return nil, backend.ErrClosed
	case err != nil:
		return nil, err
	}
	if b.epoch.Load() != epoch {
		return nil, errEpoch
	}
	return b.request(ctx, epoch, m)
}

// send is publish without a look at the log before.
func (b *Backend) send(ctx context.Context, epoch uint64, m *nats.Msg) (*jetstream.PubAck, error) {
	ctx, done, err := b.change(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return b.request(ctx, epoch, m)
}

// change begins a call that has the time for a change. The caller must call done.
func (b *Backend) change(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx, end, err := b.life.Call(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	return ctx, func() { cancel(); end() }, nil
}

func (b *Backend) request(ctx context.Context, epoch uint64, m *nats.Msg) (*jetstream.PubAck, error) {
	m.Header.Set(epochHeader, strconv.FormatUint(epoch, 10))
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	return ack, b.outcome(err)
}
