// Package testkit is what the kits of the tests share: those of the API, of the clients, of
// the stores and of web frameworks set up different things, in the same way.
package testkit

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Bubble runs a subtest in virtual time. A goroutine that is left at its end fails it.
func Bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// Patience is how long a test in real time waits for what has to come, at the machine's
// pace.
const Patience = 20 * time.Second

// Eventually polls, in real time, until cond holds, and fails the test after [Patience].
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !pace.Poll(Patience, time.Millisecond, cond) {
		t.Fatalf("not within %v at the machine's pace: %s", Patience, what)
	}
}

// Logs is a log that a test can read while it is written. The zero Logs are empty.
type Logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all that was logged, or what was since the last Take.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Take returns what was logged since the last Take.
func (l *Logs) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.buf.String()
	l.buf.Reset()
	return text
}

// Logger returns a logger that writes lines of [slog.TextHandler], from the level on.
func (l *Logs) Logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// Bearer returns the token of a request: the policies of the tests take it for the user.
func Bearer(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// Refusal is the one shape of errors: see docs/protocol.md.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Retry   *bool  `json:"retry"`
}

// ParseRefusal parses an error, which must have all members and no other.
func ParseRefusal(t testing.TB, body []byte) (f Refusal) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || f.Code == "" || f.Message == "" || f.Retry == nil {
		t.Errorf("error %s is not {code, message, retry}: %v", body, err)
	}
	return f
}
