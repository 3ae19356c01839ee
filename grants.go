package realtime

import "github.com/maravilla-realtime/realtime/internal/grant"

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
type Grant struct{ of grant.Grant }

// everything is the grant of [AllowAll].
var everything = Grant{grant.Grant{Resource: "*", Channels: true, Data: true}}

// GrantAll lets a stream show every event of a resource domain ("kv", "db", "storage",
// "realtime", "presence", or one of the host's own), without data. "*" is every domain
// except realtime and presence: events of channels must be granted by name.
func GrantAll(resource string) Grant { return Grant{grant.Grant{Resource: resource}} }

// In narrows the grant to one namespace: of keys, or a DB collection. Objects,
// messages and presence have none.
func (g Grant) In(namespace string) Grant {
	g.of.Namespace, g.of.In = namespace, true
	return g
}

// Under narrows the grant to keys (of realtime and presence: channels) that equal
// the prefix or go on after it with another segment: "acme" grants "acme" and
// "acme:1", not "acme2". Segments are separated by ':', those of storage paths by
// '/'. No segment of the prefix may be empty: "user:" grants nothing, since it is
// what "user:"+id is for a guest.
func (g Grant) Under(prefix string) Grant {
	g.of.Prefix, g.of.Under = prefix, true
	return g
}

// WithData lets the data of messages, the metadata of members and the data of
// custom events through. Without it a stream says only that something happened.
func (g Grant) WithData() Grant {
	g.of.Data = true
	return g
}

// String describes the grant, as in "kv in todos under ada, with data".
func (g Grant) String() string { return g.of.String() }
