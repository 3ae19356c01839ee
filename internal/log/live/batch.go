// Package live sends what is told live only, ephemeral messages, from node to node. Each
// node gathers what it has to send, and appends it to the log as one record, some 20
// times a second at most. So all nodes get it in the order of the log, whatever the
// engine, and no history keeps it: what it costs an engine does not depend on how much
// there is, in records, but on the number of nodes.
package live

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/maravilla-realtime/realtime/backend"
)

// Type is the type of the control record that is a batch. Releases that do not know it
// ignore it.
const Type = "$live"

var errBatch = errors.New("live: malformed batch")

// Encode returns payloads as the data of a record: each with its length, an unsigned
// varint, before it.
func Encode(batch []backend.Payload) json.RawMessage {
	var b []byte
	for i := range batch {
		p := batch[i].Encode()
		b = append(binary.AppendUvarint(b, uint64(len(p))), p...)
	}
	return b
}

// Decode is the inverse of [Encode]. It leaves out payloads that this release cannot read,
// and returns the error of the first one. The payloads share data.
func Decode(data []byte) (batch []backend.Payload, err error) {
	for len(data) > 0 {
		length, n := binary.Uvarint(data)
		if n <= 0 || length > uint64(len(data)-n) {
			return batch, cmp.Or(err, errBatch)
		}
		end := n + int(length)
		p, unread := backend.DecodePayload(data[n:end])
		if unread == nil {
			batch = append(batch, p)
		}
		err = cmp.Or(err, unread)
		data = data[end:]
	}
	return batch, err
}
