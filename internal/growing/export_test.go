package growing

import (
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// TellAll tells followers what is due at a time.
func (g *Growing) TellAll(now time.Time) { g.tellAll(now) }

// Bytes is what all texts take.
func (g *Growing) Bytes() int64 { return g.bytes.Load() }

// Pace is the least time between two frames of a message.
const Pace = pace

// EncodePiece is what a node sends of a message of its own.
func EncodePiece(from, total int, kind wire.Kind, content []byte) []byte {
	return encodePiece(from, total, kind, content)
}
