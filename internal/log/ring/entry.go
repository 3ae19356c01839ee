package ring

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Form numbers the wire forms an event can be encoded in.
type Form int

// The wire forms.
const (
	FormREN     Form = iota // SSE frame
	FormRENBare             // SSE frame of an event whose data is not granted
	FormChannel             // WebSocket frame
	forms
)

// Entry is an event in the ring with the encodings it has so far, which all
// connections share.
type Entry struct {
	backend.Logged
	came time.Time // to this node: other nodes' clocks may differ
	of   *known    // what it is about; nil of a live event

	encoding sync.Mutex // held while the entry is encoded
	encoded  [forms]atomic.Pointer[[]byte]
	size     atomic.Int64  // what the entry takes of the ring's bytes
	spans    atomic.Int32  // of its deliveries, see TakeSpan
	ring     *atomic.Int64 // the ring's bytes
}

// Came returns when the entry came to this node.
func (e *Entry) Came() time.Time { return e.came }

// TakeSpan reports whether another delivery of the entry is worth a span, of which there
// are at most so many.
func (e *Entry) TakeSpan(most int32) bool { return e.spans.Load() < most && e.spans.Add(1) <= most }

// Encoded returns the entry in the given form. The first call for a form runs
// encode; all others get its result. The caller must not change the bytes.
func (e *Entry) Encoded(form Form, encode func(*backend.Logged) []byte) []byte {
	if b := e.encoded[form].Load(); b != nil {
		return *b
	}
	e.encoding.Lock()
	defer e.encoding.Unlock()
	if b := e.encoded[form].Load(); b != nil {
		return *b
	}
	b := encode(&e.Logged)
	e.encoded[form].Store(&b)
	e.grow(int64(len(b)))
	return b
}

// grow adds n bytes to the size of the entry, and to that of its ring while the
// entry is in it. leave subtracts the whole size from the ring, and sets the
// entry's size negative to mark that it has left.
func (e *Entry) grow(n int64) {
	for {
		size := e.size.Load()
		if size < 0 {
			return
		}
		if e.size.CompareAndSwap(size, size+n) {
			e.ring.Add(n)
			return
		}
	}
}

func (e *Entry) leave() {
	e.ring.Add(-e.size.Swap(-1))
}

// overhead is the approximate size of an entry without its strings and data: the
// record, the entry itself, and its places in the ring, its subject and some topics.
const overhead = 384

// perSubject is about what the ring needs for a subject, and for a channel. The entry
// that is the first one of a subject is charged with it.
const perSubject = 512

func newEntry(rec *backend.Logged, came time.Time, bytes *atomic.Int64) *Entry {
	e := &Entry{Logged: *rec, came: came, ring: bytes}
	ev := &rec.Event
	e.grow(int64(overhead + len(ev.Type) + len(ev.Resource) + len(ev.Key) + len(ev.Version) +
		len(ev.Source) + len(ev.Namespace) + len(ev.Channel) + len(ev.Data) + len(ev.User) + len(rec.Kind) + len(rec.Trace.Parent) + len(rec.Trace.State)))
	return e
}
