package wsconn

import "encoding/binary"

// Room is how many bytes in front of a message the header of its first frame may take.
const Room = 4

// Frame returns a text message as one frame of a server, which does not mask: so the
// same bytes will do for all connections. The text must be of valid UTF-8.
func Frame(text []byte) []byte {
	frame := make([]byte, 0, maxHeader+len(text))
	return append(appendHeader(frame, opText, true, len(text)), text...)
}

// Text returns the message in a frame that [Frame] has made. Of nil it is nil.
func Text(frame []byte) []byte {
	if frame == nil {
		return nil
	}
	switch frame[1] {
	case 126:
		return frame[2+2:]
	case 127:
		return frame[2+8:]
	}
	return frame[2:]
}

// maxHeader is the largest header of a frame without a mask, in bytes.
const maxHeader = 2 + 8

// appendHeader appends the header of a frame without a mask: RFC 6455, section 5.2.
func appendHeader(dst []byte, op byte, fin bool, length int) []byte {
	if fin {
		op |= finBit
	}
	switch {
	case length < 126:
		return append(dst, op, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, op, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, op, 127), uint64(length))
}

// putHeader puts the header of a frame, whose payload is at most [Fragment], before it,
// and returns the frame. b is Room bytes and the payload.
func putHeader(b []byte, op byte, fin bool) []byte {
	var header [maxHeader]byte
	h := appendHeader(header[:0], op, fin, len(b)-Room)
	frame := b[Room-len(h):]
	copy(frame, h)
	return frame
}
