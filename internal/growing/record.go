package growing

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

// recordKind is the kind of the records of open messages: their group is the channel,
// their name the id.
const recordKind = "stream"

// record is what the store has of an open message.
type record struct {
	Begin        // without its Key
	node  string // that writes it
}

// recordVersion is the first byte of a record. After it come the time and the depth as
// unsigned varints, and the texts of the fields in turn, each with its length before it
// as an unsigned varint.
const recordVersion = 1

var errRecord = errors.New("growing: malformed record")

func encodeRecord(r record) []byte {
	b := binary.AppendUvarint([]byte{recordVersion}, uint64(r.UnixMilli))
	b = binary.AppendUvarint(b, uint64(r.Depth))
	for _, text := range []string{r.Run, r.node, r.User, r.Source, string(r.Metadata)} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

func decodeRecord(b []byte) (r record, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return r, errRecord
	}
	b = b[1:]
	number := func() (value uint64) {
		value, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = errRecord, nil
			return 0
		}
		b = b[n:]
		return value
	}
	text := func() string {
		length := number()
		if length > uint64(len(b)) {
			err, b = errRecord, nil
			return ""
		}
		s := string(b[:length])
		b = b[length:]
		return s
	}
	r.UnixMilli, r.Depth = int64(number()), int(number())
	r.Run, r.node, r.User, r.Source = text(), text(), text(), text()
	if m := text(); m != "" {
		r.Metadata = json.RawMessage(m)
	}
	return r, err
}
