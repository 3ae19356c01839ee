package ring

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// Those who subscribe or leave while others read do so at once: the next reader
// that gets in finds all of it done, not one of them at a time.
func TestManyLeaveAtOnce(t *testing.T) {
	const n = 100
	r := newRing(roomy)
	var readers []*Reader
	for range n {
		rd := r.NewReader()
		rd.Subscribe(nil, Channel("room"))
		readers = append(readers, rd)
	}
	r.mu.RLock() // somebody reads
	var changing sync.WaitGroup
	for _, rd := range readers {
		changing.Go(rd.Close)
	}
	changing.Go(func() { r.NewReader().Subscribe(nil, Channel("hall")) })
	for waiting := 0; waiting <= n; runtime.Gosched() {
		r.changing.Lock()
		if r.changes != nil {
			waiting = len(r.changes.do)
		}
		r.changing.Unlock()
	}
	for r.mu.TryRLock() { // until one of them is next
		r.mu.RUnlock()
		runtime.Gosched()
	}
	next := make(chan []string)
	go func() { next <- r.Channels(time.Now()) }()
	r.mu.RUnlock()
	if got := <-next; !slices.Equal(got, []string{"hall"}) {
		t.Errorf("the next reader finds %v", got)
	}
	changing.Wait()
}
