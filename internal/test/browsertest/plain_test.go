package browsertest

import (
	"bufio"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// A page needs no SDK to follow REN: what happens comes to onmessage, and what
// the stream has to say about itself does not.
func TestBareEventSource(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	p := NewUser(t).Open(chat.URL + "shared/icon.svg") // a document of the same origin without a script
	Eval[any](p, `{
		window.got = [];
		window.source = new EventSource('/api/maravilla/ren?s=realtime');
		source.onmessage = ({ data, lastEventId }) => got.push(JSON.parse(data).data.text + (lastEventId ? '' : ' without id'));
	}`)
	Until(p, `source.readyState`, 1)
	chat.Say("bare", "one")
	chat.Say("bare", "two\nlines")
	Until(p, `got.join('; ')`, "one; two\nlines")
	Eval[any](p, `source.close()`)
}

// Neither does a shell.
func TestCurl(t *testing.T) {
	t.Parallel()
	chat := StartChat(t)
	lines := follow(t, chat.URL+"api/maravilla/ren")
	expect(t, lines, "event: ren.hello")
	chat.Say("bare", "for the shell")
	expect(t, lines, `data: {"t":"realtime.message","r":"realtime",`)
}

// follow reads a stream with curl, or without where there is none.
func follow(t *testing.T, url string) <-chan string {
	t.Helper()
	lines := make(chan string, 64)
	out, stop := stream(t, url)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return lines
}

func stream(t *testing.T, url string) (out io.Reader, stop func()) {
	t.Helper()
	if path, err := exec.LookPath("curl"); err == nil {
		curl := exec.Command(path, "--silent", "--no-buffer", url)
		out, err := curl.StdoutPipe()
		if err == nil {
			err = curl.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out, func() {
			_ = curl.Process.Kill()
			_ = curl.Wait() // says that it was killed
		}
	}
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Body, func() { _ = answer.Body.Close() }
}

func expect(t *testing.T, lines <-chan string, prefix string) {
	t.Helper()
	late, cancel := pace.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		select {
		case line := <-lines:
			if strings.HasPrefix(line, prefix) {
				return
			}
		case <-late.Done():
			t.Fatalf("no line begins with %q", prefix)
		}
	}
}

// The SDK is kept by browsers and asked for again by its ETag.
func TestScript(t *testing.T) {
	t.Parallel()
	chat := StartChat(t)
	first := get(t, chat.URL+"api/maravilla/realtime.js", "")
	tag := first.Header.Get("ETag")
	if first.StatusCode != http.StatusOK || tag == "" || !strings.HasPrefix(first.Header.Get("Content-Type"), "text/javascript") {
		t.Fatalf("%s, ETag %q, %s", first.Status, tag, first.Header.Get("Content-Type"))
	}
	if again := get(t, chat.URL+"api/maravilla/realtime.js", tag); again.StatusCode != http.StatusNotModified {
		t.Errorf("with its own ETag: %s, want 304", again.Status)
	}
	if other := get(t, chat.URL+"api/maravilla/realtime.js", `"other"`); other.StatusCode != http.StatusOK {
		t.Errorf("with another ETag: %s, want 200", other.Status)
	}
}

func get(t *testing.T, url, tag string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}
