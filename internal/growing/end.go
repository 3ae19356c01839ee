package growing

import (
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// mostMessages is how many messages of a channel are looked at for the end of a growing
// one.
const mostMessages = 4096

// EndIn returns the message of a history that tells the end of the newest growing message
// with a key; nil if it is not there.
func EndIn(history *ring.Ring, k Key) *backend.Event {
	before := ring.Newest
	for looks := 0; looks < mostMessages; {
		found, end := history.Before(k.Channel, before, 64)
		for _, e := range found {
			if id, state := wire.StreamOf(&e.Event); id == k.ID && state != string(Streaming) {
				return &e.Event
			}
			before = e.Pos
		}
		if end != ring.NoEnd {
			return nil
		}
		looks += len(found)
	}
	return nil
}
