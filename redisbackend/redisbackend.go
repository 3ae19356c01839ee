// Package redisbackend keeps the log and the store of a realtime deployment in Redis
// (7.0 or later) or Valkey (8 or later).
//
//	b, err := redisbackend.New(ctx, redisbackend.Options{
//		Client: rueidis.ClientOption{InitAddress: []string{"redis:6379"}},
//	})
//	…
//	rt, err := realtime.New(policy, &realtime.Options{Backend: b})
//
// The log is one stream and the records are hashes; scripts change both in one step.
//
// # What nil from Publish means
//
// The master has the event, and as much of its disk and its replicas as Redis is
// configured to wait for. With appendonly and appendfsync everysec a crash can lose
// the last second, and a failover loses what the new master has not received. Such a
// loss is told: the log continues in a greater epoch, and clients are reset. Set
// min-replicas-to-write to refuse writes that no replica receives.
//
// # Sentinel and Cluster
//
// Sentinel is supported (rueidis.ClientOption.Sentinel). On a Redis Cluster all keys
// of one deployment are in one slot, by the hash tag of [Options].Prefix: one log
// does not spread over masters.
//
// # Memory
//
// Redis must not evict keys: New refuses a server with a maxmemory-policy other than
// noeviction if the server tells it. The log takes about 300 bytes and the size of
// the event for each of the retained events.
package redisbackend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/redis/rueidis"
)

// Options say where Redis is and what to keep there.
type Options struct {
	// Client is how to connect: addresses, credentials, TLS, Sentinel. InitAddress is
	// required. New sets DisableCache and DisableRetry: a backend must not repeat what
	// may have taken effect. What sends requests to replicas is refused, since a replica
	// lags.
	Client rueidis.ClientOption

	// Prefix begins every key. Deployments that share a Redis need different ones.
	// Default "realtime".
	Prefix string

	// Events is how many events the log retains, at least; Redis keeps up to a few
	// hundred more. Default 65,536. All nodes must use the same number: the log has what the
	// smallest one leaves.
	Events int
}

// requestTime bounds one request, its answer included.
const requestTime = 5 * time.Second

// idTime is how long an id is remembered: see [backend.Log].
const idTime = 2 * time.Minute

// Backend implements [backend.Backend]. Its methods may be called concurrently.
type Backend struct {
	client rueidis.Client
	prefix string
	events string

	epoch atomic.Uint64 // the greatest that was seen in an answer

	blockTime time.Duration // tests change it

	life *backend.Life
}

var _ backend.Backend = (*Backend)(nil)

func (o *Options) check() error {
	if o.Prefix == "" {
		o.Prefix = "realtime"
	}
	if o.Events == 0 {
		o.Events = 1 << 16
	}
	c := &o.Client
	switch {
	case strings.ContainsAny(o.Prefix, "{}"):
		return fmt.Errorf("redisbackend: Options.Prefix %q must not contain braces", o.Prefix)
	case o.Events < 0:
		return errors.New("redisbackend: Options.Events is negative")
	case c.ReplicaOnly, c.SendToReplicas != nil, c.ReadNodeSelector != nil, len(c.Standalone.ReplicaAddress) > 0:
		return errors.New("redisbackend: Options.Client must not send requests to replicas, since they lag")
	}
	return nil
}

// New connects to Redis and checks it. The owner calls [Backend.Close]. The error says
// what to change if the server is too old, would evict keys, or refuses what the backend
// does. An address that does not answer takes as long as Client.Dialer.Timeout says, 5 s
// by default.
func New(ctx context.Context, o Options) (*Backend, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Client.DisableCache, o.Client.DisableRetry = true, true
	if o.Client.ConnWriteTimeout == 0 {
		o.Client.ConnWriteTimeout = requestTime
	}
	client, err := backend.Connect(ctx, func() (rueidis.Client, error) { return rueidis.NewClient(o.Client) }, rueidis.Client.Close)
	if err != nil {
		return nil, fmt.Errorf("redisbackend: connect: %w", err)
	}
	b := &Backend{client: client, prefix: "{" + o.Prefix + "}:", events: strconv.Itoa(o.Events), blockTime: blockTime, life: backend.NewLife()}
	if err := b.check(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return b, nil
}

// check refuses servers that cannot keep the promises of the contract.
func (b *Backend) check(ctx context.Context) error {
	info, err := b.client.Do(ctx, b.client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return fmt.Errorf("redisbackend: the server does not tell its version: %w", err)
	}
	if err := suits(info); err != nil {
		return err
	}
	// Managed servers often forbid CONFIG; then the documentation has to do.
	config, err := b.client.Do(ctx, b.client.B().ConfigGet().Parameter("maxmemory*").Build()).AsStrMap()
	policy := config["maxmemory-policy"]
	if err == nil && policy != "noeviction" && config["maxmemory"] != "0" {
		return fmt.Errorf("redisbackend: the server evicts keys (maxmemory-policy %s); set it to noeviction", policy)
	}
	return b.allowed(ctx)
}

// suits reports what is wrong with a server, by what it says of itself.
func suits(info string) error {
	version := func(field string) (major int, whole string) {
		_, rest, _ := strings.Cut(info, field+":")
		whole, _, _ = strings.Cut(rest, "\r\n")
		first, _, _ := strings.Cut(whole, ".")
		major, _ = strconv.Atoi(first)
		return major, whole
	}
	if strings.Contains(info, "_mode:sentinel") {
		return errors.New("redisbackend: the server is a sentinel; name its master in Options.Client.Sentinel.MasterSet")
	}
	if strings.Contains(info, "server_name:valkey") {
		if major, whole := version("valkey_version"); major < 8 {
			return fmt.Errorf("redisbackend: the server is Valkey %s; it must be 8 or later", whole)
		}
	} else if major, whole := version("redis_version"); major < 7 {
		return fmt.Errorf("redisbackend: the server is Redis %s; it must be 7.0 or later", whole)
	}
	return nil
}

// allowed does what nodes do, and reports why the server refuses it.
func (b *Backend) allowed(ctx context.Context) error {
	_, err := b.Read(ctx, backend.Position{}, 0)
	var refused *rueidis.RedisError
	if !errors.As(err, &refused) {
		return err
	}
	code, _, _ := strings.Cut(refused.Error(), " ")
	switch code {
	case "READONLY":
		return fmt.Errorf("redisbackend: the server is a replica; name its master, or Options.Client.Sentinel: %w", refused)
	case "WRONGTYPE":
		return fmt.Errorf("redisbackend: another program uses keys that begin with %s; choose another Options.Prefix: %w", b.prefix, refused)
	case "NOPERM":
		return fmt.Errorf("redisbackend: the user lacks a right, to scripts or to keys that begin with %s: %w", b.prefix, refused)
	}
	return err
}

// Close implements [backend.Backend]. It does not wait for sinks to return.
func (b *Backend) Close(context.Context) error {
	b.life.End(b.client.Close)
	return nil
}

// failed returns what an error of a read means.
func (b *Backend) failed(err error) error {
	if b.life.Ended() {
		return backend.ErrClosed
	}
	return fmt.Errorf("redisbackend: %w", err)
}

// outcome returns what an error of a change means: Redis either says that it has
// refused it, or does not answer.
func (b *Backend) outcome(err error) error {
	var refused *rueidis.RedisError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return fmt.Errorf("redisbackend: %w", err)
	}
	return b.life.Unanswered(fmt.Errorf("redisbackend: %w", err))
}

// see remembers the epoch of a position in an answer.
func (b *Backend) see(p backend.Position) {
	for {
		old := b.epoch.Load()
		if p.Epoch <= old || b.epoch.CompareAndSwap(old, p.Epoch) {
			return
		}
	}
}

// seen returns the greatest epoch that was seen, for a script.
func (b *Backend) seen() string { return strconv.FormatUint(b.epoch.Load(), 10) }

func (b *Backend) key(parts ...string) string { return b.prefix + strings.Join(parts, ":") }
