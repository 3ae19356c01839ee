package backendtest

import (
	"context"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
)

// Faulty is a backend whose faults can be switched on, to test the layer
// above. Without faults it behaves like the backend it wraps. All methods may be
// called concurrently.
//
// The faults of Hold, LoseTail, NewEpoch and the Fail methods can happen to a correct
// backend. Those of Skip, Repeat and ForgetIDs break the contract.
type Faulty struct {
	backend.Backend

	mu      sync.Mutex
	runs    map[*run]struct{} // calls of Follow
	held    chan struct{}     // closed by Release; nil while nothing is held
	seen    uint64            // the newest sequence number of the wrapped log that a caller has got
	eras    []era             // only the newest one is still in use
	skip    int
	repeat  int
	forgets bool

	appends      []appendFault // of the next appends, one each
	followErrors []error       // of the next calls of Follow, one each
}

// An era is a part of the wrapped log that Faulty shows as an epoch of its
// own: the i-th one is i epochs later than the log's.
type era struct {
	after uint64 // the era begins after this wrapped sequence number
	seq   uint64 // the sequence number that the era shows for it
}

type appendFault struct {
	err    error
	stores bool
}

// A run is one call of Follow.
type run struct {
	end       context.CancelCauseFunc
	delivered []backend.Record // the newest ones, for Repeat
}

// repeatMax bounds what a run keeps for Repeat.
const repeatMax = 256

// NewFaulty wraps b. From then on b must be used only through the result.
func NewFaulty(b backend.Backend) *Faulty {
	return &Faulty{Backend: b, runs: map[*run]struct{}{}, eras: []era{{}}}
}

// Hold makes the log lag: records are stored, but not delivered until Release.
func (f *Faulty) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = make(chan struct{})
	}
}

// Release ends a Hold, and delivers the records.
func (f *Faulty) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held != nil {
		close(f.held)
		f.held = nil
	}
}

// Skip drops the next n records on the way to the follower that would get them
// first, without an error: the follower can notice only a gap in the positions.
func (f *Faulty) Skip(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skip += n
}

// Repeat delivers the last n records, at most 256, once more, before the next new
// record, to the follower that gets that record first.
func (f *Faulty) Repeat(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.repeat = min(n, repeatMax)
}

// ForgetIDs stores every entry from now on, even if its ID is stored already.
func (f *Faulty) ForgetIDs() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgets = true
}

// LoseTail loses the newest n records that any caller has seen. The log continues in
// a greater epoch, which uses their sequence numbers again. Earlier records are
// evicted, and running calls of Follow end with a [backend.LostError].
func (f *Faulty) LoseTail(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.era()
	newest := now.seq + f.seen - now.after
	f.eras = append(f.eras, era{after: f.seen, seq: newest - min(uint64(n), newest)})
	f.endRuns(errLost)
}

// NewEpoch starts a greater epoch with sequence number 1, like a log that was
// recreated empty. Running calls of Follow get no error: their next record is of the
// new epoch.
func (f *Faulty) NewEpoch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.eras = append(f.eras, era{after: f.seen})
}

// FailAppend makes the next n calls of Append store nothing and return err.
func (f *Faulty) FailAppend(n int, err error) {
	f.failAppends(n, appendFault{err: err})
}

// FailAfterStore makes the next n calls of Append store their entry and return
// [backend.ErrMaybeStored].
func (f *Faulty) FailAfterStore(n int) {
	f.failAppends(n, appendFault{err: backend.ErrMaybeStored, stores: true})
}

func (f *Faulty) failAppends(n int, fault appendFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.appends = append(f.appends, fault)
	}
}

// FailFollow ends running calls of Follow with err, and makes the next n calls
// fail with it at once.
func (f *Faulty) FailFollow(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.followErrors = append(f.followErrors, err)
	}
	f.endRuns(err)
}

func (f *Faulty) endRuns(err error) {
	for r := range f.runs {
		r.end(err)
	}
}

// Close implements [backend.Backend]. Calls of Follow end even if they are held.
func (f *Faulty) Close(ctx context.Context) error {
	f.mu.Lock()
	f.endRuns(backend.ErrClosed)
	f.mu.Unlock()
	return f.Backend.Close(ctx)
}

func (f *Faulty) era() era { return f.eras[len(f.eras)-1] }

// SingleProcess implements [backend.SingleProcess] as the wrapped backend does.
func (f *Faulty) SingleProcess() bool {
	single, ok := f.Backend.(backend.SingleProcess)
	return ok && single.SingleProcess()
}
