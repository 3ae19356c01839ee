package main

const (
	presenceGo = "internal/presence/presence.go"
	changeGo   = "internal/presence/change.go"
	nodesGo    = "internal/presence/nodes.go"
	localGo    = "internal/presence/local.go"
	doubtGo    = "internal/presence/doubt.go"
	claimGo    = "internal/handle/claim.go"
	holdGo     = "internal/handle/hold.go"
	recordGo   = "internal/handle/record.go"
	followGo   = "internal/log/follow/follow.go"
	decodeGo   = "internal/log/follow/decode.go"
	ringGo     = "internal/log/ring/ring.go"
	readerGo   = "internal/log/ring/reader.go"
	onestepGo  = "backend/onestep/onestep.go"
	memLogGo   = "internal/log/memory/log.go"
	memStoreGo = "internal/log/memory/store.go"
)

var breaches = []breach{
	// Presence.
	{"each session of a member joins", presenceGo, "case len(m.sessions) == 0:\n\t\t\tevent = backend.PresenceJoin", "case !m.has(s.ID, node, s.Source):\n\t\t\tevent = backend.PresenceJoin"},
	{"the first session to end has the member leave", presenceGo, "if len(m.sessions) == 0 {\n\t\t\tc.event = backend.PresenceLeave", "if c.event == \"\" {\n\t\t\tc.event = backend.PresenceLeave"},
	{"a member leaves without an event", presenceGo, "c.event = backend.PresenceLeave", "_ = backend.PresenceLeave"},
	{"what a node remembers of a record counts as read", changeGo, "case c == nil && guessed: // only a write proves it\n\t\t\tcontinue\n\t\t", ""},
	{"a change that conflicts counts as made", changeGo, "if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {\n\t\t\tp.tally", "if errors.Is(err, backend.ErrConflict) {\n\t\t\terr = nil\n\t\t}\n\t\tif !errors.Is(err, backend.ErrMaybeStored) {\n\t\t\tp.tally"},
	{"a change of unknown outcome counts as made", changeGo, "if !errors.Is(err, backend.ErrConflict) && !errors.Is(err, backend.ErrMaybeStored) {\n\t\t\tp.tally", "if errors.Is(err, backend.ErrMaybeStored) {\n\t\t\terr = nil\n\t\t}\n\t\tif !errors.Is(err, backend.ErrConflict) {\n\t\t\tp.tally"},
	{"a change of unknown outcome is not looked at later", changeGo, "p.doubt(id)", "_ = p.doubt"},
	{"a change of unknown outcome is looked at once only", doubtGo, "if d.looked = true; last {", "if d.looked = true; last || d.looked {"},
	{"a node's record is not renewed", nodesGo, "loop(nil, p.renew)", ""},
	{"a node is given up although it renews its record", nodesGo, "case s.revision != it.Revision: // none yet", "case s.revision == 0: // none yet"},
	{"a node renews its record once in a lease", nodesGo, "loop(nil, p.renew)", "running.Go(func() {\n\t\tp.repeat(ctx, nil, func(ctx context.Context) (time.Duration, error) { return p.nodeLease, p.renew(ctx) })\n\t})"},
	{"dead nodes are not given up", nodesGo, "now.Sub(s.since) > p.silence()", "now.Sub(s.since) > 1000*p.silence()"},
	{"nobody looks again long after a death", nodesGo, "looks = append(looks, now, now.Add(lateLook))", "looks = append(looks, now)"},
	{"sessions of this node that live nowhere stay", nodesGo, "return g.gone[s.node] || p.mine(s.node) && !p.lives(it.Group, it.Name, s.id)", "return g.gone[s.node]"},
	{"a look ends sessions that live here", nodesGo, "return !p.lives(channel, user, s.id)", "return true"},
	{"nodes that came after the last look count as gone", nodesGo, "g.gone[node] = rec.Revision == 0", "g.gone[node] = rec.Revision >= 0"},
	{"a node that was given up goes on under its name", nodesGo, "name = fmt.Sprintf(\"%s/%d\", p.name, p.peers.incarnation)", "_ = fmt.Sprint()"},
	{"a node that was given up does not record its sessions again", doubtGo, "&& s.node != p.node {", "&& s.node == \"\" {"},
	{"sessions are not recorded again in a store that was put back", nodesGo, "s.node, s.rival = \"\", rival{}", "_ = s"},
	{"a store that was put back is trusted at once", nodesGo, "p.peers.trust = now.Add(p.nodeLease)", "p.peers.trust = now"},
	{"a session that has moved to another node is taken back", doubtGo, "case free:", "case free || !free:"},
	{"a session recorded for a node that is gone is left to it", doubtGo, "return g.has(ctx, owner)", "_, err := g.has(ctx, owner)\n\treturn false, err"},
	{"a Join does not cancel a Leave", localGo, "it.Session, it.node, it.rival, it.expires, it.leaves = s, node, rival{}, time.Time{}, time.Time{}\n\tif s.TTL > 0 {\n\t\tit.expires = now.Add(s.TTL)\n\t}\n\tl.ends.set(it, it.expires)", "it.Session, it.node, it.rival, it.expires = s, node, rival{}, time.Time{}\n\tif s.TTL > 0 {\n\t\tit.expires = now.Add(s.TTL)\n\t}\n\tl.ends.set(it, earlier(it.expires, it.leaves))"},
	{"the end of a session is that of another node's, too", nodesGo, "return s.id == k.ID && p.mine(s.node) })", "return s.id == k.ID })"},
	{"a session that was renewed ends", nodesGo, "if s == nil || s.end.IsZero() || s.end.After(time.Now()) {", "if s == nil {"},
	{"a session does not expire", localGo, "if s.TTL > 0 {", "if s.TTL < 0 {"},

	// Groups of handlers.
	{"a group is taken over before the lease is over", claimGo, "time.Since(c.since) <= c.lease", "time.Since(c.since) <= c.lease/10"},
	{"a group is never taken over", claimGo, "&& time.Since(c.since) <= c.lease {", "{"},
	{"a hold does not end with its lease", holdGo, "h.over = time.AfterFunc(time.Until(g.claim.Until()), h.lose)", "h.over = time.AfterFunc(time.Until(g.claim.Until()), func() {})"},
	{"a hold is prolonged without an answer", holdGo, "default: // it runs out by itself", "default:\n\t\th.over.Reset(groupLease)"},
	{"progress is committed before the handler has run", holdGo, "\th.tracker.Begin(it.Pos)\n", "\th.tracker.Begin(it.Pos)\n\th.tracker.Done(it.Pos)\n"},
	{"a group begins at the end of the log", holdGo, "h := &hold{g: g, from: p.Floor,", "h := &hold{g: g, from: g.node.Now(),"},
	{"progress is not committed", holdGo, "err := h.g.claim.Commit(ctx, p)", "var err error"},
	{"a record of another holder is overwritten", claimGo, "if rec.holder != c.node {\n\t\treturn false, ErrHeld", "if rec.holder == \"\" {\n\t\treturn false, ErrHeld"},
	{"a group is not told that it missed events", holdGo, "\th.missed(gone, gone, why)\n", "\t_ = why\n"},
	{"a group is not told that its progress is lost", claimGo, "c.forgotten = c.forgotten ||", "c.forgotten = false &&"},
	{"progress of an ended epoch counts", recordGo, "if p.Floor.Epoch > r.floor.Epoch {", "if p.Floor.Epoch < r.floor.Epoch {"},
	{"what is done in an ended epoch counts", holdGo, "if gone.Epoch != h.from.Epoch {", "if gone.Epoch == 0 {"},

	// Gaps and epochs.
	{"a gap is not noticed", followGo, "case pos != head.Next():", "case pos.Epoch != head.Epoch:"},
	{"a gap resets clients, and nothing is read back", followGo, "case isLost, errors.Is(err, errGap):\n", "case errors.Is(err, errGap):\n\t\tf.History.Reset(f.History.Head().Next())\n\t\treturn\n\tcase isLost:\n"},
	{"records that come again are shown again", followGo, "case pos.Compare(head) <= 0:\n\t\t\tcontinue", "case pos.Seq+3 < head.Seq:\n\t\t\tcontinue\n\t\tcase pos.Epoch == head.Epoch && pos.Seq <= head.Seq:\n\t\t\trecs[i].Pos = head.Next()\n\t\t\tpos = head.Next()"},
	{"a tail loss is not told", readerGo, "s.resets, s.lost, s.after = last.number, last.why, last.seq", "s.resets, s.after = last.number, last.seq"},
	{"a tail loss is ignored", followGo, "f.History.Reset(lost.Next)\n\t\treturn", "return"},
	{"presence is not told of a tail loss", "realtime.go", "\t\th.presence.Lost()\n", "\t\t_ = h.presence\n"},
	{"evicted events are skipped silently", readerGo, "\t\tif why == \"\" {\n\t\t\twhy = Evicted\n\t\t}\n", ""},
	{"an event of a member that comes too late is shown", decodeGo, "if late && rec.Cause != 0 &&", "if false && late && rec.Cause != 0 &&"},
	{"a reader of a change does not finish it", onestepGo, "if r.kind == plain {", "if r.kind == written {\n\t\tit.Value = r.value\n\t\treturn it, false, nil\n\t}\n\tif r.kind == plain {"},
	{"an entry is appended under another id each time", onestepGo, "_, err := s.Append(ctx, e, cause)", "e.ID = rand.Text()\n\t\t_, err := s.Append(ctx, e, cause)"},
	{"a change without its entry counts as not made", onestepGo, "return fault.Errorf(\"%w: %w\", backend.ErrMaybeStored, err)", "return fault.Errorf(\"%w\", err)"},
	{"ids are forgotten at once", memLogGo, "if e.ID != \"\" {\n\t\tif seq", "if e.ID == \"never\" {\n\t\tif seq"},
	{"a log can be followed from the future", memLogGo, " || after.Seq > l.last.seq {", " {"},
}
