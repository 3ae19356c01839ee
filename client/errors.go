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
)

// Error is a refusal: by the server, or by the client on its behalf.
type Error struct {
	Code    string // what kind, e.g. "forbidden", "rate_limited"; docs/protocol.md lists them
	Message string
	Retry   bool // whether the same can succeed later
	Status  int  // of the HTTP response that said so, else 0
}

func (e *Error) Error() string { return "client: " + e.Code + ": " + e.Message }

var (
	errSilent     = errors.New("client: nothing came for too long")
	errUnreadable = errors.New("client: the server sent what cannot be read")
	errTwice      = errors.New("client: these events are being followed, or were")
)

const maxRefusal = 4 << 10 // bytes read of a refusal

var codeOf = map[int]string{
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusTooManyRequests:       "rate_limited",
}

// refused is the loss that a response to an attempt is which is not the one
// asked for. A proxy may have written it in place of the server.
func (s *settings) refused(resp *http.Response) loss {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // what has come is read
	e := refusalOf(body)
	status := resp.StatusCode
	ours := e != nil
	if !ours {
		e = &Error{Code: codeOf[status], Message: fmt.Sprintf("HTTP status %d", status)}
		e.Retry = status == http.StatusTooManyRequests || status < 400 || status >= 500
		switch {
		case e.Code != "":
		case e.Retry:
			e.Code = "unavailable"
		default:
			e.Code = "bad_request"
		}
	}
	e.Status = status
	l := loss{err: e, atLeast: retryAfter(resp.Header)}
	switch status {
	case http.StatusUnauthorized:
		l.denied, l.final = true, s.token == nil
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusUpgradeRequired:
		l.final = true
	default:
		l.final = ours && !e.Retry && status < 500
	}
	return l
}

// refusalOf reads {code, message, retry}, nil where it stands not there.
func refusalOf(body []byte) *Error {
	var f struct {
		Code, Message string
		Retry         bool
	}
	if json.Unmarshal(body, &f) != nil || f.Code == "" || !utf8.Valid(body) {
		return nil
	}
	return &Error{Code: f.Code, Message: f.Message, Retry: f.Retry}
}

// retryAfter is 0 where the server does not say or gives a date.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("Retry-After")), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

func isStream(resp *http.Response) bool {
	typ, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && err == nil && typ == "text/event-stream"
}
