package web

import (
	"os"
	"strconv"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// slower is how many times longer than usual everything may take. It is 1, unless
// the tests that show the examples to a browser say otherwise: they must pass on
// machines that are slow, or busy with other things.
var slower = func() float64 {
	n, err := strconv.ParseFloat(os.Getenv("REALTIME_EXAMPLE_SLOWER"), 64)
	if err != nil {
		return 1
	}
	return n
}()

// Slow returns d, or a longer time where a test of the examples asks for it.
func Slow(d time.Duration) time.Duration { return time.Duration(float64(d) * slower) }

// Options returns the library's defaults, made [Slow]. An app of your own can pass
// nil in their place.
func Options() *realtime.Options {
	return &realtime.Options{
		WriteTimeout: Slow(10 * time.Second),
		Presence:     realtime.PresenceOptions{CloseGrace: Slow(3 * time.Second), DropGrace: Slow(15 * time.Second)},
	}
}
