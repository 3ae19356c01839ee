// Package ssetest makes event streams that parsers may stumble over, so that
// those of different languages can be compared.
package ssetest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/sse"
)

// Random returns n events, and a stream that carries them. The data of the first
// has at least 1 MiB.
func Random(rng *rand.Rand, n int) (events []sse.Event, stream []byte) {
	for i := range n {
		text := payload(rng, i)
		e := sse.Event{Name: "message", ID: fmt.Sprintf("epoch.%d", i), Data: normal(text)}
		name := ""
		if rng.IntN(4) == 0 {
			name = "ren.ping"
			e.Name = name
		}
		stream = sse.AppendEvent(stream, name, e.ID, []byte(text))
		if rng.IntN(50) == 0 {
			stream = sse.AppendRetry(stream, 1e9)
		}
		events = append(events, e)
	}
	return events, stream
}

func payload(rng *rand.Rand, i int) string {
	pieces := []string{
		"\n", "\r", "\r\n", "\n\n", "\r\r", "\x00", "\u2028", "\u2029", "\u0085", "\ufeff", ":", " ", "data: ", "id: 1\n", "event: x\n",
		"\t", "\v", "\f", "\u00a0", "é", "\U0001f600", `{"k":"v"}`, `\`, `"`, "text ", "\ufffd", "\x7f", "\x1b",
	}
	length := rng.IntN(64)
	switch {
	case i == 0:
		length = 1 << 20
	case rng.IntN(100) == 0:
		length = rng.IntN(64 << 10)
	}
	var b strings.Builder
	for b.Len() < length {
		b.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return b.String()
}

// normal is what the standard makes of the ends of lines.
func normal(text string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
}
