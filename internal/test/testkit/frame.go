package testkit

import "encoding/binary"

// Frame returns a frame of the WebSocket protocol (RFC 6455, section 5.2), which a client
// may or may not send: first is its first byte, and payload is sent as it is, with the
// mask if there is one.
func Frame(first byte, mask *[4]byte, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if mask == nil {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}
