// Package fields writes and reads records, such as those of the store: unsigned varints, and
// texts with their length before them.
package fields

import "encoding/binary"

// AppendText appends the length of a text, as an unsigned varint, and the text.
func AppendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Reader reads fields in turn. After one that is malformed nothing is left, and Bad is
// set.
type Reader struct {
	Rest []byte // what was not read
	Bad  bool
}

// Number reads an unsigned varint. It is 0 if that is malformed.
func (r *Reader) Number() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Bad, r.Rest = true, nil
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Text reads what [AppendText] has written, without a copy. It is nil if that is
// malformed.
func (r *Reader) Text() []byte {
	n := r.Number()
	if n > uint64(len(r.Rest)) {
		r.Bad, r.Rest = true, nil
	}
	if r.Bad {
		return nil
	}
	text := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return text
}
