package postgres

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// frame is a message of the replication as the server sends it.
func frame(message []byte) []byte {
	b := append(append(make([]byte, headerSize), 'w'), make([]byte, 24)...)
	b = append(b, message...)
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	return b
}

// thinned passes a message through a thinner of so many bytes, with a message of another
// kind on either side.
func thinned(t *testing.T, message []byte, most int64) (out []byte, err error) {
	t.Helper()
	aside := []byte("Z\x00\x00\x00\x05I")
	in := slices.Concat(aside, frame(message), aside)
	r := newThinner(iotest.HalfReader(bytes.NewReader(in)))
	r.most = most
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	all, before := bytes.CutPrefix(all, aside)
	all, after := bytes.CutSuffix(all, aside)
	if !before || !after || len(all) < headerSize || int(binary.BigEndian.Uint32(all[1:])) != len(all)-1 {
		t.Fatalf("%x became %x", in, all)
	}
	return all[headerSize+25:], nil
}

// same reports whether a row is another one without some of its values.
func same(thin, whole tuple) bool {
	return slices.EqualFunc(thin, whole, func(a, b column) bool {
		return a.kind == b.kind && bytes.Equal(a.text, b.text) || a.kind == leftOut && b.kind == 't' && a.text == nil
	})
}

// checkThin compares a message with what a thinner of few bytes makes of it.
func checkThin(t *testing.T, message []byte) {
	t.Helper()
	const most = 60
	whole, wrong := parse(message)
	out, err := thinned(t, message, most)
	if err != nil {
		if row, ok := whole.(rowMessage); ok {
			t.Errorf("%s: %v", describe(row), err)
		}
		return
	}
	if len(out)+headerSize+25 <= most && bytes.Equal(out, message) {
		return
	}
	thin, err := parse(out)
	row, isRow := whole.(rowMessage)
	if !isRow {
		if thin != nil && len(frame(message)) > most+1 {
			t.Errorf("%x became %s, %v", message, describe(thin), err)
		}
		return
	}
	got, ok := thin.(rowMessage)
	if wrong != nil || err != nil || !ok || got.kind != row.kind || got.relation != row.relation || got.full != row.full ||
		!same(got.old, row.old) || !same(got.new, row.new) || (got.new == nil) != (row.new == nil) {
		t.Errorf("%s became %s, %v", describe(row), describe(thin), err)
	}
	kept := 0
	for _, c := range slices.Concat(got.old, got.new) {
		kept += len(c.text)
	}
	if kept > most {
		t.Errorf("%d bytes of %s were kept", kept, describe(row))
	}
}

// Rows stay what they are, without their largest values; other large messages say
// nothing.
func TestThinner(t *testing.T) {
	messages, _ := recorded(t)
	for _, m := range messages {
		checkThin(t, m)
		for n := range min(len(m), 200) {
			checkThin(t, m[:n])
		}
	}
	cut := frame(messages[4])
	r := newThinner(bytes.NewReader(cut[:len(cut)-1]))
	r.most = 60
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a connection that ends within a message: %v", err)
	}
}

func FuzzThinner(f *testing.F) {
	messages, _ := recorded(f)
	for _, m := range messages {
		f.Add(m)
	}
	f.Fuzz(checkThin)
}

// A row of 512 MiB is read without holding it.
func TestThinnerHoldsLittle(t *testing.T) {
	const size = 512 << 20
	row := append([]byte("I\x00\x00\x00\x07N\x00\x02t\x00\x00\x00\x014t"), 0x20, 0, 0, 0)
	header := frame(row)
	binary.BigEndian.PutUint32(header[1:], uint32(len(header)-1+size))
	large := io.MultiReader(bytes.NewReader(header), io.LimitReader(endless{}, size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, err := io.ReadAll(bufio.NewReader(newThinner(large)))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(out[headerSize+25:])
	if got := strings.TrimSpace(describe(m)); err != nil || got != "I 7 old  full false new (t 4)(x )" {
		t.Errorf("the row is %s, %v", got, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// endless is a text that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
