package sse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read returns all events of a stream, and the last retry.
func read(r io.Reader) (events []Event, retry time.Duration, err error) {
	for rd := NewReader(r, 1<<20); ; {
		ev, err := rd.Next()
		if err != nil {
			return events, rd.Retry, err
		}
		events = append(events, ev)
	}
}

func TestReader(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         []Event
		retry        time.Duration
	}{
		{"empty", "", nil, 0},
		{"message", "data: a\n\n", []Event{{"message", "", "a"}}, 0},
		{"lines", "data: a\ndata\ndata:b\n\n", []Event{{"message", "", "a\n\nb"}}, 0},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []Event{{"message", "", "a"}, {"message", "", "b"}}, 0},
		{"CR", "data: a\r\rdata: b\r\r", []Event{{"message", "", "a"}, {"message", "", "b"}}, 0},
		{"mixed line ends", "data: a\r\n\ndata: b\n\r\n", []Event{{"message", "", "a"}, {"message", "", "b"}}, 0},
		{"named", "event: x\ndata: a\n\ndata: b\n\n", []Event{{"x", "", "a"}, {"message", "", "b"}}, 0},
		{"name without data", "event: x\n\ndata: a\n\n", []Event{{"message", "", "a"}}, 0},
		{"empty name", "event: x\nevent:\ndata: a\n\n", []Event{{"message", "", "a"}}, 0},
		{"id stays", "id: 1\ndata: a\n\ndata: b\n\n", []Event{{"message", "1", "a"}, {"message", "1", "b"}}, 0},
		{"id without data", "id: 1\n\ndata: b\n\n", []Event{{"message", "1", "b"}}, 0},
		{"id is emptied", "id: 1\ndata: a\n\nid\ndata: b\n\n", []Event{{"message", "1", "a"}, {"message", "", "b"}}, 0},
		{"NUL in an id", "id: 1\nid: 2\x00\ndata: a\n\n", []Event{{"message", "1", "a"}}, 0},
		{"only one space goes", "data:  a \n\n", []Event{{"message", "", " a "}}, 0},
		{"colons", "data: a:b\ndata::c\n\n", []Event{{"message", "", "a:b\n:c"}}, 0},
		{"comments", ": x\n:\ndata: a\n:data: b\n\n", []Event{{"message", "", "a"}}, 0},
		{"unknown fields", "x: y\nDATA: n\ndata : n\ndata: a\n\n", []Event{{"message", "", "a"}}, 0},
		{"cut off", "data: a\n\ndata: b\n", []Event{{"message", "", "a"}}, 0},
		{"cut off in a line", "data: a\n\ndata: b", []Event{{"message", "", "a"}}, 0},
		{"retry", "retry: 1500\n\ndata: a\n\n", []Event{{"message", "", "a"}}, 1500 * time.Millisecond},
		{"bad retries", "retry: 7\nretry: -1\nretry: +8\nretry: 1.5\nretry: x\nretry\n\n", nil, 7 * time.Millisecond},
		{"a retry of ages", "retry: 7\nretry: 99999999999999999999\n\n", nil, (1<<40 - 1) * time.Millisecond},
		{"BOM", "\ufeffdata: a\n\n\ufeffdata: b\n\n", []Event{{"message", "", "a"}}, 0},
		{"invalid UTF-8", "data: \xff\n\n", []Event{{"message", "", "\ufffd"}}, 0},
		{"separators of other kinds", "data: a\u2028\u0085\vb\n\n", []Event{{"message", "", "a\u2028\u0085\vb"}}, 0},
	} {
		for way, r := range map[string]io.Reader{"whole": strings.NewReader(c.stream), "byte by byte": iotest.OneByteReader(strings.NewReader(c.stream))} {
			got, retry, err := read(r)
			if diff := cmp.Diff(c.want, got); diff != "" || retry != c.retry || err != io.EOF {
				t.Errorf("%s, %s: retry %v, %v (-want +got):\n%s", c.name, way, retry, err, diff)
			}
		}
	}
}

// An event is handed out with its last line end, not when the next byte comes.
func TestReaderDoesNotWait(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r\n"} {
		cut := errors.New("cut")
		r := NewReader(io.MultiReader(strings.NewReader("data: a"+end), iotest.ErrReader(cut)), 100)
		if ev, err := r.Next(); err != nil || ev.Data != "a" {
			t.Errorf("%q: %v %v", end, ev, err)
		}
		if _, err := r.Next(); err != cut {
			t.Errorf("%q: the error is %v, not that of the source", end, err)
		}
	}
}

func TestReaderLimit(t *testing.T) {
	for name, stream := range map[string]string{
		"line":  "data: " + strings.Repeat("x", 100),
		"lines": strings.Repeat("data: xxx\n", 100),
		"other": strings.Repeat("x: yyyyyyy\n", 100),
	} {
		if _, err := NewReader(strings.NewReader(stream+"\n\n"), 100).Next(); err != ErrTooLong {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := NewReader(strings.NewReader(strings.Repeat("data: xxxxxxxxxx\n\n: comment\n\n", 100)), 20)
	for range 100 {
		if _, err := r.Next(); err != nil {
			t.Fatalf("short events: %v", err)
		}
	}
}

// What is too long costs itself: the next event can be read, and the id that came
// before the data counts.
func TestReaderSkips(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		stream := strings.ReplaceAll("id: 1\nevent: x\ndata: "+strings.Repeat("x", 500)+"\ndata: y\n\ndata: a\n\n", "\n", end)
		for way, src := range map[string]io.Reader{"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream))} {
			r := NewReader(src, 100)
			if ev, err := r.Next(); err != ErrTooLong || ev != (Event{Name: "x", ID: "1"}) {
				t.Errorf("%q, %s: %v %v", end, way, ev, err)
			}
			if ev, err := r.Next(); err != nil || ev != (Event{"message", "1", "a"}) {
				t.Errorf("%q, %s: after it %v %v", end, way, ev, err)
			}
		}
	}
	// What is no UTF-8 is longer when it is decoded: the line that ends the event still does.
	r := NewReader(strings.NewReader("data: \xff\xff\xff\n\ndata: a\n\n"), 10)
	for _, want := range []string{"\ufffd\ufffd\ufffd", "a"} {
		if ev, err := r.Next(); err != nil || ev.Data != want {
			t.Errorf("%q %v, want %q", ev.Data, err, want)
		}
	}
	if _, err := NewReader(strings.NewReader(strings.Repeat("x", 100+100*skipFactor+1)), 100).Next(); err != ErrEndless {
		t.Errorf("an endless line: %v", err)
	}
	cut := errors.New("cut")
	if _, err := NewReader(io.MultiReader(strings.NewReader(strings.Repeat("x", 200)), iotest.ErrReader(cut)), 100).Next(); err != cut {
		t.Errorf("cut off in a line that is too long: %v", err)
	}
}

// Among them are the examples of Unicode, tables 3-8 to 3-11.
func TestDecode(t *testing.T) {
	const x = "\ufffd"
	for in, want := range map[string]string{
		"":                                  "",
		"ünïcode \U0001f600":                "ünïcode \U0001f600",
		"\xff":                              x,
		"\xff\xff":                          x + x,
		"a\xe2\x82":                         "a" + x,
		"\xe2\x82b":                         x + "b",
		"\xe2\x82\xe2\x82\xac":              x + "€",
		"\xf0\x9f\x98":                      x,
		"\xf0\x9f\x98\xf0\x9f":              x + x,
		"\xc3":                              x,
		"\xc3(":                             x + "(",
		"\x80\x80":                          x + x,
		"\xc1\xbf":                          x + x,
		"\xf5\x80\x80\x80":                  x + x + x + x,
		"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A": strings.Repeat(x, 8) + "A",
		"\xed\xa0\x80\xed\xbf\xbf\xed\xafA": strings.Repeat(x, 8) + "A",
		"\xf4\x91\x92\x93\xffA\x80\xbfB":    strings.Repeat(x, 5) + "A" + x + x + "B",
		"\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA": strings.Repeat(x, 4) + "A",
		"a\xf1\x80\x80\xe1\x80\xc2b\x80c\x80\xbfd": "a" + x + x + x + "b" + x + "c" + x + x + "d",
		"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf": "\ud7ff\ue000\U0010ffff",
		"\xef\xbf\xbd": x,
	} {
		if got := decode([]byte(in)); got != want {
			t.Errorf("%q is decoded as %+q, want %+q", in, got, want)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct{ name, id, data, want string }{
		{"", "", "", "data: \n\n"},
		{"x", "1", "a", "event: x\nid: 1\ndata: a\n\n"},
		{"", "1", "a\nb\r\nc\rd\n", "id: 1\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
		{"", "", "\n\r", "data: \ndata: \ndata: \n\n"},
	} {
		if got := AppendEvent(nil, c.name, c.id, []byte(c.data)); string(got) != c.want {
			t.Errorf("%q: %q, want %q", c.data, got, c.want)
		}
	}
	if got := AppendRetry([]byte("x"), 1500*time.Millisecond); string(got) != "xretry: 1500\n\n" {
		t.Errorf("%q", got)
	}
}

// Any data comes back as it was, except CR and CRLF, which become LF.
func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{"", "a", "a\nb", "\r", "\r\n", "\n\r", "\r\r\n\n", " a", ":", "\ufeffa", "\u2028", "\x00", "\xff\xfe", "data: x", "\n\n"} {
		f.Add([]byte(seed), byte(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, split byte) {
		stream := AppendEvent(nil, "x", "1", data)
		stream = AppendRetry(stream, 7*time.Millisecond)
		stream = AppendEvent(stream, "", "", []byte("after"))
		want := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
		lines := strings.Split(want, "\n")
		for i := range lines {
			lines[i] = decode([]byte(lines[i]))
		}
		got, retry, err := read(io.MultiReader(bytes.NewReader(stream[:int(split)%len(stream)]), bytes.NewReader(stream[int(split)%len(stream):])))
		if diff := cmp.Diff([]Event{{"x", "1", strings.Join(lines, "\n")}, {"message", "1", "after"}}, got); diff != "" || retry != 7*time.Millisecond || err != io.EOF {
			t.Errorf("%q: %v %v (-want +got):\n%s", data, retry, err, diff)
		}
	})
}

// pieces hands a stream out in pieces whose lengths another string gives.
type pieces struct{ stream, lengths []byte }

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.lengths) > 0 {
		n, p.lengths = int(p.lengths[0]%16)+1, p.lengths[1:]
	}
	n = copy(b, p.stream[:min(n, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

// No stream makes the reader panic, and how it is split does not matter.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"", "data: a\n\n", "data: a\r\n\r\n", "id: 1\nevent: x\ndata\ndata\r\r", "\ufeffdata: a\n\n", "retry: 10\n\n", ": c\n\n\n", "data: \xe2\x82", "id: \x00\ndata\n\n",
	} {
		f.Add([]byte(seed), []byte{1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, stream, lengths []byte) {
		want, retry, err := read(bytes.NewReader(stream))
		got, retry2, err2 := read(&pieces{stream, lengths})
		if diff := cmp.Diff(want, got); diff != "" || retry != retry2 || err != err2 {
			t.Errorf("split, it is read differently: %v %v, %v %v\n%s", retry, retry2, err, err2, diff)
		}
		for _, ev := range got {
			if ev.Name == "" || strings.ContainsAny(ev.ID+ev.Name, "\r\n") || strings.Contains(ev.ID, "\x00") || strings.Contains(ev.Data, "\r") {
				t.Errorf("%+v", ev)
			}
		}
	})
}
