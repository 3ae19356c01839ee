// Package tsgen writes TypeScript declarations of the Go types that a host sends
// over its channels and in its events, so that both ends share one source:
//
//	var schema = tsgen.Schema{
//		Channels: map[string]tsgen.Channel{
//			"room:{id}": {Message: ChatMessage{}, Presence: Profile{}},
//		},
//		Events: []tsgen.Event{{Resource: "jobs", Type: "job.done", Data: JobDone{}}},
//	}
//
// [WriteFile] writes the module, from a program or a test that go generate runs.
// [Check], in a test, fails if the file is stale. The module fits the type
// parameters of the browser SDK:
//
//	import type { Channels, Presences, Events } from './types';
//
//	const rt = new RealtimeClient<Channels, Presences>();
//	const ren = new RenClient<Events>();
//	rt.publish('room:42', { text: 'hello' }); // checked against ChatMessage
//
// # What the types are
//
// The declarations describe what encoding/json writes:
//
//   - Structs with a name become interfaces, with the fields that encoding/json
//     picks: tags, embedding, promotion. Named slices, arrays and maps become
//     types. Other named types become their underlying type, unless [Enum] lists
//     their values. A generic type's name ends with its arguments: Page[Item] is
//     PageItem.
//   - A field is optional if omitempty or omitzero may leave it out, or if it
//     comes from an embedded pointer.
//   - Pointers, slices and maps may be null, since nil encodes as null, unless it is
//     left out.
//   - Numbers of all sizes are number, which is exact up to 2^53 only: give an
//     int64 or uint64 that may be larger the option string. A field with the option is
//     string.
//   - []byte is string, in base64. [N]T is a tuple up to a length of 8, else T[].
//   - Maps have string keys, as JSON does, or the keys that [Enum] lists.
//   - [time.Time] and types with a MarshalText method are string. Interfaces,
//     [encoding/json.RawMessage] and types with a MarshalJSON method are unknown, unless
//     [As] gives their type. So are types whose methods have a pointer receiver, since
//     encoding/json calls these only where it can address the value.
//
// A value of Go satisfies its declaration, except that Go does not check [Enum] and
// [As]: an empty Status encodes as "", listed or not. In the other direction
// TypeScript checks at compile time only: do not trust data that a browser sends.
package tsgen
