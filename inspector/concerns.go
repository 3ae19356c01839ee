package inspector

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// What an operator is told of, when it is more.
const (
	lateGroup = 10 * time.Second
	fullPart  = 5   // one in so many connections waits for its client
	fewConns  = 10  // with fewer connections that says nothing
	manyRefus = 1.0 // refusals a second
	slowP99   = 500 // milliseconds
)

// concerns says in words what may be wrong, what is worst first.
func concerns(s realtime.Stats, o overview) (all []concern) {
	bad := func(view, format string, args ...any) {
		all = append(all, concern{true, fmt.Sprintf(format, args...), view})
	}
	odd := func(view, format string, args ...any) {
		all = append(all, concern{false, fmt.Sprintf(format, args...), view})
	}
	if o.Health != "" {
		bad("", "This node is not ready: %s", o.Health)
	}
	if s.Follow.Unread > 1000 {
		bad("", "%d records of this node have not come back from the log", s.Follow.Unread)
	}
	if n := s.Backend.Abandoned; n > 0 {
		bad("", "%d calls of the backend have not returned although their time is over", n)
	}
	if n := s.Policy.Abandoned; n > 0 {
		bad("refusals", "%d calls of the policy have not returned although their time is over", n)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Groups)) {
		g := s.Groups[name]
		if g.Held && g.LagTime > lateGroup {
			bad("groups", "The group %s lags by %v, %d records", groupName(name), g.LagTime.Round(time.Second), g.Lag)
		}
		if g.DeadLetters > 0 {
			odd("groups", "The group %s has given up events since the start: %d", groupName(name), g.DeadLetters)
		}
		if n := sum(g.Missed); n > 0 {
			odd("groups", "The group %s has missed events, times: %d", groupName(name), n)
		}
	}
	open, writing := s.REN.Open+s.WebSocket.Open, s.REN.Writing+s.WebSocket.Writing
	if open >= fewConns && writing*fullPart > open {
		bad("connections", "%d of %d connections wait for their clients: the network, or a proxy, is slow", writing, open)
	}
	if n := len(o.Samples); n > 0 {
		last := o.Samples[n-1]
		if last.Refused > manyRefus {
			odd("refusals", "%.0f refusals a second", last.Refused)
		}
		if last.Latency > slowP99 {
			odd("connections", "One event in a hundred takes longer than %.0f ms from this node to its client", last.Latency)
		}
	}
	slices.SortStableFunc(all, func(a, b concern) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	return all
}

// groupName is the name of a group for people.
func groupName(name string) string {
	if name == "$process" || name == "" {
		return "of this process"
	}
	return name
}
