// Package ssetest makes event streams that are hard to parse, so that parsers in
// different languages can be compared.
package ssetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

// Random returns n events, and a stream that carries them: as package sse writes
// it, but after a byte order mark, and with all kinds of line ends.
// The data of the first event has at least 1 MiB.
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
		// One kind of line end for each event. The next event begins with a letter, so
		// that a CR at the end does not form a CRLF with it.
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

// normal replaces line ends as the standard says.
func normal(text string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
}
