package metrics

import "github.com/maravilla-realtime/realtime"

type (
	conns = realtime.ConnectionStats
	group = realtime.GroupStats
	stats = realtime.Stats
)

var connections = []Metric{
	{"start.time", "When the node began, in Unix time.", "s", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Started.UnixMilli()) / 1000 })},
	{"connections", "Open connections.", "{connection}", Gauge, []string{"kind"},
		each(kinds, number(func(c conns) int { return c.Open }))},
	{"connections.writing", "Open connections that wait for their client to take what is sent.", "{connection}", Gauge, []string{"kind"},
		each(kinds, number(func(c conns) int { return c.Writing }))},
	{"connections.opened", "Connections that were opened.", "{connection}", Counter, []string{"kind"},
		each(kinds, number(func(c conns) uint64 { return c.Opened }))},
	{"connections.ended", "Connections that have ended, by why.", "{connection}", Counter, []string{"kind", "reason"},
		each(kinds, func(c conns) []Sample { return byName(c.Ended) })},
	{"users", "Users who have connections to the node.", "{user}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Users) })},
	{"channels", "Channels that are followed on the node.", "{channel}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Channels) })},
	{"subscriptions", "Subscriptions to channels.", "{subscription}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Subscriptions) })},
	{"operations", "Operations that clients sent over WebSockets.", "{operation}", Counter, []string{"op"},
		named(func(s *stats) map[string]uint64 { return s.Operations })},
	{"refusals", "Requests and operations of clients that were refused, by code.", "{refusal}", Counter, []string{"code"},
		named(func(s *stats) map[string]uint64 { return s.Refusals })},
}

var delivery = []Metric{
	{"events.delivered", "Events that were written to clients.", "{event}", Counter, []string{"kind"},
		each(kinds, number(func(c conns) uint64 { return c.Delivered }))},
	{"sent", "Bytes that were written to clients.", "By", Counter, []string{"kind"},
		each(kinds, number(func(c conns) uint64 { return c.Bytes }))},
	{"delivery.latency", "Time from when an event came to the node until it was written to a client.", "s", Histogram, []string{"kind"},
		each(kinds, buckets(func(c conns) realtime.Histogram { return c.Latency }))},
	{"events.coalesced", "Events that streams with an interval left out for a newer one of the same key.", "{event}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Coalesced) })},
	{"resets", "Times that clients were told that they missed events, by why.", "{reset}", Counter, []string{"kind", "reason"},
		each(kinds, func(c conns) []Sample { return byName(c.Resets) })},
}

var publishing = []Metric{
	{"publishes", "Events that the node appended to the log, presence excepted, by outcome.", "{event}", Counter, []string{"outcome"},
		named(func(s *stats) map[string]uint64 { return s.Publish.Outcomes })},
	{"publish.duration", "Time from the call to the answer of the backend.", "s", Histogram, nil,
		func(s *stats) []Sample { return []Sample{{Histogram: s.Publish.Time}} }},
	{"ephemeral.publishes", "Ephemeral messages that were published on the node, by outcome.", "{message}", Counter, []string{"outcome"},
		named(func(s *stats) map[string]uint64 { return s.Ephemeral.Outcomes })},
	{"ephemeral.waiting", "Ephemeral messages that wait to be sent.", "{message}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Ephemeral.Waiting) })},
	{"ephemeral.coalesced", "Ephemeral messages that were not sent, since a newer one took their place.", "{message}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Ephemeral.Coalesced) })},
	{"ephemeral.lost", "Ephemeral messages that the backend did not take in time.", "{message}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Ephemeral.Lost) })},
	{"ephemeral.received", "Ephemeral messages that came to the node, of channels that are followed on it.", "{message}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Ephemeral.Received) })},
}

var log = []Metric{
	{"history.events", "Events that the node keeps.", "{event}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.History.Events) })},
	{"history.size", "Memory of the events that the node keeps.", "By", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.History.Bytes) })},
	{"history.age", "Time since the oldest event that the node keeps came.", "s", Gauge, nil,
		one(func(s *stats) float64 { return s.History.Age.Seconds() })},
	{"history.evicted", "Events that the history has no longer, by the bound that they exceeded.", "{event}", Counter, []string{"bound"},
		named(func(s *stats) map[string]uint64 { return s.History.Evicted })},
	{"history.resets", "Losses of records of the log, by why; all clients are told.", "{reset}", Counter, []string{"reason"},
		named(func(s *stats) map[string]uint64 { return s.History.Resets })},
	{"log.records", "Records that the node has read from the log.", "{record}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.History.Added) })},
	{"log.unread", "Records that the node has appended and not yet read back.", "{record}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Follow.Unread) })},
	{"log.lag", "Time from when an event was published until it came to the node.", "s", Histogram, nil,
		func(s *stats) []Sample { return []Sample{{Histogram: s.Follow.Lag}} }},
	{"log.failures", "Times that following the log failed, or records had to be read back.", "{failure}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Follow.Failures) })},
}

var presence = []Metric{
	{"presence.members", "Members who are present through the node.", "{member}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Members) })},
	{"presence.sessions", "Sessions of members on the node.", "{session}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Sessions) })},
	{"presence.events", "Presence events that the node caused.", "{event}", Counter, []string{"type"},
		named(func(s *stats) map[string]uint64 {
			return map[string]uint64{"join": s.Presence.Joins, "update": s.Presence.Updates, "leave": s.Presence.Leaves}
		})},
	{"presence.repeated", "Writes of members that met another one, or had an unknown outcome.", "{write}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Repeated) })},
	{"presence.sweeps", "Searches for sessions whose time is over.", "{sweep}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Sweeps) })},
	{"presence.swept", "Sessions that were ended since their time was over.", "{session}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Swept) })},
	{"presence.nodes.gone", "Other nodes that this one gave up, since they were silent.", "{node}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Presence.NodesGone) })},
	{"presence.failures", "Failures of the background work of presence, which tries again.", "{failure}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Presence.Failures) })},
}

var streams = []Metric{
	{"streams", "Growing messages that the node writes.", "{message}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Open) })},
	{"streams.copies", "Growing messages of other nodes that clients of the node follow.", "{message}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Copies) })},
	{"streams.followers", "Clients that follow growing messages, once for each message.", "{client}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Followers) })},
	{"streams.size", "Memory of the contents of growing messages.", "By", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Bytes) })},
	{"streams.opened", "Growing messages that the node has begun.", "{message}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Opened) })},
	{"streams.ended", "Growing messages of the node that have ended, by how.", "{message}", Counter, []string{"state"},
		named(func(s *stats) map[string]uint64 { return s.Streams.Ended })},
	{"streams.appends", "Writes to growing messages.", "{write}", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Appends) })},
	{"streams.written", "Bytes that were written to growing messages.", "By", Counter, nil,
		one(func(s *stats) float64 { return float64(s.Streams.Written) })},
}

var groups = []Metric{
	{"group.held", "1 on the node that handles the events of the group, else 0.", "{node}", Gauge, []string{"group"},
		each(groupsOf, number(func(g group) float64 { return b2f(g.Held) }))},
	{"group.pending", "Events that a handler has, or that wait for one.", "{event}", Gauge, []string{"group"},
		each(groupsOf, number(func(g group) int { return g.Pending }))},
	{"group.unhandled", "Records of the log that the group has not handled yet.", "{record}", Gauge, []string{"group"},
		each(groupsOf, number(func(g group) uint64 { return g.Lag }))},
	{"group.lag", "Time since the oldest event came that the group has not handled yet.", "s", Gauge, []string{"group"},
		each(groupsOf, number(func(g group) float64 { return g.LagTime.Seconds() }))},
	{"group.call.duration", "Time of a call of a handler.", "s", Histogram, []string{"group"},
		each(groupsOf, buckets(func(g group) realtime.Histogram { return g.Calls }))},
	{"group.retries", "Calls of handlers that failed and are repeated.", "{call}", Counter, []string{"group"},
		each(groupsOf, number(func(g group) uint64 { return g.Retries }))},
	{"group.dead.letters", "Events that were not handled after the last attempt.", "{event}", Counter, []string{"group"},
		each(groupsOf, number(func(g group) uint64 { return g.DeadLetters }))},
	{"group.missed", "Times that events were lost before the group had handled them, by why.", "{loss}", Counter, []string{"group", "reason"},
		each(groupsOf, func(g group) []Sample { return byName(g.Missed) })},
}

var calls = []Metric{
	{"backend.calls", "Calls of the backend, by outcome.", "{call}", Counter, []string{"method", "outcome"}, each(methods, outcomes)},
	{"backend.call.duration", "Time of a call of the backend.", "s", Histogram, []string{"method"}, each(methods, buckets(callTime))},
	{"backend.abandoned", "Calls of the backend that do not return although their time is over.", "{call}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Backend.Abandoned) })},
	{"policy.calls", "Calls of the policy, by outcome.", "{call}", Counter, []string{"function", "outcome"}, each(functions, outcomes)},
	{"policy.call.duration", "Time of a call of the policy.", "s", Histogram, []string{"function"}, each(functions, buckets(callTime))},
	{"policy.abandoned", "Calls of the policy that do not return although their time is over.", "{call}", Gauge, nil,
		one(func(s *stats) float64 { return float64(s.Policy.Abandoned) })},
}
