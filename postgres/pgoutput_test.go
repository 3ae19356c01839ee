package postgres

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// recorded are messages that Postgres 15 has sent, each with what it says.
func recorded(t testing.TB) (messages [][]byte, says []string) {
	t.Helper()
	data, err := os.ReadFile("testdata/pgoutput.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if i%2 == 1 {
			says = append(says, strings.TrimSpace(line))
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, b)
	}
	return messages, says
}

// describe returns a message in words.
func describe(m any) string {
	switch m := m.(type) {
	case nil:
		return "nothing"
	case beginMessage:
		return fmt.Sprintf("begin %s at %s", lsn(m.lsn), m.at.UTC().Format("2006-01-02T15:04:05.000000"))
	case commitMessage:
		return "commit, ends at " + lsn(m.end)
	case relationMessage:
		s := fmt.Sprintf("table %d %s.%s %c", m.id, m.schema, m.name, m.identity)
		for _, c := range m.columns {
			s += fmt.Sprintf(" %s:%d:%v", c.name, c.typ, c.key)
		}
		return s
	case rowMessage:
		return fmt.Sprintf("%c %d old %s full %v new %s", m.kind, m.relation, describe(m.old), m.full, describe(m.new))
	case tuple:
		s := ""
		for _, c := range m {
			s += fmt.Sprintf("(%c %.20s)", c.kind, c.text)
		}
		return s
	case truncateMessage:
		return fmt.Sprint("truncate ", m.relations)
	case logicalMessage:
		return fmt.Sprintf("message %v %s %s", m.transactional, m.prefix, m.content)
	}
	return fmt.Sprintf("%T", m)
}

func TestParse(t *testing.T) {
	messages, says := recorded(t)
	for i, data := range messages {
		m, err := parse(data)
		if got := strings.TrimSpace(describe(m)); err != nil || got != says[i] {
			t.Errorf("%x\nis %s, %v\nnot %s", data, got, err, says[i])
		}
	}
}

// A message that ends early, or goes on too long, is refused, as is one that is unknown.
func TestParseRefuses(t *testing.T) {
	messages, _ := recorded(t)
	for _, data := range messages {
		if data[0] == 'Y' || data[0] == 'O' {
			continue
		}
		for n := range data {
			if m, err := parse(data[:n]); !errors.Is(err, errPgoutput) {
				t.Errorf("%d bytes of %x are %s, %v", n, data, describe(m), err)
			}
		}
		if m, err := parse(append(bytes.Clone(data), 0)); !errors.Is(err, errPgoutput) {
			t.Errorf("%x and a byte are %s, %v", data, describe(m), err)
		}
	}
	for _, bad := range []string{"", "?", "S", "E", "I\x00\x00\x00\x01O\x00\x00", "I\x00\x00\x00\x01K\x00\x00", "U\x00\x00\x00\x01X\x00\x00", "D\x00\x00\x00\x01N\x00\x00",
		"I\x00\x00\x00\x01N\x00\x01?", "I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xff", "I\x00\x00\x00\x01N\xff\xff", "T\xff\xff\xff\xff\x00"} {
		if m, err := parse([]byte(bad)); !errors.Is(err, errPgoutput) {
			t.Errorf("%q is %s, %v", bad, describe(m), err)
		}
	}
}

// Whatever the server sends, it is a message or an error, and needs no more memory than
// it has bytes.
func FuzzParse(f *testing.F) {
	messages, _ := recorded(f)
	for _, data := range messages {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept := bytes.Clone(data)
		m, err := parse(data)
		if (m != nil) && err != nil {
			t.Errorf("%s, and the error %v", describe(m), err)
		}
		said := describe(m)
		clear(data)
		if describe(m) != said {
			t.Errorf("%x shares its memory", kept)
		}
		if row, ok := m.(rowMessage); ok && len(row.new)+len(row.old) > len(kept) {
			t.Errorf("%x has %d columns", kept, len(row.new)+len(row.old))
		}
	})
}

// Names fit in an event, stay apart, and keep their beginning.
func TestFit(t *testing.T) {
	long := strings.Repeat("é", 127)
	for s, want := range map[string]string{
		"": "", "a:b": "a:b", "a\x00b": "a%00b", "\xff": "%FF", "\u0085": "%C2%85", "é💬": "é💬", long: long, long + "x": long + "x",
	} {
		if got := fit(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
	a, b := fit(long+"xy"), fit(long+"xz")
	if a == b || len(a) > maxName || !strings.HasPrefix(a, strings.Repeat("é", 100)) {
		t.Errorf("%q and %q", a, b)
	}
}
