package realtime

import (
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memory"
)

// NewMemory returns the default backend.
func NewMemory() backend.Backend { return memory.New(memory.Limits{}) }

// Remembered returns of how many users, and of how many sessions of closed
// connections, rt keeps something in memory.
func (rt *Realtime) Remembered() (users, waiting int) {
	rt.conns.mu.Lock()
	defer rt.conns.mu.Unlock()
	w := &rt.presence.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sessions := range w.sessions {
		waiting += len(sessions)
	}
	return len(rt.conns.users), waiting
}
