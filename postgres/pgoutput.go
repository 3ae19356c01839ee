package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The messages of pgoutput, protocol version 1, as "Logical Replication Message Formats"
// of the manual has them. A transaction comes as a whole, after its commit.
type (
	beginMessage struct {
		lsn uint64 // of the commit
		at  time.Time
	}
	commitMessage struct {
		end uint64 // the place after the transaction
	}
	relationMessage struct {
		id           uint32
		schema, name string
		identity     byte // d: primary key, f: all columns, i: an index, n: nothing
		columns      []columnMessage
	}
	columnMessage struct {
		key  bool // part of the replica identity
		name string
		typ  uint32
	}
	rowMessage struct {
		kind     byte // I, U or D
		relation uint32
		old      tuple // nil: not sent
		full     bool  // old has all columns, not only those of the replica identity
		new      tuple // nil for D
	}
	truncateMessage struct{ relations []uint32 }
	logicalMessage  struct {
		transactional bool
		prefix        string
		content       []byte
	}
)

// tuple is a row. A column is as it was sent: as text, or not at all.
type tuple []column

type column struct {
	kind byte   // n: null, u: a value stored out of line that did not change, t: text, or leftOut
	text []byte // of t
}

var errPgoutput = errors.New("postgres: malformed message of the replication")

// parse decodes one message of pgoutput. It returns nil for a message that says nothing
// of interest. What it returns does not share memory with data.
func parse(data []byte) (any, error) {
	if len(data) == 0 {
		return nil, errPgoutput
	}
	r := reader{rest: data[1:]}
	var m any
	switch kind := data[0]; kind {
	case 'B':
		m = beginMessage{lsn: r.uint64(), at: r.time()}
		r.uint32() // the number of the transaction
	case 'C':
		r.byte()   // flags
		r.uint64() // where the commit is
		m = commitMessage{end: r.uint64()}
		r.time()
	case 'R':
		m = r.relation()
	case 'I', 'U', 'D':
		m = r.row(kind)
	case 'T':
		m = r.truncate()
	case 'M':
		flags := r.byte()
		r.uint64() // where it is
		m = logicalMessage{flags&1 != 0, r.text(), r.bytes(int(r.uint32()))}
	case 'O', 'Y': // origin, type
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: of kind %q", errPgoutput, kind)
	}
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: of kind %q, %d bytes", errPgoutput, data[0], len(data))
	}
	return m, nil
}

// reader reads a message field by field. Once something is missing, bad is set, and
// everything is zero.
type reader struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// postgresEpoch is the beginning of Postgres' time, whose unit is a microsecond.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (r *reader) time() time.Time {
	return time.UnixMicro(postgresEpoch.UnixMicro() + int64(r.uint64()))
}

func (r *reader) bytes(n int) []byte { return append([]byte{}, r.take(n)...) }

// text returns a string that ends with a zero byte.
func (r *reader) text() string {
	for i, b := range r.rest {
		if b == 0 {
			s := string(r.rest[:i])
			r.rest = r.rest[i+1:]
			return s
		}
	}
	r.bad = true
	return ""
}

func (r *reader) relation() relationMessage {
	m := relationMessage{id: r.uint32(), schema: r.text(), name: r.text(), identity: r.byte()}
	for range r.uint16() {
		if r.bad {
			break
		}
		m.columns = append(m.columns, columnMessage{key: r.byte()&1 != 0, name: r.text(), typ: r.uint32()})
		r.uint32() // the modifier of the type
	}
	return m
}

func (r *reader) row(kind byte) rowMessage {
	m := rowMessage{kind: kind, relation: r.uint32()}
	part := r.byte()
	if kind != 'I' && (part == 'K' || part == 'O') {
		m.old, m.full = r.tuple(), part == 'O'
		if kind == 'D' {
			return m
		}
		part = r.byte()
	}
	if part != 'N' || kind == 'D' {
		r.bad = true
	}
	m.new = r.tuple()
	return m
}

func (r *reader) tuple() tuple {
	n := r.uint16()
	t := make(tuple, 0, min(n, len(r.rest))) // of which each takes a byte at least
	for range n {
		if r.bad {
			break
		}
		c := column{kind: r.byte()}
		switch c.kind {
		case 'n', 'u', leftOut:
		case 't':
			c.text = r.bytes(int(r.uint32()))
		default:
			r.bad = true
		}
		t = append(t, c)
	}
	return t
}

func (r *reader) truncate() truncateMessage {
	n := int(r.uint32())
	r.byte() // options
	m := truncateMessage{}
	for range n {
		if r.bad {
			break
		}
		m.relations = append(m.relations, r.uint32())
	}
	return m
}
