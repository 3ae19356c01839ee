package natsbackend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// starting is a cluster whose servers know each other after some time.
type starting struct {
	jetstream.JetStream
	refusal error
	until   time.Time
	stream  *created
}

type created struct {
	jetstream.Stream
	config jetstream.StreamConfig
}

func (s *created) CachedInfo() *jetstream.StreamInfo { return &jetstream.StreamInfo{Config: s.config} }

func (js *starting) Stream(context.Context, string) (jetstream.Stream, error) {
	if js.stream == nil {
		return nil, jetstream.ErrStreamNotFound
	}
	return js.stream, nil
}

func (js *starting) CreateStream(_ context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if time.Now().Before(js.until) {
		return nil, js.refusal
	}
	js.stream = &created{config: c}
	return js.stream, nil
}

// In the first second of a cluster, its servers answer that others are offline. Other
// reasons that there is no place have the same code, and only an operator can mend them. A
// server that has just started may know nothing of JetStream yet.
func TestPlaceWaitsForServers(t *testing.T) {
	offline := &jetstream.APIError{Code: 400, ErrorCode: noPeers, Description: "no suitable peers for placement, peer offline"}
	full := &jetstream.APIError{Code: 400, ErrorCode: noPeers, Description: "no suitable peers for placement, insufficient storage"}
	forbidden := &jetstream.APIError{Code: 503, ErrorCode: 10039, Description: "JetStream not enabled for account"}
	for _, c := range []struct {
		name    string
		refusal error
		lasts   time.Duration
		takes   time.Duration
		want    error
	}{
		{"soon", offline, 3 * time.Second, 3 * time.Second, nil},
		{"never", offline, time.Hour, peersTime, offline},
		{"for another reason", full, time.Second, 0, full},
		{"JetStream soon", nats.ErrNoResponders, 3 * time.Second, 3 * time.Second, nil},
		{"no JetStream", nats.ErrNoResponders, time.Hour, peersTime, errNoJetStream},
		{"JetStream of another account", forbidden, time.Hour, 0, forbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b := &Backend{js: &starting{refusal: c.refusal, until: began.Add(c.lasts)}, life: backend.NewLife()}
				err := b.place(t.Context(), jetstream.StreamConfig{Name: "log"})
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("place returned %v, want %v", err, c.want)
				}
				if took := time.Since(began); took < c.takes || took > c.takes+2*retryAfter {
					t.Errorf("place took %v, want %v", took, c.takes)
				}
			})
		})
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"2.9.10": true, "2.11.17": true, "2.12": true, "2.12.0": true, "2.12.1": true, "": true,
		"2.12.3": false, "2.12.15": false, "2.15.2": false, "2.16.0-dev": false, "3.0.0": false,
	} {
		if got := older(version, minVersion); got != want {
			t.Errorf("older(%q) is %v", version, got)
		}
	}
}
