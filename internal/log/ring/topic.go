package ring

import (
	"strings"
	"sync/atomic"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/queue"
)

// Topic names what a subscription follows. The zero Topic is everything.
type Topic struct {
	kind      kind
	Name      string // of a channel or domain, or what the names in a part begin with
	resource  string
	namespace string
	in, under bool // namespace and Name narrow a part
}

type kind uint8

const (
	everything kind = iota
	domain
	space
	part
	channel
)

// Domain is the topic of all events of one resource domain.
func Domain(name string) Topic { return Topic{kind: domain, Name: name} }

// Channel is the topic of the messages and presence events of one channel.
func Channel(name string) Topic { return Topic{kind: channel, Name: name} }

// all stands for every resource. A part of all has nothing of channels.
const all = "*"

// Part is some of the events of a resource domain.
type Part struct {
	Resource  string // "*": of every domain. Narrowed, it has nothing of channels
	In        bool   // only those of Namespace
	Namespace string
	Under     bool // only those whose name is Prefix, or goes on after it with another segment
	Prefix    string
}

// Topic returns the topic of the events of a part.
func (p Part) Topic() Topic {
	switch {
	case p.In || p.Under:
		t := Topic{kind: part, resource: p.Resource, in: p.In, under: p.Under}
		if p.In {
			t.namespace = p.Namespace
		}
		if p.Under {
			t.Name = p.Prefix
		} else if p.Resource != all && p.Namespace != "" {
			t.kind = space
		}
		return t
	case p.Resource == all:
		return Topic{}
	}
	return Domain(p.Resource)
}

// Resource returns the only resource domain of which the topic has events, or "".
func (t Topic) Resource() string {
	switch {
	case t.kind == domain:
		return t.Name
	case t.resource != all:
		return t.resource
	}
	return ""
}

// topic is a Topic that is followed, or that the history has events of.
//
// Those of kind part are known only while they are followed: an event is in as many
// of them as its name has segments, and more. The others are known as long as the
// ring remembers any of their events.
type topic struct {
	Topic
	entries queue.Queue[*Entry]
	evicted uint64 // seq of the newest entry that was evicted
	past    uint64 // seq of the newest message that was evicted
	used    int64  // when the newest entry happened, in milliseconds since the Unix epoch
	subs    []*subscription
	live    []*passed
	waking  atomic.Bool // some of subs are not marked yet: see Ring.wake
	ended   bool        // it is no longer known
}

func (t *topic) add(e *Entry) {
	t.entries.Push(e)
	if !e.Event.IsPresence() {
		t.used = e.Event.UnixMilli
	}
}

func (t *topic) evict(e *Entry) {
	t.entries.Pop()
	if t.evicted = e.Pos.Seq; e.IsMessage() {
		t.past = e.Pos.Seq
	}
}

// subject is what events are about. Events of one subject are in the same topics.
type subject struct {
	resource, namespace, channel, key string
	whole                             bool // anything in the resource: see backend.Reset
}

func subjectOf(ev *backend.Event) subject {
	if ev.IsReset() {
		return subject{resource: ev.Resource, whole: true}
	}
	if backend.InChannel(ev.Resource) { // the key is of a growing message, which is in no topic of its own
		return subject{resource: ev.Resource, channel: ev.Channel}
	}
	return subject{ev.Resource, ev.Namespace, ev.Channel, ev.Key, false}
}

func (s *subject) name() string {
	if backend.InChannel(s.resource) {
		return s.channel
	}
	return s.key
}

// compare orders subjects by resource, namespace and name.
func (s *subject) compare(other *subject) int {
	if c := s.compareSpace(other); c != 0 {
		return c
	}
	return strings.Compare(s.name(), other.name())
}

func (s *subject) compareSpace(other *subject) int {
	if c := strings.Compare(s.resource, other.resource); c != 0 {
		return c
	}
	return strings.Compare(s.namespace, other.namespace)
}

// isOf reports whether events of a subject are in a space or part.
func (s *subject) isOf(t *Topic) bool {
	switch {
	case t.resource != all && t.resource != s.resource, t.resource == all && backend.InChannel(s.resource):
		return false
	case s.whole:
		return true
	case t.in && t.namespace != s.namespace:
		return false
	case !t.under:
		return true
	}
	rest, ok := strings.CutPrefix(s.name(), t.Name)
	return ok && (rest == "" || strings.HasPrefix(rest, backend.Separator(s.resource)))
}

// parts calls visit for each part that the events of a subject are in, the prefixes of
// its name with at most so many segments.
func (s *subject) parts(segments int, visit func(Topic)) {
	name, sep := s.name(), backend.Separator(s.resource)
	s.variants(visit, Topic{kind: part})
	for end := 0; segments > 0 && end < len(name); segments-- {
		if i := strings.Index(name[end:], sep); i >= 0 {
			end += i
		} else {
			end = len(name)
		}
		s.variants(visit, Topic{kind: part, under: true, Name: name[:end]})
		end++
	}
}

func (s *subject) variants(visit func(Topic), t Topic) {
	of := []string{s.resource, all}
	if backend.InChannel(s.resource) {
		of = of[:1]
	}
	for _, t.resource = range of {
		if t.in, t.namespace = false, ""; t.under {
			visit(t)
		}
		t.in, t.namespace = true, s.namespace
		visit(t)
	}
}
