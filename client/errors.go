package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Error is a refusal by the server, or by the client before it asks the server.
type Error struct {
	Code    string // what kind, e.g. "forbidden", "rate_limited"; docs/protocol.md lists them
	Message string
	Retry   bool // whether the same request may succeed later
	Status  int  // of the HTTP response that said so, else 0
}

func (e *Error) Error() string { return "client: " + e.Code + ": " + e.Message }

var (
	errSilent     = errors.New("client: nothing came for too long")
	errUnreadable = errors.New("client: the server sent what cannot be read")
	errTwice      = errors.New("client: these events are being followed, or were")
)

const maxRefusal = 4 << 10 // bytes read of a refusal

// refused returns the disconnect for a response that refuses an attempt. Only a refusal
// by the server itself is final: while it is being deployed, a proxy may answer in its
// place, with any status.
func (s *settings) refused(resp *http.Response) disconnect {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // what has come is read
	l := disconnect{atLeast: retryAfter(resp.Header)}
	e := refusalOf(body)
	if e == nil {
		e = &Error{Code: "unavailable", Message: fmt.Sprintf("HTTP status %d", resp.StatusCode), Retry: true}
	} else if resp.StatusCode >= 400 && resp.StatusCode < 500 {
		l.denied = wantsCredentials(e.Code)
		l.final = !e.Retry && !l.denied
	}
	e.Status, l.err = resp.StatusCode, e
	return l
}

// wantsCredentials reports whether other credentials may lift a refusal.
func wantsCredentials(code string) bool { return code == "unauthorized" || code == "expired" }

// refusalOf reads {code, message, retry}, nil where that is not what body is.
func refusalOf(body []byte) *Error {
	var f struct {
		Code    string
		Message *string
		Retry   *bool
	}
	if json.Unmarshal(body, &f) != nil || !wire.IsCode(f.Code) || f.Message == nil || f.Retry == nil || !utf8.Valid(body) {
		return nil
	}
	return &Error{Code: f.Code, Message: *f.Message, Retry: *f.Retry}
}

// retryAfter returns the seconds of Retry-After, or 0 if there is none or it is a date.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("Retry-After")), 10, 31)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // then n is the largest
		return 0
	}
	return time.Duration(n) * time.Second
}

func isStream(resp *http.Response) bool {
	typ, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && err == nil && typ == "text/event-stream"
}
