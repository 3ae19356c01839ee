package inspector_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/inspector"
)

// tail reads events until the test ends.
func (s *site) tail(query string) <-chan string {
	s.t.Helper()
	resp := s.request(http.MethodGet, "/events?"+query, "let me in")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %s", query, resp.Status)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	synctest.Wait()
	return lines
}

// read returns the data that has come.
func read(lines <-chan string) (list []string) {
	synctest.Wait()
	for {
		select {
		case line, ok := <-lines:
			if data, is := strings.CutPrefix(line, "data: "); is {
				list = append(list, data)
			}
			if !ok {
				return append(list, "end")
			}
		default:
			return list
		}
	}
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		lines := s.tail("channel=room:*")
		publish := func(channel, data string) {
			if err := s.Realtime.Publish(t.Context(), channel, data); err != nil {
				t.Fatal(err)
			}
		}
		publish("room:1", "hello")
		publish("other", "nothing")
		publish("room:2", strings.Repeat("ü", 3000))
		got := read(lines)
		if len(got) != 2 || !strings.Contains(got[0], `"ch":"room:1"`) || !strings.Contains(got[0], `hello`) || len(got[1]) > 2500 || !strings.Contains(got[1], `"size":6002`) {
			t.Errorf("%d: %.3000q", len(got), got)
		}
		time.Sleep(time.Second)
		for range 500 {
			publish("room:1", "x")
		}
		time.Sleep(16 * time.Second) // the next sign of life tells of the rest
		got = read(lines)
		missed := 0
		for _, data := range got {
			var n int
			if json.Unmarshal([]byte(data), &n) == nil {
				missed += n
			}
		}
		if len(got) > 52+50 || missed != 450 {
			t.Errorf("%d came, %d were missed", len(got), missed)
		}
		for _, query := range []string{"channel=" + strings.Repeat("*a", 10), "key=["} {
			if resp := s.request(http.MethodGet, "/events?"+query, "let me in"); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s", query, resp.Status)
			}
		}
		time.Sleep(10 * time.Minute)
		if got := read(lines); len(got) != 1 || got[0] != "end" {
			t.Errorf("after ten minutes: %q", got)
		}
	})
}

// A writer that cannot stream is told of, and not asked for ever.
func TestTailWithoutDeadlines(t *testing.T) {
	rt, err := realtime.New(policy(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	w := httptest.NewRecorder()
	inspector.Handler(rt, func(*http.Request) error { return nil }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inspector/events", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "streaming_unsupported") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// Tails are bounded, and end with their client, and with the Realtime.
func TestTailsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, operator)
		for range 31 {
			s.tail("")
		}
		last := s.tail("")
		if resp := s.request(http.MethodGet, "/events", "let me in"); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one too many: %s", resp.Status)
		}
		if err := s.Realtime.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := read(last); len(got) != 1 || got[0] != "end" {
			t.Errorf("after the end: %q", got)
		}
	})
}
