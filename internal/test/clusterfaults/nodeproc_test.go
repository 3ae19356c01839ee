package clusterfaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/maravilla-realtime/realtime/natsbackend"
	"github.com/maravilla-realtime/realtime/postgres"
	"github.com/maravilla-realtime/realtime/redisbackend"
	"github.com/nats-io/nats.go"
	"github.com/redis/rueidis"
	"golang.org/x/sync/errgroup"
)

// nodeConfig is what a node is started with.
type nodeConfig struct {
	NATS     string // URLs
	Replicas int
	Redis    []string // addresses
	Sentinel bool     // they are those of sentinels
	Postgres string   // URL
	InTx     bool     // every second message is published in a transaction of the host
}

// logAge keeps the log of a test whole, which on a busy machine lasts for minutes.
const logAge = time.Hour

func (c nodeConfig) open(ctx context.Context) (backend.Backend, error) {
	if c.NATS != "" {
		return natsbackend.New(ctx, natsbackend.Options{
			URL: c.NATS, Replicas: c.Replicas, Age: logAge,
			Connect: []nats.Option{ignoreDiscovered, nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(pace.Slow(answerTime))},
		})
	}
	if c.Postgres != "" {
		o := postgres.Options{URL: c.Postgres, Age: logAge}
		if err := postgres.Migrate(ctx, o); err != nil {
			return nil, err
		}
		return postgres.NewBackend(ctx, o)
	}
	o := redisbackend.Options{Client: rueidis.ClientOption{InitAddress: c.Redis}}
	if c.Sentinel {
		o.Client.Sentinel.MasterSet = "main"
	}
	return redisbackend.New(ctx, o)
}

// ignoreDiscovered keeps a node to the addresses it was given, which are those of its
// proxies.
func ignoreDiscovered(o *nats.Options) error {
	o.IgnoreDiscoveredServers = true
	return nil
}

// The group of handlers that all nodes share, and what it handles.
const (
	groupName   = "work"
	workChannel = "work:*"
)

// nodeProcess is this process as a node.
type nodeProcess struct {
	rt    *realtime.Realtime
	store backend.Backend
	pool  *pgxpool.Pool // of the host; nil: it publishes in no transaction
}

// playNode runs a node. It prints "ready" and its address, then a line for each call of a
// handler. A line has left the process when the call returns, so a kill cannot take it
// back.
func playNode(config string) error {
	var cfg nodeConfig
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var n nodeProcess
	for n.rt == nil { // an engine may be down while a node starts
		if err := n.start(cfg, log); err != nil {
			log.Error("the node does not start; trying again", "error", err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", n.rt.Handler())
	mux.HandleFunc("POST /host/{call}", n.call)
	srv := &http.Server{Handler: mux, ConnContext: realtime.ConnContext}
	go func() { _ = srv.Serve(ln) }() // until the process ends
	fmt.Println("ready", ln.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (n *nodeProcess) start(cfg nodeConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b, err := cfg.open(ctx)
	if err != nil {
		return err
	}
	all := realtime.AllowAll()
	rt, err := realtime.New(realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			return realtime.Identity{User: r.Header.Get("X-User")}, nil
		},
		Allow: all.Allow, Grants: all.Grants,
	}, &realtime.Options{Backend: b, Logger: log, Presence: realtime.PresenceOptions{Lease: time.Hour}})
	if err == nil {
		err = rt.Group(groupName, &realtime.GroupOptions{
			Missed: func(e *realtime.ResetError) { fmt.Println("missed", e.Reason) },
		}, func(g *realtime.Group) error { return g.OnChannel(realtime.ChannelMatch{Channel: workChannel}, handle) })
	}
	if err != nil {
		return errors.Join(err, b.Close(ctx))
	}
	if cfg.InTx {
		if n.pool, err = pgxpool.New(ctx, cfg.Postgres+"&target_session_attrs=read-write"); err != nil {
			return errors.Join(err, rt.Close(ctx), b.Close(ctx))
		}
	}
	n.rt, n.store = rt, b
	return nil
}

func handle(_ context.Context, ev realtime.RenEvent) error {
	var m message
	if err := json.Unmarshal(ev.Data, &m); err != nil {
		return err
	}
	fmt.Println("begin", m.ID)
	time.Sleep(time.Millisecond) // work
	fmt.Println("done", m.ID)
	return nil
}

// message is what publishers publish.
type message struct {
	ID int `json:"id"`
}

// ask is a call of a node's host.
type ask struct {
	Channel, User, Client string
	ID                    int

	// Of the store.
	Key    string
	Value  string
	If     backend.Revision
	Append string // data of an entry; "": none
}

// answer is what came of it.
type answer struct {
	Error   string `json:",omitempty"`
	Unknown bool   // the error says so
	Took    time.Duration
	Members []string
	Used    used

	Conflict bool
	Value    string
	Revision backend.Revision
}

func (n *nodeProcess) call(w http.ResponseWriter, r *http.Request) {
	var q ask
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var a answer
	began := time.Now()
	// A host's work does not end with the request that caused it.
	err := n.do(context.WithoutCancel(r.Context()), r.PathValue("call"), q, &a)
	a.Took = time.Since(began)
	if err != nil {
		a.Error = err.Error()
		a.Unknown = errors.Is(err, realtime.ErrMaybeStored) || errors.Is(err, backend.ErrMaybeStored)
		a.Conflict = errors.Is(err, backend.ErrConflict)
	}
	_ = json.NewEncoder(w).Encode(a) // who has asked may be gone
}

func (n *nodeProcess) do(ctx context.Context, call string, q ask, a *answer) error {
	var opts []realtime.EventOption
	if q.Client != "" {
		opts = append(opts, realtime.FromClient(q.Client))
	}
	switch call {
	case "publish":
		if n.pool != nil && q.ID%2 == 0 {
			return n.publishInTx(ctx, q)
		}
		return n.rt.Publish(ctx, q.Channel, message{q.ID})
	case "join":
		return n.rt.Presence().Join(ctx, q.Channel, q.User, nil, opts...)
	case "leave":
		return n.rt.Presence().Leave(ctx, q.Channel, q.User, opts...)
	case "members":
		members, err := n.rt.Presence().Members(ctx, q.Channel)
		for _, m := range members {
			a.Members = append(a.Members, m.UserID)
		}
		return err
	case "revoke": // on a busy machine it may take longer than it does by itself
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return n.rt.Revoke(ctx, q.User)
	case "health":
		return n.rt.Health(ctx)
	case "flood":
		return n.flood(ctx, q.ID)
	case "channels":
		list, err := n.rt.Channels(ctx)
		a.Used.Channels = len(list)
		return err
	case "usage":
		return n.usage(&a.Used)
	case "memory":
		a.Used.Memory = memory()
		return nil
	}
	return n.doStore(ctx, strings.TrimPrefix(call, "store-"), q, a)
}

// used is what a node has used so far.
type used struct {
	CPU      time.Duration
	Calls    uint64 // of the engine
	Memory   uint64 // bytes of the heap and of stacks
	Channels int    // that it lists
}

func (n *nodeProcess) usage(u *used) error {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return err
	}
	u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	for _, m := range n.rt.Stats().Backend.Methods {
		for _, calls := range m.Outcomes {
			u.Calls += calls
		}
	}
	return nil
}

func memory() uint64 {
	runtime.GC()
	runtime.GC() // what the first one has found is freed by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// flood publishes a message to each of so many channels, 64 at a time.
func (n *nodeProcess) flood(ctx context.Context, channels int) error {
	var all errgroup.Group
	all.SetLimit(64)
	for i := range channels {
		all.Go(func() error { return n.rt.Publish(ctx, manyChannel(i), message{i}) })
	}
	return all.Wait()
}

// manyChannel is the name of one of many channels.
func manyChannel(i int) string { return fmt.Sprintf("many:%05d:of-a-common-length", i) }

// publishInTx publishes in a transaction of the host.
func (n *nodeProcess) publishInTx(ctx context.Context, q ask) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	tx, err := n.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // does nothing after Commit
	if err := postgres.Publish(ctx, tx, q.Channel, message{q.ID}); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("%w: %w", realtime.ErrMaybeStored, err)
	}
	return nil
}

// storeTime bounds a call of the store.
const storeTime = 5 * time.Second

func (n *nodeProcess) doStore(ctx context.Context, call string, q ask, a *answer) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	k := backend.Key{Kind: "test", Group: "history", Name: q.Key}
	var entry *backend.Entry
	if q.Append != "" {
		payload := backend.Payload{Event: backend.Event{Type: stepType, Resource: "test", Key: q.Key, Data: json.RawMessage(q.Append)}}
		entry = &backend.Entry{Data: payload.Encode()}
	}
	switch call {
	case "get":
		it, err := n.store.Get(ctx, k)
		a.Value, a.Revision = string(it.Value), it.Revision
		return err
	case "put":
		var err error
		a.Revision, err = n.store.Put(ctx, backend.Write{Key: k, Value: []byte(q.Value), If: q.If, Append: entry})
		return err
	case "log":
		var err error
		a.Members, err = n.steps(ctx, q.Key)
		return err
	case "delete":
		return n.store.Delete(ctx, k, q.If, entry)
	}
	return fmt.Errorf("no call %q", call)
}

// stepType is the type of the events that changes of the store append.
const stepType = "step"

// steps returns the data of all events of a key, in the order of the log.
func (n *nodeProcess) steps(ctx context.Context, key string) (found []string, err error) {
	for pos := (backend.Position{}); ; {
		page, err := n.store.Read(ctx, pos, 500)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			pos = r.Pos
			p, err := backend.DecodePayload(r.Data)
			if err != nil {
				return nil, err
			}
			if p.Event.Type == stepType && p.Event.Key == key {
				found = append(found, string(p.Event.Data))
			}
		}
		if len(page.Records) == 0 || pos == page.Head {
			return found, nil
		}
	}
}
