package natsbackend

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// margin is what an entry may have beside its data, and a value beside its bytes.
const margin = 4 << 10

func (b *Backend) logStream() string   { return b.name + "_log" }
func (b *Backend) storeStream() string { return b.name + "_store" }
func (b *Backend) logSubject() string  { return b.name + ".log" }

func (b *Backend) streams(o Options) []jetstream.StreamConfig {
	storage := jetstream.FileStorage
	if o.Memory {
		storage = jetstream.MemoryStorage
	}
	return []jetstream.StreamConfig{
		{
			Name: b.logStream(), Subjects: []string{b.logSubject()}, Storage: storage, Replicas: o.Replicas,
			MaxMsgs: o.Events, MaxBytes: o.Bytes, MaxAge: o.Age, Duplicates: min(idTime, o.Age), AllowDirect: true,
			MaxMsgSize: -1,
		},
		{
			Name: b.storeStream(), Subjects: []string{b.name + ".store.>"}, Storage: storage, Replicas: o.Replicas,
			MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, Duplicates: 100 * time.Millisecond, AllowDirect: true,
			AllowMsgTTL: true, MaxMsgSize: -1,
		},
	}
}

// place creates a stream unless it is there. It looks first, since even an update to
// the same settings is an operation of the whole cluster. It waits for JetStream, and for
// servers that the others know and have not heard of yet, as it is just after a cluster
// has started.
func (b *Backend) place(ctx context.Context, want jetstream.StreamConfig) error {
	until := time.Now().Add(peersTime)
	return b.try(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s, err = b.js.CreateStream(ctx, want)
		}
		if peerOffline(err) && time.Now().Before(until) {
			return fmt.Errorf("not yet: %v", err) // not final for try, as err is
		}
		if errors.Is(err, nats.ErrNoResponders) && time.Now().After(until) {
			return errNoJetStream
		}
		if err != nil {
			return err
		}
		return differs(s.CachedInfo().Config, want)
	})
}

// errNoJetStream is final for try.
var errNoJetStream = &jetstream.APIError{Code: 400, Description: "no server answers for JetStream; enable it"}

// peerOffline reports whether a stream has no place because a server does not answer.
// The servers use one code for all reasons, most of which only an operator can mend.
func peerOffline(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && refused.ErrorCode == noPeers && strings.Contains(refused.Description, "offline")
}

// differs says in which setting a stream differs from what is wanted, of those that change
// what is stored, for how long, or who can read it. Its error is final for try.
func differs(have, want jetstream.StreamConfig) error {
	for _, f := range []struct {
		name       string
		have, want any
	}{
		{"subjects", fmt.Sprint(have.Subjects), fmt.Sprint(want.Subjects)},
		{"storage", have.Storage, want.Storage},
		{"replicas", have.Replicas, want.Replicas},
		{"max_msgs", have.MaxMsgs, want.MaxMsgs},
		{"max_bytes", have.MaxBytes, want.MaxBytes},
		{"max_age", have.MaxAge, want.MaxAge},
		{"max_msgs_per_subject", max(have.MaxMsgsPerSubject, 0), max(want.MaxMsgsPerSubject, 0)},
		{"duplicate_window", have.Duplicates, want.Duplicates},
		{"allow_direct", have.AllowDirect, want.AllowDirect},
		{"allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL},
		{"retention", have.Retention, jetstream.LimitsPolicy},
		{"discard", have.Discard, jetstream.DiscardOld},
		{"max_msg_size", max(have.MaxMsgSize, 0), max(want.MaxMsgSize, 0)},
		{"max_consumers", max(have.MaxConsumers, 0), max(want.MaxConsumers, 0)},
		{"inactive_threshold", have.ConsumerLimits.InactiveThreshold, want.ConsumerLimits.InactiveThreshold},
		{"no_ack", have.NoAck, want.NoAck},
		{"sealed", have.Sealed, want.Sealed},
		{"persist_mode", have.PersistMode, want.PersistMode},
		{"allow_msg_counter", have.AllowMsgCounter, want.AllowMsgCounter},
		{"mirror", have.Mirror != nil, want.Mirror != nil},
		{"sources", len(have.Sources), len(want.Sources)},
		{"subject_transform", have.SubjectTransform != nil, want.SubjectTransform != nil},
	} {
		if f.have != f.want {
			return &jetstream.APIError{Code: 400, Description: fmt.Sprintf(
				"it exists with another setting: %s is %v, wanted %v; it is not changed", f.name, f.have, f.want)}
		}
	}
	return nil
}

// state returns what the leader of a stream says of it.
func (b *Backend) state(ctx context.Context, stream string) (state jetstream.StreamState, err error) {
	err = b.try(ctx, func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, stream)
		if err == nil {
			state = s.CachedInfo().State
		}
		return err
	})
	return state, err
}
