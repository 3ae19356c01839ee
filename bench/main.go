// Command bench measures what delivering events costs a server: this library, other
// libraries, and a loop that writes prebuilt bytes to sockets, which is the least that
// it can cost. All are measured in turns in one run, so that ratios between them mean
// something on a machine that is busy with other things, too.
//
//	go run . -within 35m -out results.txt   # five rounds of everything: some 28 minutes
//	go run . -tests fan -rounds 3           # only fan-out, of all
//	go run . -targets 'raw-*,ours-*'        # only this library and the floor
//	go run . -docs ../docs results.txt      # puts the figures into performance.md
//
// Socket.IO runs in Node.js, and npm installs it the first time; without them the program
// says that it is skipped.
//
// The server runs on one CPU and its clients on another, where taskset is installed. It
// is for Linux. docs/performance.md says what is measured, and how.
package main

import (
	"slices"

	"github.com/maravilla-realtime/realtime/bench/internal/own"
	"github.com/maravilla-realtime/realtime/bench/internal/run"
	"github.com/maravilla-realtime/realtime/bench/peers"
)

func main() { run.Main(slices.Concat(own.Targets, peers.Targets)) }
