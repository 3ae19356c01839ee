// Package ssetest makes event streams that parsers may stumble over, so that
// those of different languages can be compared.
package ssetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/sse"
)

// Random returns n events, and a stream that carries them: as package sse writes
// it, but behind a byte order mark, and with lines that end in all ways there are.
// The data of the first has at least 1 MiB.
func Random(rng *rand.Rand, n int) (events []sse.Event, stream []byte) {
	stream = []byte("\ufeff")
	for i := range n {
		text := payload(rng, i)
		e := sse.Event{Name: "message", ID: fmt.Sprintf("epoch.%d", i), Data: normal(text)}
		name := ""
		if rng.IntN(4) == 0 {
			name = "ren.ping"
			e.Name = name
		}
		written := sse.AppendEvent(nil, name, e.ID, []byte(text))
		if rng.IntN(50) == 0 {
			written = sse.AppendRetry(written, time.Second)
		}
		// One way for each event: the next begins with a letter, so that no CR meets
		// an LF that is not its own.
		end := []string{"\n", "\r", "\r\n"}[rng.IntN(3)]
		stream = append(stream, bytes.ReplaceAll(written, []byte("\n"), []byte(end))...)
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
