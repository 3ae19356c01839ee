package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime"
)

// body serves one stream.
type body struct{ io.Reader }

func (b body) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: io.NopCloser(b.Reader),
	}, nil
}

// readStream reads one stream to its end.
func readStream(r io.Reader, yield func(realtime.RenEvent, error) bool) (*Ren, disconnect) {
	ren, err := NewRen("http://host.test/ren", &RenOptions{Logger: slog.New(slog.DiscardHandler), HTTPClient: &http.Client{Transport: body{r}}})
	if err != nil {
		panic(err)
	}
	return ren, ren.stream(context.Background(), &reconnector{}, yield)
}

// greet returns a client that the server has greeted, as if it were connected.
func greet(t testing.TB) *session {
	t.Helper()
	r, err := NewRealtime("http://host.test/realtime", &RealtimeOptions{ClientID: "Zm9vYmFyYmF6cXV4.dGFi", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{Realtime: r, reconnector: &reconnector{}}
	if l := s.take([]byte(`{"event":"hello","limits":{"message":65536,"rate":1000,"burst":1000}}`)); l != nil {
		t.Fatal(l.err)
	}
	return s
}

// sent takes what is to be sent, and answers it.
func (s *session) sent(answer string) (ops []string) {
	for {
		text, _ := s.out.next()
		if text == nil {
			return ops
		}
		ops = append(ops, string(text))
		if answer != "" {
			var o op
			_ = json.Unmarshal(text, &o)
			s.take(fmt.Appendf(nil, `{"event":%q,"ref":%d,"state":"fresh","cursor":"1.1"}`, answer, o.Ref))
		}
	}
}

func FuzzFrames(f *testing.F) {
	for _, g := range readGolden(f).Server {
		f.Add([]byte(g.Frame))
	}
	f.Add([]byte(`{"event":"subscribed","ref":1,"state":"resumed"}` + "\n" + `{"event":"presence.leave","channel":"room:42"}`))
	f.Add([]byte(`{"event":"error","ref":2,"code":"x"}` + "\n" + `{"event":"hello"}` + "\n" + `{"event":"error","ref":3,"code":"rate_limited"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := greet(t)
		messages, changes := s.Subscribe(t.Context(), "room:42"), s.Presence("room:42").Events(t.Context())
		s.propose(s.room("room:42"), intent{present: true, user: "ada"})
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			if s.take(line) != nil {
				break
			}
			s.sent("")
		}
		s.lose(nil)
		s.fail(io.EOF)
		n := 0
		for range messages {
			n++
		}
		for range changes {
			n++
		}
		if most := 2 + 2*bytes.Count(data, []byte("{")); n > most || len(s.rooms) > 0 || len(s.out.calls) > 0 {
			t.Errorf("%d pairs, %d channels and %d calls left", n, len(s.rooms), len(s.out.calls))
		}
	})
}

// A loop over a growing message has no more than came, and ends with its client.
func FuzzGrowing(f *testing.F) {
	var all [][]byte
	for _, g := range readGolden(f).Server {
		if bytes.Contains([]byte(g.Frame), []byte(`"event":"stream`)) {
			all = append(all, bytes.Replace([]byte(g.Frame), []byte(`"ref":7`), []byte(`"ref":1`), 1))
		}
	}
	for _, frame := range all {
		f.Add(frame)
		f.Add(bytes.Join([][]byte{frame, []byte(`{"event":"unstreamed","channel":"room:42","id":"a1","code":"unavailable","retry":true}`), frame}, []byte("\n")))
	}
	f.Add(bytes.Join(all, []byte("\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := greet(t)
		loop := &following{channel: "room:42", id: "a1", wake: make(chan struct{}, 1)}
		s.followings = append(s.followings, loop)
		s.ask(loop)
		s.sent("")
		size, last := 0, StreamPart{}
		next := func() {
			if part, ok, _ := s.nextPart(t.Context(), loop); ok {
				for size += len(part.Text); len(part.Items) > 0; part.Items = part.Items[1:] {
					size += len(part.Items[0])
				}
				last = part
			}
		}
		for i, line := range bytes.Split(data, []byte("\n")) {
			if s.take(line) != nil {
				break
			}
			if i%2 == 0 { // a loop that lags is given several at once
				next()
			}
			s.sent("")
		}
		next()
		s.lose(nil)
		s.fail(io.EOF)
		if most := 3 * len(data); size > most { // a byte that is no text is given as U+FFFD
			t.Errorf("%d bytes of %d", size, most)
		}
		if _, ok, err := s.nextPart(t.Context(), loop); ok || err == nil && last.State == realtime.StreamStreaming || len(s.out.calls) > 0 {
			t.Errorf("after the end: %v, %v, and %d calls are left", ok, err, len(s.out.calls))
		}
	})
}

func FuzzStream(f *testing.F) {
	for _, g := range readGolden(f).REN {
		f.Add([]byte(g.Frame))
	}
	f.Add([]byte("event: ren.hello\ndata: {}\n\nretry: 5\n\ndata: {\"t\":\"x\"}\n\nevent: x\ndata\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		ren, l := readStream(bytes.NewReader(data), func(ev realtime.RenEvent, err error) bool {
			if err == nil && ev.Type == "" {
				t.Error("an event of no type")
			}
			n++
			return true
		})
		if l.err == nil || n > bytes.Count(data, []byte("data")) || strings.ContainsRune(string(ren.Cursor()), 0) {
			t.Errorf("%d pairs, cursor %q, end %v", n, ren.Cursor(), l.err)
		}
	})
}

// repeat is a stream of n equal frames.
type repeat struct {
	frame string
	n     int
	rest  string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.frame
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func BenchmarkRenEvent(b *testing.B) {
	frames := &repeat{frame: readGolden(b).REN[0].Frame, n: b.N}
	b.ReportAllocs()
	n := 0
	readStream(frames, func(realtime.RenEvent, error) bool {
		n++
		return true
	})
	if n != b.N {
		b.Errorf("%d of %d", n, b.N)
	}
}

func BenchmarkMessage(b *testing.B) {
	frame := []byte(readGolden(b).Server[0].Frame)
	s := greet(b)
	s.Subscribe(b.Context(), "room:42")
	s.sent("subscribed")
	f := s.rooms["room:42"].feeds[0]
	b.ReportAllocs()
	for b.Loop() {
		s.take(frame)
		if _, ok := f.pop(); !ok {
			b.Fatal("no message")
		}
	}
}
