package live

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/jitter"
)

const (
	every    = 50 * time.Millisecond // between two batches
	maxBatch = 256 << 10             // bytes, which the last one may exceed
	patience = 5 * time.Second       // with an engine that does not take a batch
	overhead = 64                    // bytes of an event beside its data and names

	maxWaiting  = 1 << 14 // messages
	maxBytes    = 8 << 20 // of these
	maxChannels = 1 << 14 // within a second
	maxKinds    = 256     // that wait, of one channel
)

// ErrFull: too much waits.
var ErrFull = errors.New("live: too many messages wait")

// Sender gathers what a node sends. Its methods may be called concurrently, and do not
// block, except Run.
type Sender struct {
	// Append appends an entry to the log.
	Append func(context.Context, backend.Entry) error
	// Rate is how many messages a second are sent of one channel. Those beyond it wait.
	Rate int
	// Others returns what others have to send with a batch, about most bytes of it, and
	// whether they have more. They call Soon when they have something. Nil: nobody else
	// sends.
	Others func(most int) (batch []backend.Payload, more bool)
	Logger *slog.Logger

	wake chan struct{} // holds one

	mu      sync.Mutex
	rooms   map[string]*room
	waiting int // messages
	bytes   int // of these
	tally   struct{ coalesced, lost uint64 }
}

// Stats is what a Sender has, and has done since it was made, in messages.
type Stats struct {
	Waiting   int
	Coalesced uint64 // that were not sent, since a newer one came or too many others of the channel
	Lost      uint64 // that the log did not take
}

// Stats returns the present figures.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{s.waiting, s.tally.coalesced, s.tally.lost}
}

// room is a channel that was published to within the last second.
type room struct {
	waiting []backend.Payload // the oldest first; of each user and kind only the newest
	allowed float64           // messages now
	at      time.Time         // as of
}

// New returns a Sender. Its fields must be set before Run.
func New() *Sender {
	return &Sender{wake: make(chan struct{}, 1), rooms: make(map[string]*room)}
}

// Soon has Run look at what there is to send.
func (s *Sender) Soon() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Publish has an ephemeral message sent. Its Key is its kind. It replaces one of the
// same kind and user that waits. Error: [ErrFull].
func (s *Sender) Publish(ev backend.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[ev.Channel]
	switch {
	case r == nil && len(s.rooms) == maxChannels, s.waiting >= maxWaiting, s.bytes >= maxBytes:
		return ErrFull
	case r == nil:
		r = &room{allowed: float64(s.Rate), at: time.Now()}
		s.rooms[ev.Channel] = r
	}
	s.put(r, backend.Payload{Event: ev})
	s.Soon()
	return nil
}

func (s *Sender) put(r *room, p backend.Payload) {
	s.bytes += size(p)
	for i := range r.waiting {
		if old := &r.waiting[i]; old.Event.Key == p.Event.Key && sameSender(&old.Event, &p.Event) {
			s.bytes -= size(*old)
			s.tally.coalesced++
			// Not in its place: "typing" must come after the "stopped" before it.
			r.waiting = append(slices.Delete(r.waiting, i, i+1), p)
			return
		}
	}
	if s.waiting++; len(r.waiting) == maxKinds {
		s.drop(r, 1)
		s.tally.coalesced++
	}
	r.waiting = append(r.waiting, p)
}

// drop takes the n oldest messages of a room away.
func (s *Sender) drop(r *room, n int) (dropped []backend.Payload) {
	dropped = r.waiting[:n:n]
	for _, p := range dropped {
		s.bytes -= size(p)
	}
	s.waiting -= n
	r.waiting = r.waiting[n:]
	return dropped
}

// sameSender reports whether two messages are of one user, or of one client without a
// user.
func sameSender(a, b *backend.Event) bool {
	return a.User == b.User && (a.User != "" || a.Source == b.Source)
}

func size(p backend.Payload) int {
	ev := &p.Event
	return overhead + len(ev.Channel) + len(ev.Data) + len(ev.Key) + len(ev.User) + len(ev.Source)
}

// take returns messages that may be sent now, about most bytes of them.
func (s *Sender) take(most int) (batch []backend.Payload, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for name, r := range s.rooms {
		elapsed := now.Sub(r.at)
		r.allowed, r.at = min(r.allowed+elapsed.Seconds()*float64(s.Rate), float64(s.Rate)), now
		if len(r.waiting) == 0 && r.allowed >= float64(s.Rate) {
			delete(s.rooms, name)
		}
		n := 0
		for ; n < min(len(r.waiting), int(r.allowed)) && most > 0; n++ {
			most -= size(r.waiting[n])
		}
		r.allowed -= float64(n)
		batch = append(batch, s.drop(r, n)...)
	}
	return batch, len(s.rooms) > 0
}

// Run sends until ctx ends. What waits then is not sent.
func (s *Sender) Run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		pause := time.NewTimer(every)
		batch, more := s.take(maxBatch)
		if s.Others != nil {
			theirs, again := s.Others(maxBatch)
			batch, more = append(batch, theirs...), more || again
		}
		if len(batch) > 0 {
			s.send(ctx, batch)
		}
		if more {
			s.Soon()
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

// send appends a batch. It repeats that for a while if it fails: with the same id, so
// that nothing is sent twice.
func (s *Sender) send(ctx context.Context, batch []backend.Payload) {
	p := backend.Payload{Event: backend.Event{Resource: backend.Control, Type: Type, Data: Encode(batch)}}
	entry := backend.Entry{ID: "live." + rand.Text(), Data: p.Encode()}
	for began, wait := time.Now(), every; ; wait = min(2*wait, time.Second) {
		err := s.Append(ctx, entry)
		switch {
		case err == nil, errors.Is(err, backend.ErrClosed), ctx.Err() != nil:
			return
		case time.Since(began) > patience:
			s.Logger.Error("realtime: live events are lost; the backend does not take them", "error", err)
			s.mu.Lock()
			for _, p := range batch {
				if p.Event.Resource != backend.Control { // else it is of others
					s.tally.lost++
				}
			}
			s.mu.Unlock()
			return
		}
		select {
		case <-time.After(jitter.Half(wait)):
		case <-ctx.Done():
			return
		}
	}
}
