package realtime

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/follow"
	"github.com/maravilla-realtime/realtime/internal/jitter"
	"github.com/maravilla-realtime/realtime/internal/memory"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/timely"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Realtime is the library in one value: hosts publish through it and mount its
// handlers. All its methods may be called concurrently.
type Realtime struct {
	policy   Policy        // whose functions return in time
	deciding *timely.Calls // of them
	opts     Options
	log      *slog.Logger
	backend  *engine
	ring     *ring.Ring
	node     string // this process, in session keys and leases

	flaws    once // of grants, that were logged
	presence Presence
	controls controls
	groups   groups
	conns    conns
	accepted mark // of what was appended here
	outside  gate // for what the host and clients cause
	inside   gate // for what handlers cause
	rechecks gate

	running    context.Context // ends when the background goroutines are to end
	stop       context.CancelFunc
	background sync.WaitGroup
	closing    sync.Once
	closeErr   error
}

// Publisher is the part of a [Realtime] that sends, for hosts that want to test
// their code against something smaller.
type Publisher interface {
	Publish(ctx context.Context, channel string, data any, opts ...EventOption) error
	Emit(ctx context.Context, ev RenEvent, opts ...EventOption) error
}

// Joiner is the part of a [Presence] that joins. Leaver and MemberLister are the
// others: hosts that want to test their code take those they need.
type Joiner interface {
	Join(ctx context.Context, channel, userID string, metadata any, opts ...EventOption) error
}

// Leaver is the part of a [Presence] that leaves.
type Leaver interface {
	Leave(ctx context.Context, channel, userID string, opts ...EventOption) error
}

// MemberLister is the part of a [Presence] that lists who is there.
type MemberLister interface {
	Members(ctx context.Context, channel string) ([]Member, error)
}

var (
	_ Publisher    = (*Realtime)(nil)
	_ Joiner       = (*Presence)(nil)
	_ Leaver       = (*Presence)(nil)
	_ MemberLister = (*Presence)(nil)
)

// Options are all optional: the zero value of each field means its default, and
// a nil *Options means all defaults.
type Options struct {
	// Backend is the engine behind the log and presence. Default: in memory,
	// which is lost with the process and serves this process only. Whoever opened it
	// closes it, after [Realtime.Close].
	// Each call of it has a deadline: that of the caller's context, or else less than
	// 5 s (30 s for the history that New reads). A call that does not return then is
	// left behind and logged, so that it holds up nothing else.
	Backend backend.Backend

	// Logger gets warnings, and errors that no caller can be told of. Default:
	// [slog.Default].
	Logger *slog.Logger

	// History bounds what a client that was away can catch up with, and the
	// memory it takes. Default: 65,536 events, 64 MiB, 5 minutes.
	History History

	// Limits bound what clients and publishers may send.
	Limits Limits

	// Heartbeat is how often a stream that is open says so. Default 25 s. Clients
	// give a silent stream up after 60 s.
	Heartbeat time.Duration

	// StreamLife is how long a REN stream lives, give or take 20 %, before its
	// client is asked to come back, which it does unnoticed. It bounds how long a
	// dead client can seem alive. Default 10 min.
	StreamLife time.Duration

	// WriteTimeout ends a connection whose client takes less than 16 KiB in so long,
	// and longer by a second for each 8 KiB that are on their way to it, at most 16 s.
	// It resumes where it was. Default 10 s.
	WriteTimeout time.Duration

	// CloseGrace and DropGrace are how long a user whose last connection closed
	// in an orderly way, or broke, stays present. Long enough for a page to
	// reload, and for a phone to find its network. Defaults 3 s and 15 s. Where
	// credentials expired it is DropGrace, but at least 35 s.
	CloseGrace, DropGrace time.Duration

	// Lease is how long a user whom the server joined stays present unless
	// joined again. Default 90 s: browsers slow the timers of hidden pages to one
	// a minute.
	Lease time.Duration

	// Handlers are the options of the handlers that are registered on the Realtime
	// itself, and the defaults of its groups.
	Handlers GroupOptions
}

// History bounds the events a node keeps; whichever bound is reached first
// counts. See [Options].
type History struct {
	Events int
	// Bytes has to be at least four times the largest of Limits.Publish, Message and
	// Metadata, so that no event is gone before its readers can get it.
	Bytes int64
	Age   time.Duration // of events at this node
}

// Limits bound what others send. Zero fields mean the defaults. Message, Publish
// and Metadata may be 7.75 MiB at most: clients read no more.
type Limits struct {
	Message  int // bytes of a message from a browser, as JSON frame; default 64 KiB
	Publish  int // bytes of data that the server publishes, as JSON; default 1 MiB
	Metadata int // bytes of a member's metadata, as JSON; default 1 KiB
	Channels int // channels of one WebSocket; default 128
	Rate     int // operations a second of one WebSocket; default 30
	Burst    int // operations at once of one WebSocket; default 60

	// What all connections of one user to this node may have together. Anonymous
	// clients are not one user.
	Connections int // REN streams and WebSockets; default 256
	UserRate    int // operations a second; default 10 times Rate
	UserBurst   int // operations at once; default 10 times Burst
}

const (
	maxDomains = 32 // of one REN stream
	retainIdle = 5 * time.Minute
)

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	set(&opts.Logger, slog.Default())
	set(&opts.History.Events, 1<<16)
	set(&opts.History.Bytes, 64<<20)
	set(&opts.History.Age, 5*time.Minute)
	set(&opts.Limits.Message, 64<<10)
	set(&opts.Limits.Publish, 1<<20)
	set(&opts.Limits.Metadata, 1<<10)
	set(&opts.Limits.Channels, 128)
	set(&opts.Limits.Rate, 30)
	set(&opts.Limits.Burst, 60)
	set(&opts.Limits.Connections, 256)
	set(&opts.Limits.UserRate, 10*max(0, opts.Limits.Rate))
	set(&opts.Limits.UserBurst, 10*max(0, opts.Limits.Burst))
	set(&opts.Heartbeat, 25*time.Second)
	set(&opts.StreamLife, 10*time.Minute)
	set(&opts.WriteTimeout, 10*time.Second)
	set(&opts.CloseGrace, 3*time.Second)
	set(&opts.DropGrace, 15*time.Second)
	set(&opts.Lease, 90*time.Second)
	opts.Handlers = opts.Handlers.or(defaultGroup)
	return opts
}

// historyHolds is how many of the largest events the history has room for at
// least: so who reads at once gets each of some that come together, which take
// more when they have been encoded.
const historyHolds = 4

// check names each option that is out of its range.
func (o *Options) check() error {
	h, l := o.History, o.Limits
	largest := int64(max(l.Publish, l.Message, l.Metadata, 0))
	return errors.Join(
		atLeast(0, "Options.Heartbeat", o.Heartbeat), atLeast(0, "Options.WriteTimeout", o.WriteTimeout),
		atLeast(0, "Options.CloseGrace", o.CloseGrace), atLeast(0, "Options.DropGrace", o.DropGrace),
		atLeast(0, "Options.Lease", o.Lease), atLeast(time.Second, "Options.StreamLife", o.StreamLife),
		atLeast(0, "Options.History.Events", h.Events), atLeast(historyHolds*largest, "Options.History.Bytes", h.Bytes),
		atLeast(0, "Options.History.Age", h.Age),
		atLeast(0, "Options.Limits.Message", l.Message), atLeast(0, "Options.Limits.Publish", l.Publish),
		atLeast(0, "Options.Limits.Metadata", l.Metadata), atLeast(0, "Options.Limits.Channels", l.Channels),
		atLeast(0, "Options.Limits.Rate", l.Rate), atLeast(0, "Options.Limits.Burst", l.Burst),
		atLeast(0, "Options.Limits.Connections", l.Connections),
		atLeast(0, "Options.Limits.UserRate", l.UserRate), atLeast(0, "Options.Limits.UserBurst", l.UserBurst),
		readable("Options.Limits.Message", l.Message), readable("Options.Limits.Publish", l.Publish),
		readable("Options.Limits.Metadata", l.Metadata), o.Handlers.check("Options.Handlers"))
}

// readable is an error if clients would not read what a limit permits.
func readable(field string, limit int) error {
	if limit > wire.MaxData {
		return fmt.Errorf("%w: %s is %d, and clients read at most %d", ErrBadOption, field, limit, wire.MaxData)
	}
	return nil
}

// atLeast is an error if a value is less than that.
func atLeast[T int | int64 | time.Duration](least T, field string, value T) error {
	if value < least {
		return fmt.Errorf("%w: %s is %v, and must be at least %v", ErrBadOption, field, value, least)
	}
	return nil
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// startTime is how long New waits for the backend, which may have much to send.
const startTime = 30 * time.Second

// New returns a running Realtime; its owner calls [Realtime.Close]. It reads the
// history the backend has, and fails if it cannot within 30 s. Options and fields of
// the policy that are no good are named by the error; those of options are an
// [ErrBadOption].
func New(policy Policy, opts *Options) (*Realtime, error) {
	o := opts.withDefaults()
	if err := errors.Join(o.check(), policy.compile()); err != nil {
		return nil, err
	}
	if policy.allowAll {
		o.Logger.Warn("realtime: AllowAll lets everybody read and write everything; it is for demos only")
	}
	limits := ring.Limits{Records: o.History.Events, Bytes: o.History.Bytes, Age: o.History.Age}
	if o.Backend == nil {
		o.Backend = memory.New(memory.Limits(limits))
	}
	ctx, stop := context.WithCancel(context.Background())
	deciding := policyCalls(o.Logger)
	rt := &Realtime{policy: policy.timely(deciding, o.Logger), deciding: deciding, opts: o, log: o.Logger, backend: newEngine(o.Backend, opts == nil || opts.Backend == nil, o.Logger), node: rand.Text(), running: ctx, stop: stop}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := rt.start(starting, limits); err != nil {
		stop()
		return nil, fmt.Errorf("realtime: start: %w", err)
	}
	return rt, nil
}

// start reads the history and begins what runs in the background.
func (rt *Realtime) start(ctx context.Context, limits ring.Limits) error {
	pos, err := follow.Start(ctx, rt.backend, rt.opts.History.Events)
	if err != nil {
		return err
	}
	rt.ring = ring.New(limits, pos)
	rt.controls.init()
	follower := &follow.Follower{Log: rt.backend, History: rt.ring, Logger: rt.log, Alone: rt.alone(), Control: rt.control}
	if err := follower.Fill(ctx); err != nil {
		return err
	}
	if err := rt.presence.init(ctx, rt); err != nil {
		return err
	}
	follower.History = history{rt.ring, rt.presence.engine}
	rt.conns.limits = rt.opts.Limits
	rt.groups.init(rt)
	rt.background.Go(func() { follower.Run(rt.running) })
	rt.background.Go(func() { rt.presence.engine.Run(rt.running, rt.log) })
	return nil
}

// history is a ring that tells presence where the backend lost its tail: then it has
// perhaps lost the newest members as well.
type history struct {
	*ring.Ring
	presence *presence.Presence
}

// Reset implements [follow.History].
func (h history) Reset(pos backend.Position) {
	if pos.Epoch != h.Head().Epoch {
		h.presence.Lost()
	}
	h.Ring.Reset(pos)
}

// jittered returns a random duration between half of d and d.
func jittered(d time.Duration) time.Duration {
	return d/2 + jitter.N(d/2+1)
}

// EventOption says more about an event than its content. Methods refuse, as
// [ErrBadOption], what means nothing to them.
type EventOption func(*attribution)

type attribution struct {
	user, client, id string
	given            []string // the options that not all methods know
	depth            int      // how many handlers in a row led to the event
}

// AsUser says which user publishes; subscribers get it as userId. It is for Publish
// and Emit.
func AsUser(userID string) EventOption {
	return func(a *attribution) { a.user, a.given = userID, append(a.given, "AsUser") }
}

// FromClient says which client caused the event, so that it recognises the
// event as its own. Requests that came through [Realtime.Attribute] carry it in
// their context.
func FromClient(clientID string) EventOption { return func(a *attribution) { a.client = clientID } }

// WithID makes an event idempotent: of those with the same id within two
// minutes, whatever they are about, the first is delivered. At most 128 bytes. It is
// for Publish and Emit.
func WithID(id string) EventOption {
	return func(a *attribution) { a.id, a.given = id, append(a.given, "WithID") }
}

func attribute(ctx context.Context, opts []EventOption) (attribution, error) {
	a := attribution{client: clientID(ctx), depth: depth(ctx)}
	for _, opt := range opts {
		if opt == nil {
			return a, fmt.Errorf("%w: an EventOption is nil", ErrBadOption)
		}
		opt(&a)
	}
	switch {
	case a.client != "" && !wire.ValidClientID(a.client):
		return a, ErrBadClientID
	case a.user != "" && badName(a.user):
		return a, ErrBadUser
	case len(a.id) > 128:
		return a, fmt.Errorf("%w: id longer than 128 bytes", ErrBadEvent)
	case a.depth > maxDepth:
		return a, ErrLoop
	}
	return a, nil
}

// Publish sends data, which must encode as JSON of at most [Limits].Publish
// bytes, to all who follow the channel. It returns nil once the backend has the
// message. If ctx has no deadline, it returns within 5 s. Errors: [ErrBadChannel],
// [ErrTooLarge], [ErrBadUser], [ErrBadClientID], those of [json.Marshal], and from
// the backend [ErrClosed], [ErrUnknown], [ErrTemporary] and those of ctx.
func (rt *Realtime) Publish(ctx context.Context, channel string, data any, opts ...EventOption) error {
	if badChannel(channel) {
		return ErrBadChannel
	}
	raw, err := encode(data, rt.opts.Limits.Publish)
	if err != nil {
		return fmt.Errorf("realtime: publish: %w", err)
	}
	a, err := attribute(ctx, opts)
	if err != nil {
		return err
	}
	return rt.append(ctx, message(channel, raw), a)
}

func message(channel string, data json.RawMessage) backend.Event {
	return backend.Event{Type: backend.Message, Resource: backend.Realtime, Channel: channel, Data: data}
}

// Emit announces an event, most often a write that happened: see [KVPut] and its
// like, or make a RenEvent with a resource and type of your own. UnixMilli and
// Source are set here. Messages and presence have their own methods. Emit
// returns nil once the backend has the event. Errors: [ErrBadEvent], [ErrBadOption]
// where [AsUser] names another user than ev, and those of [Realtime.Publish].
//
// After a write of your own, whose event must come although the request has gone,
// give it [context.WithoutCancel] of the request's context. Packages db, kv and
// storage do so.
func (rt *Realtime) Emit(ctx context.Context, ev RenEvent, opts ...EventOption) error {
	if err := ev.check(); err != nil {
		return err
	}
	if ev.Data != nil {
		raw, err := encode(ev.Data, rt.opts.Limits.Publish)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBadEvent, err)
		}
		ev.Data = raw
	}
	a, err := attribute(ctx, opts)
	if err != nil {
		return err
	}
	if a.user != "" && ev.User != "" && a.user != ev.User {
		return fmt.Errorf("%w: AsUser names another user than the event", ErrBadOption)
	}
	set(&a.user, ev.User)
	return rt.append(ctx, backend.Event(ev), a)
}

// append is the one way of events into the log, but for those of presence,
// which the backend appends itself.
func (rt *Realtime) append(ctx context.Context, ev backend.Event, a attribution) error {
	g := rt.gate(a.depth)
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	ev.User, ev.Source, ev.UnixMilli = a.user, wire.Tag(a.client), time.Now().UnixMilli()
	payload := backend.Payload{Event: ev, Depth: a.depth}
	pos, err := rt.backend.Append(ctx, backend.Entry{ID: a.id, Data: payload.Encode()})
	if err != nil {
		return publicError(err)
	}
	rt.accepted.raise(pos)
	return nil
}

// gate returns the gate for what depth handlers in a row led to.
func (rt *Realtime) gate(depth int) *gate {
	if depth > 0 {
		return &rt.inside
	}
	return &rt.outside
}

// mark is the greatest position seen.
type mark struct {
	mu  sync.Mutex
	pos backend.Position
}

func (m *mark) raise(pos backend.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pos.Compare(m.pos) > 0 {
		m.pos = pos
	}
}

// now is the place in the log behind all that is known to have happened.
func (rt *Realtime) now() backend.Position { return later(rt.ring.Head(), rt.accepted.get()) }

func (m *mark) get() backend.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

// publicError turns the backend's errors into those of this package.
func publicError(err error) error {
	switch {
	case errors.Is(err, backend.ErrClosed):
		return ErrClosed
	case errors.Is(err, backend.ErrUnknown):
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case errors.Is(err, backend.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return err
}

// encode returns data as compact JSON of at most limit bytes.
func encode(data any, limit int) (json.RawMessage, error) {
	raw, ok := data.(json.RawMessage)
	if !ok {
		b, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		raw = b
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLarge, len(raw), limit)
	}
	if ok {
		return wire.Compact(raw) // in memory of its own, which the caller cannot change
	}
	if !utf8.Valid(raw) { // from a Marshaler, which json.Marshal trusts
		return nil, errors.New("invalid UTF-8")
	}
	return raw, nil
}

// Channels lists, in order, the channels that somebody follows here, that have
// members, or that were published to in the last five minutes, as far as the
// history reaches.
func (rt *Realtime) Channels(ctx context.Context) ([]string, error) {
	ctx, cancel := within(ctx, callTime)
	defer cancel()
	rt.settle(ctx) // what this caller has just published counts
	names, err := rt.presence.engine.Channels(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	names = append(names, rt.ring.Channels(time.Now().Add(-retainIdle))...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Cursor is an opaque place in the log. See [Realtime.Cursor].
type Cursor string

// Cursor returns the place up to which this node has read the log. A reader that
// starts there, with [Realtime.WaitFor] or as a client, misses nothing that
// happens after the call.
func (rt *Realtime) Cursor() Cursor { return Cursor(wire.Cursor(rt.ring.Head())) }

func badChannel(name string) bool { return badName(name) || name[0] == '$' }

// badName reports whether name is no good as the name of anything: see
// [ErrBadChannel].
func badName(name string) bool { return name == "" || badText(name) }

func badText(s string) bool { return !wire.ValidText(s) }
