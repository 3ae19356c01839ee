package growing

import "time"

// TellAll tells followers what is due at a time.
func (g *Growing) TellAll(now time.Time) { g.tellAll(now) }

// Bytes is what all texts take.
func (g *Growing) Bytes() int64 { return g.bytes.Load() }

// Pace is the least time between two frames of a message.
const Pace = pace
