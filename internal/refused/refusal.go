package refused

import (
	"encoding/json"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Refusal is what a client is told that is refused something, and what only the host is
// told of that.
type Refusal struct {
	Status int // of HTTP, for the case that this is the answer to a request
	*wire.Error
	About About
}

// About is what the host is told of a refusal.
type About struct {
	User, Address  string
	Verb, Name, ID string // of the action that was refused
	Reason         string
}

// With returns a refusal with a status of HTTP.
func With(status int, code, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Error: wire.Errorf(code, format, args...)}
}

// Unavailable returns the refusal of what cannot be decided, or done, now.
func Unavailable() *Refusal {
	return With(http.StatusServiceUnavailable, "unavailable", "try again later").ToRetry()
}

// Closing returns the refusal of a node that is shut down.
func Closing() *Refusal {
	return With(http.StatusServiceUnavailable, "closing", "the server is going away").ToRetry()
}

// ToRetry tells the client that the same may succeed later.
func (f *Refusal) ToRetry() *Refusal {
	f.Retry = true
	return f
}

// Because notes why the host's policy refuses.
func (f *Refusal) Because(err error) *Refusal {
	if err != nil {
		f.About.Reason = err.Error()
	}
	return f
}

// Of notes whom a refusal is for, and which action was refused.
func (f *Refusal) Of(user, verb, name, id string) *Refusal {
	f.About.User, f.About.Verb, f.About.Name, f.About.ID = user, verb, name, id
	return f
}

// From notes where the refused request comes from. f may be nil.
func (f *Refusal) From(r *http.Request) *Refusal { return f.FromAddress(r.RemoteAddr) }

// FromAddress is From, of a request that is over. f may be nil.
func (f *Refusal) FromAddress(address string) *Refusal {
	if f != nil {
		f.About.Address = address
	}
	return f
}

// Write answers a request.
func (f *Refusal) Write(w http.ResponseWriter) {
	body, _ := json.Marshal(f.Error) // strings and a bool
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.Retry {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write(append(body, '\n')) // the client is gone, or has it
}
