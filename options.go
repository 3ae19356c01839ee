package realtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/socket"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Options are all optional: the zero value of each field means its default, and
// a nil *Options means all defaults. A negative value is [ErrBadOption], except in
// fields that say what it switches off.
type Options struct {
	// Backend is the engine of the log and of presence. Default: in memory, which is
	// lost with the process and serves this process only. The code that opened a
	// backend must close it, after [Realtime.Close].
	//
	// Each call of it has a deadline: that of the caller's context, or else less than
	// 5 s (30 s for the history that New reads). A call that does not return by then is
	// abandoned and logged, and blocks nothing else.
	Backend backend.Backend

	// Logger gets warnings, and errors that have no caller. Default: [slog.Default].
	Logger *slog.Logger

	// Tracer makes spans of publishes and of calls of handlers; a [DeliveryTracer] also of
	// appends to the log and of deliveries to clients. Default: none are made.
	// Module metrics/otel has one.
	Tracer Tracer

	// History bounds the events that a client that was away can catch up with, and
	// their memory. Default: 65,536 events, 64 MiB, 5 minutes.
	History History

	// Limits bound the messages and requests of clients and publishers.
	Limits Limits

	// Heartbeat is the interval of keep-alive events. Default 25 s. Clients end a
	// stream that is silent for 60 s.
	Heartbeat time.Duration

	// StreamLife is the life of a REN stream, give or take 20 %. After it the client is
	// told to come back, which users do not notice. It bounds the time for which a dead
	// client may seem alive. Default 10 min.
	StreamLife time.Duration

	// WriteTimeout is the time in which a client must take the next 16 KiB, else its
	// connection ends. It is longer by a second for each 8 KiB on their way to the
	// client, at most 16 s. The client resumes when it comes back. Default 10 s. With more,
	// the kernel also notices a client of a REN stream later that has vanished: see
	// [ConnContext].
	WriteTimeout time.Duration

	// Hijack says which connections leave net/http. Default: most of those without TLS.
	Hijack Hijack

	// Presence bounds how long members stay.
	Presence PresenceOptions

	// Streams bounds messages that grow.
	Streams StreamOptions

	// Groups are the options of the handlers that are registered on the Realtime
	// itself, and the defaults of its groups.
	Groups GroupOptions
}

// Hijack says which connections leave net/http, so that a few goroutines drive all of
// them: one that waits has no goroutine, and none of the buffers of net/http. What
// clients get is the same. Streams over HTTP/2, and [Realtime.Fragments], never leave it.
//
// The handler of such a connection returns at once. Middlewares that look at the time it
// takes, at how many are running, or at what it writes, see none of that. The policy is
// asked later about a WebSocket, with the values of the context of its request, some of
// which a router may take back when the handler returns, as chi does with URL parameters:
// HijackDefault leaves such a WebSocket to its handler. [http.Server.Shutdown] and Close
// do not know the connection any longer: [Realtime.Close] ends it. See
// docs/performance.md.
type Hijack int

const (
	// HijackDefault is HijackPlain, and for WebSockets as well only where no middleware
	// wraps the ResponseWriter, and neither a middleware nor a router has put anything
	// around the context of the request.
	HijackDefault Hijack = Hijack(driver.HijackDefault)
	// HijackNever has each connection driven by the goroutine of its request; a WebSocket
	// has one more.
	HijackNever Hijack = Hijack(driver.HijackNever)
	// HijackPlain is for connections without TLS, on Linux, where the policy has no See; and
	// for REN streams only where no middleware wraps the ResponseWriter. The policy must not
	// use values of the context of a WebSocket's request which end with its handler.
	HijackPlain Hijack = Hijack(driver.HijackPlain)
	// HijackAlways is for all connections of HTTP/1.1 whose ResponseWriter, or what is
	// beneath it, has Hijack. With TLS, on other systems, and where the host's
	// listener wraps connections, each has one goroutine that waits for what its client
	// sends. A slow See makes other connections wait. The policy must not use what
	// HijackPlain says.
	HijackAlways Hijack = Hijack(driver.HijackAlways)
)

// PresenceOptions are the times for which members stay present without a connection.
// See [Options].
type PresenceOptions struct {
	// CloseGrace is the time for which a user stays present after their last connection
	// closed in order: long enough for a page to reload. Default 3 s. Negative: the
	// user leaves at once.
	CloseGrace time.Duration

	// DropGrace is the time for which a user stays present after their last connection
	// broke: long enough for a phone to find its network. Default 15 s. Negative: the
	// user leaves at once. After credentials have expired it is at least 35 s.
	DropGrace time.Duration

	// Lease is the time for which a user whom the server joined stays present, unless
	// joined again. Default 90 s, since browsers slow the timers of hidden pages to one
	// a minute. Members of a node that has died leave within 30 s, whatever this is.
	Lease time.Duration
}

// StreamOptions bound messages that grow, on each node. See [Options] and
// [Realtime.Stream].
type StreamOptions struct {
	// Bytes is the largest content of a message: text as UTF-8, or values as JSON with a
	// byte for each. Default 256 KiB, at most 1 MiB, so that clients can read it in one
	// frame.
	Bytes int
	// Memory bounds the bytes of all contents that the node has: of messages that it
	// writes, and of those of other nodes that its clients follow. Default 256 MiB.
	Memory int64

	// Here a negative value means no limit.
	Open    int // messages that the node writes at the same time; default 4096
	Channel int // of them, in one channel; default 64

	// Idle is the time after the last write after which a message fails, so that one that
	// nobody ends does not stay for ever. Default 10 min.
	Idle time.Duration
}

// History bounds the events a node keeps; whichever bound is reached first
// counts. See [Options].
type History struct {
	Events int
	// Bytes must be at least four times the largest of Limits.Publish, Message and
	// Metadata, so that readers can get an event before it is evicted. If transactions
	// can append to the Backend (module postgres), it must be at least 4 MiB.
	Bytes int64
	// Age is that of events at this node. It must be at least a millisecond: what is
	// evicted before its readers come resets them.
	Age time.Duration

	// Older returns messages of a channel that are older than the history, from a
	// database of the host's: [Realtime.History] and the history of clients continue
	// with them. It returns at most q.Limit messages that stand before q.Before, the
	// newest of them, and the oldest first. Fewer than q.Limit say that there are no
	// older ones. Each needs its Cursor, by which the database must find it again: store
	// messages with [PublishedAt], [Delivery].Cursor or the Cursor of a client's
	// message. Other strings of up to 255 bytes will do for messages that were never in
	// the log. Type, Resource and Channel may be empty. [Policy].See is asked about each
	// message before a client gets it.
	//
	// It may be called concurrently, and block until its context ends, after at most
	// 4 s for a client; only that client waits. If it returns an error, the page ends
	// before the messages it was asked for; if there are none, the error is logged and
	// the client is told to ask again. Nil: the past ends with the history.
	Older func(ctx context.Context, q OlderQuery) ([]HistoryEvent, error)
}

// Limits bound what others send. Zero fields mean the defaults.
type Limits struct {
	// At most 7.75 MiB each: clients read no more.
	Message int // bytes of a message from a browser, as JSON frame; default 64 KiB
	Publish int // bytes of data that the server publishes, as JSON; default 1 MiB

	// At most 60 KiB: a backend stores it in one record, with the member's sessions.
	Metadata int // bytes of a member's metadata, as JSON; default 1 KiB

	// Page is the largest number of messages that a client may ask for in one page of
	// history, and that a subscription may rewind. Default 100, at most 1000.
	Page int

	// Here, and below, a negative value means no limit.
	Channels int // channels of one WebSocket; default 128
	Rate     int // operations a second of one WebSocket; default 30
	Burst    int // operations at once of one WebSocket; default 60

	// Ephemeral bounds the messages a second of one channel that are live only, of each
	// node; see [Ephemeral]. Default 100. Those beyond it wait, the newest of each user
	// and type.
	Ephemeral int

	// Limits for all connections of one user to this node together. Anonymous clients
	// do not count as one user.
	Connections int // REN streams and WebSockets; default 256
	UserRate    int // operations a second; default 10 times Rate
	UserBurst   int // operations at once; default 10 times Burst
}

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
	set(&opts.Limits.Publish, defaultPublish)
	set(&opts.Limits.Metadata, 1<<10)
	set(&opts.Limits.Page, 100)
	set(&opts.Limits.Channels, 128)
	set(&opts.Limits.Rate, 30)
	set(&opts.Limits.Burst, 60)
	set(&opts.Limits.Ephemeral, 100)
	set(&opts.Limits.Connections, 256)
	set(&opts.Limits.UserRate, 10*opts.Limits.Rate)
	set(&opts.Limits.UserBurst, 10*opts.Limits.Burst)
	set(&opts.Streams.Bytes, 256<<10)
	set(&opts.Streams.Memory, 256<<20)
	set(&opts.Streams.Open, 4096)
	set(&opts.Streams.Channel, 64)
	set(&opts.Streams.Idle, 10*time.Minute)
	opts.Limits.lift()
	lift(&opts.Streams.Open, &opts.Streams.Channel)
	set(&opts.Heartbeat, 25*time.Second)
	set(&opts.StreamLife, 10*time.Minute)
	set(&opts.WriteTimeout, 10*time.Second)
	set(&opts.Presence.CloseGrace, 3*time.Second)
	set(&opts.Presence.DropGrace, 15*time.Second)
	set(&opts.Presence.Lease, 90*time.Second)
	opts.Groups = opts.Groups.or(defaultGroup)
	return opts
}

// unlimited is more than anybody reaches, and can be calculated with.
const unlimited = 1 << 24

// lift raises the limits that are switched off.
func (l *Limits) lift() {
	lift(&l.Channels, &l.Rate, &l.Burst, &l.Ephemeral, &l.Connections, &l.UserRate, &l.UserBurst)
}

func lift(limits ...*int) {
	for _, limit := range limits {
		if *limit < 0 || *limit > unlimited {
			*limit = unlimited
		}
	}
}

// historyHolds is the number of largest events for which the history must have room.
// So a reader without delay gets each of some large events that come together, although
// they take more room when they have been encoded.
const historyHolds = 4

// check returns an error that names each option out of its range.
func (o *Options) check() error {
	h, l := o.History, o.Limits
	largest := int64(max(l.Publish, l.Message, l.Metadata, 0))
	if _, ok := o.Backend.(backend.Transactional); ok {
		largest = max(largest, defaultPublish) // see EventEntry
	}
	return errors.Join(
		atLeast(0, "Options.Hijack", int(o.Hijack)), atMost(int(HijackAlways), "Options.Hijack", int(o.Hijack)),
		atLeast(0, "Options.Heartbeat", o.Heartbeat), atLeast(0, "Options.WriteTimeout", o.WriteTimeout),
		atLeast(0, "Options.Presence.Lease", o.Presence.Lease), atLeast(time.Second, "Options.StreamLife", o.StreamLife),
		atLeast(0, "Options.History.Events", h.Events), atLeast(historyHolds*largest, "Options.History.Bytes", h.Bytes),
		atLeast(time.Millisecond, "Options.History.Age", h.Age),
		atLeast(0, "Options.Limits.Message", l.Message), atLeast(0, "Options.Limits.Publish", l.Publish),
		atLeast(0, "Options.Limits.Metadata", l.Metadata), atLeast(1, "Options.Limits.Page", l.Page),
		atMost(maxHistory, "Options.Limits.Page", l.Page),
		readable("Options.Limits.Message", l.Message), readable("Options.Limits.Publish", l.Publish),
		storable("Options.Limits.Metadata", l.Metadata), o.Streams.check(), o.Groups.check("Options.Groups"))
}

// maxStream is the largest content of a growing message, in bytes: as JSON it may take six
// times as much.
const maxStream = 1 << 20

func (o *StreamOptions) check() error {
	return errors.Join(
		atLeast(0, "Options.Streams.Bytes", o.Bytes), atMost(maxStream, "Options.Streams.Bytes", o.Bytes),
		atLeast(int64(o.Bytes), "Options.Streams.Memory", o.Memory), atLeast(0, "Options.Streams.Idle", o.Idle))
}

// readable is an error if clients would not read what a limit permits.
func readable(field string, limit int) error {
	if limit > wire.MaxData {
		return fmt.Errorf("%w: %s is %d, and clients read at most %d", ErrBadOption, field, limit, wire.MaxData)
	}
	return nil
}

// maxMetadata leaves room for some 40 sessions in the record of a member.
const maxMetadata = backend.MaxValue - 4<<10

// storable is an error if an engine would not store what a limit permits.
func storable(field string, limit int) error {
	if limit > maxMetadata {
		return fmt.Errorf("%w: %s is %d, and engines store at most %d", ErrBadOption, field, limit, maxMetadata)
	}
	return nil
}

// atMost is an error if a value is greater than that.
func atMost(most int, field string, value int) error {
	if value > most {
		return fmt.Errorf("%w: %s is %d, and must be at most %d", ErrBadOption, field, value, most)
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

// userLimits are what all connections of one user may have together.
func userLimits(l Limits) conns.Limits {
	return conns.Limits{
		Connections: l.Connections,
		Pace:        conns.Rate{PerSecond: l.UserRate, Burst: l.UserBurst},
		Flood:       conns.Rate{PerSecond: socket.FloodFactor * l.UserRate, Burst: socket.FloodFactor * l.UserBurst},
	}
}
