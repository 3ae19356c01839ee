// Package grant decides which events of the log a REN stream carries.
package grant

import (
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/ring"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Grant lets a stream carry the events of a resource domain. Grants can be compared
// with ==.
type Grant struct {
	Resource  string // "*" is all domains, without realtime and presence unless Channels is set
	Namespace string // if In is set: the only one
	Prefix    string // if Under is set: what keys, or channels, equal or go on after
	Data      bool   // whether the data of events are carried as well

	In, Under, Channels bool

	Twice string // the field that was set to two values: "namespace" or "prefix"
}

// String describes the grant, as in "kv in todos under ada, with data".
func (g Grant) String() string {
	s := g.Resource
	if g.In {
		s += " in " + g.Namespace
	}
	if g.Under {
		s += " under " + g.Prefix
	}
	if g.Data {
		s += ", with data"
	}
	return s
}

// Flaw returns which part of a grant means nothing, and why; "" if none does.
func (g *Grant) Flaw() (field, why string) {
	switch {
	case g.Resource == "":
		return "resource", "it is empty"
	case g.Resource != "*" && !wire.ValidDomain(g.Resource):
		return "resource", "it is no resource domain"
	case g.Twice != "":
		return g.Twice, "it is set twice, to different values"
	case g.In && g.Namespace == "":
		return "namespace", "it is empty"
	case g.In && (backend.InChannel(g.Resource) || g.Resource == backend.Storage):
		return "namespace", "events of the resource have none"
	case g.Under && hasEmptySegment(g.Prefix, separators(g.Resource)):
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

// covers reports whether the stream carries an event.
func (g *Grant) covers(ev *backend.Event) bool {
	switch {
	case g.Resource == "*" && backend.InChannel(ev.Resource) && !g.Channels,
		g.Resource != "*" && g.Resource != ev.Resource,
		g.In && g.Namespace != ev.Namespace:
		return false
	case !g.Under:
		return true
	}
	rest, ok := strings.CutPrefix(ev.Name(), g.Prefix)
	return ok && (rest == "" || strings.HasPrefix(rest, backend.Separator(ev.Resource)))
}

// See reports whether a stream with grants carries an event, and with its data or not.
func See(grants []Grant, ev *backend.Event) (seen, data bool) {
	for i := range grants {
		if g := &grants[i]; g.covers(ev) {
			if seen = true; g.Data {
				return true, true
			}
		}
	}
	return seen, false
}

// Domains returns those of the asked domains, sorted, that grants can yield
// anything of; asked nil means all. "*" in it stands for all domains, what channels
// carry excepted unless it is listed as well.
func Domains(grants []Grant, asked []string) []string {
	found := []string{}
	for _, g := range grants {
		switch {
		case asked == nil:
			found = append(found, g.Resource)
		case g.Resource != "*":
			if slices.Contains(asked, g.Resource) {
				found = append(found, g.Resource)
			}
		default:
			for _, name := range asked {
				if g.Channels || !backend.InChannel(name) {
					found = append(found, name)
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Names describes, in order, what grants can yield of the asked domains; nil means all.
func Names(grants []Grant, asked []string) (list []string) {
	for _, g := range grants {
		switch {
		case asked == nil || slices.Contains(asked, g.Resource):
			list = append(list, g.String())
		case g.Resource == "*":
			for _, name := range Domains([]Grant{g}, asked) {
				g.Resource = name
				list = append(list, g.String())
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Topics returns what a stream with grants reads: at least what they cover of the asked
// domains; nil means all. What else it reads is left out by [See]. The fewer
// events there are of these topics, the fewer wake the stream.
func Topics(grants []Grant, asked []string) []ring.Topic {
	var list []ring.Topic
	whole := make(map[string]bool) // domains
	for _, g := range grants {
		names := Domains([]Grant{g}, asked)
		if g.Channels && asked == nil {
			names = append(names, backend.Realtime, backend.Presence) // "*" has them only as a whole
		}
		for _, name := range names {
			t := ring.Part{Resource: name, In: g.In, Namespace: g.Namespace, Under: g.Under, Prefix: g.Prefix}.Topic()
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
