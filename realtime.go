package realtime

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/doctor"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/growing"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/handle/deadletters"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/log/control"
	"github.com/maravilla-realtime/realtime/internal/log/follow"
	"github.com/maravilla-realtime/realtime/internal/log/live"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/past"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/publish"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights"
	"github.com/maravilla-realtime/realtime/internal/rights/policy"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
	"github.com/maravilla-realtime/realtime/internal/transport/driver"
	"github.com/maravilla-realtime/realtime/internal/transport/renstream"
	"github.com/maravilla-realtime/realtime/internal/transport/shard"
	"github.com/maravilla-realtime/realtime/internal/transport/socket"
)

// Realtime is the library in one value: hosts publish through it and mount its
// handlers. All its methods may be called concurrently.
type Realtime struct {
	// Lock order: that of registering handlers (see package handle) comes first, and the
	// locks of groups, of the publisher and of the ring (see package ring) may be taken
	// while it is held. The lock of the decisions of a socket is taken before any mutex. All
	// other mutexes of this package are leaves: while one of them is held, no other lock is
	// taken, and no code of the host or the backend runs.
	policy   Policy            // its functions return in time
	judge    *policy.Policy    // the same, as connections ask it
	deciding *policycall.Calls // the calls of these functions
	opts     Options
	log      *slog.Logger
	backend  *bounded.Backend
	ring     *ring.Ring
	node     string // this process, in session keys and leases
	started  time.Time
	follower *follow.Follower

	presence  Presence
	live      *live.Sender
	publisher *publish.Publisher
	growing   *growing.Growing
	past      *past.Reader
	older     *past.Host // Options.History.Older
	control   *control.Control
	groups    *handle.Groups
	conns     *conns.Conns
	rights    *rights.Rights
	shards    *shard.Pool // of connections that have left net/http
	probes    *doctor.Answers
	refusals  *refused.Log
	driver    driver.Node // what connections use
	ren       *renstream.Driver
	sockets   *socket.Driver

	unattributed atomic.Bool // see missAttribute
	deadLetters  deadletters.List
	retries      *deadletters.Retries

	running    context.Context // ends when the background goroutines are to end
	stop       context.CancelFunc
	background sync.WaitGroup
	closing    sync.Once
	closeErr   error
}

const retainIdle = 5 * time.Minute

// startTime is the time that New waits for the backend, which may have much to send.
const startTime = 30 * time.Second

// New returns a running Realtime. The caller must call [Realtime.Close] in the end. New
// reads the history of the backend, for at most 30 s; opts may be nil.
//
// Errors: [ErrBadOption] for options, with the name of each field that is out of its
// range; an error that names the field for [Policy.Origins] and [Policy.Hosts]; and
// from the backend [ErrTemporary] if it did not answer in time, or its own.
func New(policy Policy, opts *Options) (*Realtime, error) {
	o := opts.withDefaults()
	if err := errors.Join(o.check(), policy.compile()); err != nil {
		return nil, err
	}
	if policy.allowAll {
		o.Logger.Warn("realtime: AllowAll lets everybody read and write everything; it is for demos only")
	}
	limits := ring.Limits{Records: o.History.Events, Bytes: o.History.Bytes, Age: o.History.Age}
	owned := o.Backend == nil
	if owned {
		o.Backend = memory.New(memory.Limits(limits))
	}
	ctx, stop := context.WithCancel(context.Background())
	deciding := policycall.New(o.Logger)
	rt := &Realtime{
		policy: policy.timely(deciding), deciding: deciding, opts: o, log: o.Logger,
		backend: bounded.New(o.Backend, owned, o.Logger), node: rand.Text(), running: ctx, stop: stop,
	}
	rt.judge, rt.refusals, rt.started = rt.policy.asked(o.Logger), refused.NewLog(), time.Now()
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := rt.start(starting, limits); err != nil {
		stop()
		return nil, fault.Errorf("realtime: start: %w", err)
	}
	return rt, nil
}

// start reads the history and begins what runs in the background.
func (rt *Realtime) start(ctx context.Context, limits ring.Limits) error {
	var pos backend.Position
	err := bounded.Again(ctx, rt.log, func() (err error) {
		pos, err = follow.Start(ctx, rt.backend, rt.opts.History.Events)
		return err
	})
	if err != nil {
		return err
	}
	rt.ring = ring.New(limits, pos)
	rt.follower = &follow.Follower{Log: rt.backend, History: rt.ring, Logger: rt.log, Alone: rt.alone()}
	if err := bounded.Again(ctx, rt.log, func() error { return rt.follower.Fill(ctx) }); err != nil {
		return err
	}
	rt.live = live.New()
	rt.publisher = publish.New(rt.backend, rt.ring, rt.live, rt.tracer())
	rt.older = rt.newOlder()
	rt.past = rt.newPast()
	rt.presence.init(rt)
	// The others must know the node before anybody joins.
	if err := bounded.Again(ctx, rt.log, func() error { return rt.presence.inner.Start(ctx) }); err != nil {
		return err
	}
	rt.groups = rt.newGroups()
	rt.retries = rt.newRetries()
	rt.conns = conns.New(userLimits(rt.opts.Limits))
	rt.probes = rt.newProbes()
	rt.rights = rt.newRights()
	rt.control = rt.newControl()
	rt.growing = rt.newGrowing()
	rt.follower.Control, rt.follower.Growing = rt.controlled, rt.growing.Take
	rt.follower.History = history{rt.ring, rt.presence.inner, rt.growing}
	rt.shards = shard.New(runtime.GOMAXPROCS(0), rt.background.Go, rt.log)
	rt.live.Append, rt.live.Rate, rt.live.Others, rt.live.Logger = rt.appendLive, rt.opts.Limits.Ephemeral, rt.growing.Outgoing, rt.log
	rt.newDrivers()
	rt.background.Go(func() { rt.follower.Run(rt.running) })
	rt.background.Go(func() { rt.live.Run(rt.running) })
	rt.background.Go(func() { rt.growing.Run(rt.running) })
	rt.background.Go(func() { rt.presence.inner.Run(rt.running) })
	return nil
}

func (rt *Realtime) newGroups() *handle.Groups {
	return handle.New(rt.running, handle.Node{
		Name: rt.node, Alone: rt.alone(), Store: rt.backend, Log: rt.backend, Ring: rt.ring, Logger: rt.log,
		Pending: rt.opts.History.Events, Depth: maxDepth,
		Dead: rt.deadLetters.Add,
		Now:  rt.publisher.Now, Settle: rt.publisher.Settle, Ending: rt.publisher.IsEnded, Go: rt.background.Go,
	})
}

// appendLive appends what the sender of live messages has gathered.
func (rt *Realtime) appendLive(ctx context.Context, e backend.Entry) error {
	_, err := rt.backend.Append(ctx, e)
	return err
}

// history is a ring that tells presence and growing messages when the backend has lost
// its tail, since the newest members and messages may be lost as well.
type history struct {
	*ring.Ring
	presence *presence.Presence
	growing  *growing.Growing
}

// Reset implements [follow.History].
func (h history) Reset(pos backend.Position) {
	tail := pos.Epoch != h.Head().Epoch
	if tail {
		h.presence.Lost()
	}
	h.Ring.Reset(pos)
	h.growing.Lost(tail)
}

// Channels lists, in order, the channels that are followed or have members on any
// node, or got a message in the last five minutes that is still in the history. If ctx
// has no deadline, it returns within 5 s.
//
// Nodes tell each other about once a second which channels are followed, and more slowly
// if much changes: each writes at most 60 KiB of names a second. Channels that were
// followed on a node that died are listed until the others give it up, within 30 s.
func (rt *Realtime) Channels(ctx context.Context) ([]string, error) {
	ctx, cancel := bounded.Within(ctx, bounded.CallTime)
	defer cancel()
	rt.publisher.Settle(ctx) // so that a channel that this caller has just published to is listed
	names, err := rt.presence.inner.Channels(ctx)
	if err != nil {
		return nil, bounded.Public(err)
	}
	elsewhere, err := rt.presence.inner.Followed(ctx)
	if err != nil {
		return nil, bounded.Public(err)
	}
	names = append(append(names, elsewhere...), rt.ring.Channels(time.Now().Add(-retainIdle))...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// alone reports whether the backend serves this process only.
func (rt *Realtime) alone() bool { return rt.backend.SingleProcess() }
