package embedded_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/test/enginetest"
	"github.com/maravilla-realtime/realtime/natsbackend"
	"github.com/maravilla-realtime/realtime/natsbackend/embedded"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// configured starts a server with settings that an operator has made.
func configured(t *testing.T, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true, MaxPayload: 8 << 20, MaxPending: 32 << 20,
	}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return s
}

// What only an operator can mend is an error of New at once, which says what it is.
func TestNewTellsWhatToChange(t *testing.T) {
	account := func(o *server.Options) {
		a := server.NewAccount("A")
		o.Accounts = append(o.Accounts, a)
		o.Users = []*server.User{{Username: "a", Password: "a", Account: a}}
	}
	for _, c := range []struct {
		name    string
		change  func(*server.Options)
		options natsbackend.Options
		want    string
	}{
		{"an account without JetStream", account, natsbackend.Options{Connect: []nats.Option{nats.UserInfo("a", "a")}}, "JetStream not enabled for account"},
		{"a wrong password", account, natsbackend.Options{Connect: []nats.Option{nats.UserInfo("a", "b")}}, "Authorization"},
		{"a small payload", func(o *server.Options) { o.MaxPayload, o.MaxPending = 0, 0 }, natsbackend.Options{}, "max_payload"},
		{"a small disk", func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 }, natsbackend.Options{}, "insufficient storage"},
		{"three replicas on one server", func(*server.Options) {}, natsbackend.Options{Replicas: 3}, "replicas"},
		{"no server", nil, natsbackend.Options{Connect: []nats.Option{nats.RetryOnFailedConnect(true)}}, "connect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.URL = "nats://127.0.0.1:1"
			if c.change != nil {
				c.options.URL = configured(t, c.change).ClientURL()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			b, err := natsbackend.New(ctx, c.options)
			if err == nil {
				_ = b.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("New returned %v, want %q", err, c.want)
			}
		})
	}
}

// New ends with its context.
func TestSilentServer(t *testing.T) {
	enginetest.EndsWithContext(t, func(ctx context.Context, addr string) error {
		_, err := natsbackend.New(ctx, natsbackend.Options{URL: "nats://" + addr})
		return err
	})
}

// A node that lags by more than the server holds for a connection is not cut by it.
func TestLargeBacklog(t *testing.T) {
	const large = 4 << 20
	url := configured(t, func(o *server.Options) { o.MaxPending = 4 * large }).ClientURL()
	open := func(opts ...nats.Option) *natsbackend.Backend {
		b, err := natsbackend.New(t.Context(), natsbackend.Options{URL: url, Bytes: 1 << 30, Connect: opts})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		return b
	}
	b := open()
	first := enginetest.Append(t, b, "first")
	for i := 0; i < 24; {
		switch _, err := b.Append(t.Context(), backend.Entry{Data: make([]byte, large)}); {
		case err == nil:
			i++
		case !errors.Is(err, backend.ErrMaybeStored):
			t.Fatal(err)
		}
	}
	enginetest.Append(t, b, "last")
	var cuts atomic.Int64
	f := enginetest.Follow(t, open(nats.DisconnectErrHandler(func(*nats.Conn, error) { cuts.Add(1) })), first)
	for f.Next(t).ID != "last" {
	}
	if n := cuts.Load(); n > 0 {
		t.Errorf("the connection was cut %d times", n)
	}
}

// A stream that exists is refused if one of its settings would lose, change or hide what
// is stored.
func TestOtherStreams(t *testing.T) {
	s := start(t, embedded.Options{})
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for setting, change := range map[string]func(*jetstream.StreamConfig){
		"":                  func(*jetstream.StreamConfig) {},
		"max_msgs":          func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 },
		"storage":           func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"max_msg_size":      func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 },
		"max_consumers":     func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"no_ack":            func(c *jetstream.StreamConfig) { c.NoAck = true },
		"allow_msg_counter": func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"sources":           func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "other"}} },
		"discard":           func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew },
		"persist_mode":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"inactive_threshold": func(c *jetstream.StreamConfig) {
			c.ConsumerLimits.InactiveThreshold = time.Second
		},
		"subject_transform": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "other.>"}
		},
	} {
		t.Run(setting, func(t *testing.T) {
			name := "with-" + setting
			c := jetstream.StreamConfig{
				Name: name + "_log", Subjects: []string{name + ".log"}, MaxMsgs: 1 << 16, MaxBytes: 64 << 20, MaxAge: 5 * time.Minute,
				Duplicates: 2 * time.Minute, AllowDirect: true,
			}
			change(&c)
			if _, err := js.CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			b, err := natsbackend.New(t.Context(), natsbackend.Options{URL: s.URL(), Name: name})
			if err == nil {
				_ = b.Close(t.Context())
			}
			if setting == "" && err != nil || setting != "" && (err == nil || !strings.Contains(err.Error(), setting+" is")) {
				t.Errorf("New returned %v", err)
			}
		})
	}
}

// A key that is too long is an error of its caller. The server would end the connection for
// good, and with it all that this node does.
func TestLongKeys(t *testing.T) {
	b := open(t, start(t, embedded.Options{}).URL(), nil)
	rev, err := b.Put(t.Context(), backend.Write{Key: backend.Key{Kind: "k", Group: "g", Name: "n"}, Value: []byte("v")})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 5000)
	for _, k := range []backend.Key{{Kind: "k", Group: long, Name: "n"}, {Kind: "k", Group: "g", Name: long}} {
		_, put := b.Put(t.Context(), backend.Write{Key: k, Value: []byte("v")})
		_, get := b.Get(t.Context(), k)
		for what, err := range map[string]error{"Put": put, "Get": get, "Delete": b.Delete(t.Context(), k, rev, nil)} {
			if !errors.Is(err, backend.ErrTooLarge) {
				t.Errorf("%s returned %v", what, err)
			}
		}
	}
	for _, err := range b.List(t.Context(), "k", long) {
		if !errors.Is(err, backend.ErrTooLarge) {
			t.Errorf("List gave %v", err)
		}
	}
	longest := strings.Repeat("\xff", 255)
	if _, err := b.Put(t.Context(), backend.Write{Key: backend.Key{Kind: "k", Group: longest, Name: longest}, Value: []byte("v")}); err != nil {
		t.Errorf("a key of 255 bytes: %v", err)
	}
}

// A server that refuses the credentials for a time, as while they are rotated, is
// connected to again, whatever the host's options of the connection say.
func TestRefusedForATime(t *testing.T) {
	var o *server.Options
	s := configured(t, func(c *server.Options) {
		c.Username, c.Password = "a", "right"
		o = c
	})
	refused, ended := make(chan error, 100), make(chan struct{})
	b := open(t, s.ClientURL(), func(o *natsbackend.Options) {
		o.Connect = []nats.Option{
			nats.UserInfo("a", "right"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(ended) }),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
				select {
				case refused <- err:
				default:
				}
			}),
		}
	})
	enginetest.Append(t, b, "before")
	change := func(password string) {
		t.Helper()
		changed := o.Clone()
		changed.Password, changed.Port = password, s.Addr().(*net.TCPAddr).Port
		if err := s.ReloadOptions(changed); err != nil {
			t.Fatal(err)
		}
	}
	change("another")
	for range 3 {
		select {
		case <-refused:
		case <-ended:
			t.Fatal("the connection has ended for good")
		case <-time.After(time.Minute):
			t.Fatal("the connection was not refused")
		}
	}
	change("right")
	enginetest.Append(t, b, "after")
}
