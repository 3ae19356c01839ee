package realtime

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Grant lets a REN stream carry events. [GrantAll] makes one for a resource
// domain, and methods narrow it:
//
//	realtime.GrantAll("kv")                                   // every key of every namespace
//	realtime.GrantAll("db").In("orders")                      // one DB collection
//	realtime.GrantAll("kv").In("todos").Under(id.User)        // the keys "ada", "ada:1", …
//	realtime.GrantAll("storage").Under("photos")              // the paths "photos/1.png", …
//	realtime.GrantAll("presence").Under("room:42")            // who comes and goes in a channel
//	realtime.GrantAll("realtime").Under("room:42").WithData() // and what is said there
//
// An empty value never widens a grant. A Grant with an empty value, such as the user id
// of a guest, and the zero Grant, grant nothing, which is logged as a warning once for
// each resource and field. To grant all namespaces or keys, do not call In or Under.
//
// Grants are values: they can be copied, compared with ==, and used concurrently.
type Grant struct {
	resource  string
	namespace string
	prefix    string
	data      bool

	channels  bool // "*" stands for realtime and presence, too
	in, under bool // In and Under were called
}

// everything is the grant of [AllowAll].
var everything = Grant{resource: "*", channels: true, data: true}

// GrantAll lets a stream show every event of a resource domain ("kv", "db", "storage",
// "realtime", "presence", or one of the host's own), without data. "*" is every domain
// except realtime and presence: events of channels must be granted by name.
func GrantAll(resource string) Grant { return Grant{resource: resource} }

// In narrows the grant to one namespace: of keys, or a DB collection. Objects,
// messages and presence have none.
func (g Grant) In(namespace string) Grant {
	g.namespace, g.in = namespace, true
	return g
}

// Under narrows the grant to keys (of realtime and presence: channels) that equal
// the prefix or go on after it with another segment: "acme" grants "acme" and
// "acme:1", not "acme2". Segments are separated by ':', those of storage paths by
// '/'. No segment of the prefix may be empty: "user:" grants nothing, since it is
// what "user:"+id is for a guest.
func (g Grant) Under(prefix string) Grant {
	g.prefix, g.under = prefix, true
	return g
}

// WithData lets the data of messages, the metadata of members and the data of
// custom events through. Without it a stream says only that something happened.
func (g Grant) WithData() Grant {
	g.data = true
	return g
}

// String describes the grant, as in "kv in todos under ada, with data".
func (g Grant) String() string {
	s := g.resource
	if g.in {
		s += " in " + g.namespace
	}
	if g.under {
		s += " under " + g.prefix
	}
	if g.data {
		s += ", with data"
	}
	return s
}

// flaw returns which part of a grant means nothing, and why; "" if none does.
func (g *Grant) flaw() (field, why string) {
	switch {
	case g.resource == "":
		return "resource", "it is empty"
	case g.resource != "*" && !wire.ValidDomain(g.resource):
		return "resource", "it is no resource domain"
	case g.in && g.namespace == "":
		return "namespace", "it is empty"
	case g.in && (backend.InChannel(g.resource) || g.resource == backend.Storage):
		return "namespace", "events of the resource have none"
	case g.under && hasEmptySegment(g.prefix, separators(g.resource)):
		return "prefix", "it is empty, or has an empty segment"
	}
	return "", ""
}

func hasEmptySegment(name string, separators []string) bool {
	return slices.ContainsFunc(separators, func(sep string) bool { return slices.Contains(strings.Split(name, sep), "") })
}

// separators lists what separates the segments of keys of a resource.
func separators(resource string) []string {
	if resource == "*" {
		return []string{":", "/"}
	}
	return []string{backend.Separator(resource)}
}

func (g *Grant) covers(ev *backend.Event) bool {
	switch {
	case g.resource == "*" && backend.InChannel(ev.Resource) && !g.channels,
		g.resource != "*" && g.resource != ev.Resource,
		g.in && g.namespace != ev.Namespace:
		return false
	case !g.under:
		return true
	}
	rest, ok := strings.CutPrefix(ev.Name(), g.prefix)
	return ok && (rest == "" || strings.HasPrefix(rest, backend.Separator(ev.Resource)))
}

// grants lists what of REN id may see.
func (rt *Realtime) grants(ctx context.Context, id Identity) ([]Grant, *refusal) {
	denied := refuse(http.StatusForbidden, "forbidden", "nothing is granted").of(id.User, Action{})
	none := func(why string) ([]Grant, *refusal) {
		rt.log.DebugContext(ctx, "realtime: nothing is granted; a REN stream is refused", "user", id.User, "reason", why)
		return nil, denied.because(errors.New(why))
	}
	if rt.policy.Grants == nil {
		return none("Policy.Grants is nil")
	}
	grants, err := rt.policy.Grants(ctx, id)
	switch {
	case errors.Is(err, ErrTemporary), ctx.Err() != nil:
		logUndecided(ctx, rt.log, "Grants", id.User, err)
		return nil, unavailable().because(err).of(id.User, Action{})
	case err != nil:
		// A policy that grants nothing returns nothing: this looks like a fault.
		rt.log.WarnContext(ctx, "realtime: Policy.Grants failed; the client is refused", "user", id.User, "error", err)
		return nil, denied.because(err)
	}
	var sound []Grant
	for _, g := range grants {
		field, why := g.flaw()
		if field == "" {
			sound = append(sound, g)
		} else if rt.flaws.first(g.resource + " " + field) {
			rt.log.WarnContext(ctx, "realtime: a grant grants nothing; this is logged once for each resource and field",
				"resource", g.resource, "field", field, "reason", why, "user", id.User)
		}
	}
	switch {
	case len(grants) == 0:
		return none("Policy.Grants returned no grants")
	case len(sound) == 0:
		return none("Policy.Grants returned only grants that grant nothing")
	}
	return sound, nil
}

// once remembers what was said, so that it is not said with each request.
type once struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// maxSaid bounds what is remembered; what comes later is not said at all.
const maxSaid = 100

// first reports whether something is to be said now.
func (o *once) first(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, said := o.said[what]; said || len(o.said) == maxSaid {
		return false
	}
	if o.said == nil {
		o.said = make(map[string]struct{})
	}
	o.said[what] = struct{}{}
	return true
}

// domains returns those of the asked domains, sorted, that grants can yield
// anything of; asked nil means all. "*" in it stands for all domains, what channels
// carry excepted unless it is listed as well.
func domains(grants []Grant, asked []string) []string {
	found := []string{}
	for _, g := range grants {
		switch {
		case asked == nil:
			found = append(found, g.resource)
		case g.resource != "*":
			if slices.Contains(asked, g.resource) {
				found = append(found, g.resource)
			}
		default:
			for _, name := range asked {
				if g.channels || !backend.InChannel(name) {
					found = append(found, name)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// topics returns what a stream with grants reads: at least what they cover of the asked
// domains; nil means all. What else it reads is left out by [view.Stream]. The fewer
// events there are of these topics, the fewer wake the stream.
func topics(grants []Grant, asked []string) []ring.Topic {
	var list []ring.Topic
	whole := make(map[string]bool) // domains
	for _, g := range grants {
		names := domains([]Grant{g}, asked)
		if g.channels && asked == nil {
			names = append(names, backend.Realtime, backend.Presence) // "*" has them only as a whole
		}
		for _, name := range names {
			t := ring.Part{Resource: name, In: g.in, Namespace: g.namespace, Under: g.under, Prefix: g.prefix}.Topic()
			if t == (ring.Topic{}) {
				return []ring.Topic{t} // which has all the others
			}
			if t == ring.Domain(name) {
				whole[name] = true
			}
			list = append(list, t)
		}
	}
	seen := make(map[ring.Topic]bool)
	return slices.DeleteFunc(list, func(t ring.Topic) bool {
		again := seen[t] || whole[t.Resource()] && t != ring.Domain(t.Resource())
		seen[t] = true
		return again
	})
}
