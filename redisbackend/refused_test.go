package redisbackend_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/redisbackend"
	"github.com/redis/rueidis"
)

// do sends commands to a server, as another program or an operator does.
func do(t *testing.T, addr string, commands ...[]string) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, args := range commands {
		if err := c.Do(t.Context(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
	}
}

func TestNewRefuses(t *testing.T) { onEach(t, testNewRefuses) }

func testNewRefuses(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	host, port, _ := strings.Cut(s.addr, ":")
	replica := startServer(t, k, "--replicaof", host, port)
	waitForReplica(t, replica.addr)
	sentinel := startSentinel(t, k, s)
	evicts := startServer(t, k, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	do(t, s.addr,
		[]string{"SET", "{text}:log", "of another program"},
		[]string{"SADD", "{set}:meta", "of another program"},
		[]string{"ACL", "SETUSER", "keys", "on", ">p", "+@all", "~other:*"},
		[]string{"ACL", "SETUSER", "scripts", "on", ">p", "+@all", "-@scripting", "~*"},
	)
	user := func(name string) redisbackend.Options {
		return redisbackend.Options{Client: rueidis.ClientOption{Username: name, Password: "p"}}
	}
	for _, c := range []struct {
		name    string
		addr    string
		options redisbackend.Options
		want    string
	}{
		{"nothing there", "127.0.0.1:1", redisbackend.Options{}, "connect"},
		{"braces", s.addr, redisbackend.Options{Prefix: "a{b}"}, "braces"},
		{"a negative number", s.addr, redisbackend.Options{Events: -1}, "negative"},
		{"a server that evicts", evicts.addr, redisbackend.Options{}, "noeviction"},
		{"a replica", replica.addr, redisbackend.Options{}, "is a replica"},
		{"a sentinel as a server", sentinel, redisbackend.Options{}, "MasterSet"},
		{"a log of another type", s.addr, redisbackend.Options{Prefix: "text"}, "another program"},
		{"a state of another type", s.addr, redisbackend.Options{Prefix: "set"}, "another program"},
		{"a user without keys", s.addr, user("keys"), "lacks a right"},
		{"a user without scripts", s.addr, user("scripts"), "lacks a right"},
		{"reads from replicas", s.addr, redisbackend.Options{Client: rueidis.ClientOption{
			SendToReplicas: func(rueidis.Completed) bool { return true },
			Standalone:     rueidis.StandaloneOption{ReplicaAddress: []string{replica.addr}},
		}}, "lag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Client.InitAddress = []string{c.addr}
			b, err := redisbackend.New(t.Context(), c.options)
			if err == nil {
				_ = b.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("New returned %v, want %q", err, c.want)
			}
		})
	}
}

// New ends with its context.
func TestSilentServer(t *testing.T) {
	enginetest.EndsWithContext(t, func(ctx context.Context, addr string) error {
		_, err := redisbackend.New(ctx, redisbackend.Options{Client: rueidis.ClientOption{InitAddress: []string{addr}}})
		return err
	})
}

func TestVersions(t *testing.T) {
	for info, want := range map[string]string{
		"redis_version:6.2.21": "is Redis 6.2.21", "redis_version:7.0.0": "", "redis_version:10.1.0": "",
		"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.9": "is Valkey 7.2.9",
		"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1": "",
		"redis_version:": "is Redis ", "": "is Redis ",
	} {
		err := redisbackend.Suits("# Server\r\n" + info + "\r\nredis_mode:standalone\r\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", info, err, want)
		}
	}
}

// Redis does not undo what a script did before it failed. A change that fails, since another
// program has written to one of its keys, must nevertheless have changed nothing.
func TestFailedChangeChangesNothing(t *testing.T) { onEach(t, testFailedChangeChangesNothing) }

func testFailedChangeChangesNothing(t *testing.T, k enginetest.Redis) {
	s := startServer(t, k)
	for _, c := range []struct {
		name   string
		key    []string
		broken []string // the command, without its key
	}{
		{"the groups", []string{"g", "k"}, []string{"SET", "another"}},
		{"the record's hash", []string{"s", "k", "g"}, []string{"SET", "another"}},
		{"the id", []string{"id", "step"}, []string{"SADD", "another"}},
		{"the log", []string{"log"}, []string{"SET", "another"}},
		{"an entry at the next place", []string{"log"}, []string{"XADD", "*", "by", "another"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, s.addr, nil)
			adds := c.broken[0] == "XADD"
			if adds {
				enginetest.Append(t, b, "before")
			}
			key := b.Key(c.key...)
			do(t, s.addr, append([]string{c.broken[0], key}, c.broken[1:]...))
			w := backend.Write{
				Key: backend.Key{Kind: "k", Group: "g", Name: "n"}, Value: []byte("v"), Append: &backend.Entry{ID: "step", Data: []byte("step")},
			}
			if _, err := b.Put(t.Context(), w); err == nil || errors.Is(err, backend.ErrMaybeStored) {
				t.Fatalf("Put returned %v", err)
			}
			if !adds {
				do(t, s.addr, []string{"DEL", key})
			}
			if it, err := b.Get(t.Context(), w.Key); err != nil || it.Revision != 0 {
				t.Errorf("after a change that has failed: %+v, %v", it, err)
			}
			for it, err := range b.List(t.Context(), "k", "") {
				t.Errorf("after a change that has failed: %+v, %v", it, err)
			}
			page, err := b.Read(t.Context(), backend.Position{}, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if r.ID == "step" {
					t.Errorf("the log has %+v", r)
				}
			}
			if _, err := b.Put(t.Context(), w); err != nil {
				t.Errorf("Put again: %v", err)
			}
		})
	}
}
