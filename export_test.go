package realtime

import (
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memory"
)

// NewMemory returns the default backend.
func NewMemory() backend.Backend { return memory.New(memory.Limits{}) }
