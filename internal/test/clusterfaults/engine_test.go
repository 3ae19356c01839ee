package clusterfaults

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// engine is what nodes keep their log and store in.
type engine struct {
	servers []*server
	proxied []string // the addresses that a node reaches through proxies of its own
	config  func(proxies []string) nodeConfig
	fences  bool // each restart begins another epoch
	faults  []string
	primary func() *server // that all changes go through at present

	// elected returns the address that the node reaches the engine at which the others leave
	// some work to. nil: they are all alike.
	elected func() string

	// failover kills the primary, whose standby has lagged for a time, and returns when
	// another one is it. nil: somebody watches over the servers, and does the latter.
	failover func(lag time.Duration)
}

// addresses are those of servers.
func addresses(servers []*server) (list []string) {
	for _, s := range servers {
		list = append(list, s.addr)
	}
	return list
}

func oneNATS(t testing.TB) *engine {
	servers := startNATS(t, 1)
	return &engine{
		servers: servers, proxied: addresses(servers), primary: func() *server { return servers[0] },
		config: func(proxies []string) nodeConfig { return nodeConfig{NATS: natsURLs(proxies)} },
		faults: []string{killNode, cutNode, silenceNode, killPrimary, loseTail, loseAll},
	}
}

func threeNATS(t testing.TB) *engine {
	servers := startNATS(t, 3)
	return &engine{
		servers: servers, proxied: addresses(servers), primary: func() *server { return natsLeader(t, servers) },
		config: func(proxies []string) nodeConfig { return nodeConfig{NATS: natsURLs(proxies), Replicas: 3} },
		faults: []string{killNode, cutNode, silenceNode, killPrimary, killOther, loseTail},
	}
}

func natsURLs(addrs []string) string { return "nats://" + strings.Join(addrs, ",nats://") }

// natsLeader returns the server that leads the log.
func natsLeader(t testing.TB, servers []*server) *server {
	t.Helper()
	nc, err := nats.Connect(natsURLs(addresses(servers)), nats.MaxReconnects(-1), nats.Timeout(pace.Slow(answerTime)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var leader *server
	within(t, patience, "the log has a leader", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), pace.Slow(answerTime))
		defer cancel()
		s, err := js.Stream(ctx, "realtime_log")
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for _, srv := range servers {
			if srv.name == s.CachedInfo().Cluster.Leader {
				leader = srv
			}
		}
		return leader != nil
	})
	return leader
}

func oneRedis(t testing.TB) *engine {
	s := startRedis(t, "redis")
	return &engine{
		servers: []*server{s}, proxied: []string{s.addr}, primary: func() *server { return s }, fences: true,
		config: func(proxies []string) nodeConfig { return nodeConfig{Redis: proxies} },
		faults: []string{killNode, cutNode, silenceNode, killPrimary, loseTail, loseAll},
	}
}

func sentinelRedis(t testing.TB) *engine {
	a := startRedis(t, "redis0")
	host, port, _ := strings.Cut(a.addr, ":")
	b := startRedis(t, "redis1", "--replicaof", host, port)
	sentinel := startSentinel(t, a, b)
	servers := []*server{a, b}
	return &engine{
		servers: servers, fences: true,
		config: func([]string) nodeConfig { return nodeConfig{Redis: []string{sentinel.addr}, Sentinel: true} },
		faults: []string{killNode, failover},
		primary: func() *server {
			var master *server
			within(t, patience, "there is one master", func() bool {
				master = nil
				for _, s := range servers {
					if info, err := redisInfo(s.addr, "replication"); err == nil && strings.Contains(info, "role:master") {
						if master != nil {
							return false
						}
						master = s
					}
				}
				return master != nil
			})
			return master
		},
	}
}
