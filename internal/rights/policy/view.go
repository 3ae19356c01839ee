package policy

import (
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
)

// View decides which events a connection may see. It is asked for every event before a
// client gets it, live or replayed. It implements [session.View].
type View struct {
	see    func(*Identity, *backend.Event) bool
	id     *Identity     // which does not change
	grants []grant.Grant // of a REN stream; channels are decided when subscribed
}

// View returns what id, which must not change any longer, sees with grants.
func (p *Policy) View(id *Identity, grants []grant.Grant) *View {
	return &View{see: p.See, id: id, grants: grants}
}

// Grants returns the grants of the view, which may be nil.
func (v *View) Grants() []grant.Grant {
	if v == nil {
		return nil
	}
	return v.grants
}

// Uniform implements [session.View].
func (v *View) Uniform() bool { return v.see == nil }

// Channel implements [session.View]: whether the policy shows the event. The right to
// subscribe was checked before.
func (v *View) Channel(ev *backend.Event) bool {
	if v.see == nil || v.see(v.id, ev) {
		return true
	}
	if !ev.IsLeave() {
		return false
	}
	// A member whose join is shown would stay in rosters for ever without its leave.
	join := presence.MemberOf(ev).Join(ev.Channel)
	return v.see(v.id, &join)
}

// Stream implements [session.View]: whether a REN stream gets the event, and with its
// data or not.
func (v *View) Stream(ev *backend.Event) (seen, data bool) {
	seen, data = grant.See(v.grants, ev)
	return seen && v.Channel(ev), data
}
