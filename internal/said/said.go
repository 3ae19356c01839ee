// Package said remembers what was logged, so that it is not logged each time.
package said

import "sync"

// Once remembers what was said. The zero Once is ready for use. Its methods may be called
// concurrently, and do not block.
type Once struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// Most bounds what is remembered; what comes later is not said at all.
const Most = 100

// First reports whether something is to be said now.
func (o *Once) First(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, said := o.said[what]; said || len(o.said) == Most {
		return false
	}
	if o.said == nil {
		o.said = make(map[string]struct{})
	}
	o.said[what] = struct{}{}
	return true
}
