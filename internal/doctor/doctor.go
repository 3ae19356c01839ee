// Package doctor finds out what the proxies in front of a server do to its streams and
// WebSockets. It sends requests that only the server's own nodes recognise, compares what
// it sent with what the server says it got, and looks at when the answers arrive.
//
// A probe is answered in two parts with a silence between them, which is longer than the
// server is ever silent. If both arrive together, somebody has held the first one back;
// if the second never arrives, somebody has ended a silent connection.
package doctor

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
)

const (
	// Header names the probe by a secret that the server knows.
	Header = "X-Ren-Probe"
	// Event is the name of both events of a stream.
	Event = "ren.probe"

	clientHeader = "X-Ren-Client"
	clientID     = "diagnose-0000.probe"
	cursor       = "probe"
)

// Part is what a probe is answered, twice: as the data of an event of a stream, or as a
// message of a WebSocket. If the request has no upgrade, the first part is the body of
// the refusal.
type Part struct {
	Part int   `json:"part"` // 1 or 2
	Seen *Seen `json:"seen"`
}

// Seen is what a server has seen of a request.
type Seen struct {
	Host    string   `json:"host"`
	Origin  string   `json:"origin"`
	Proto   string   `json:"proto"`
	Upgrade bool     `json:"upgrade"` // to a WebSocket
	Headers bool     `json:"headers"` // of the SDK, beside Origin
	Refusal string   `json:"refusal"` // the code with which a browser would be refused for Host
	Proxies []string `json:"proxies"` // that have left their names
	Padding string   `json:"padding"` // see padding
}

// See describes a request. refusal is the code with which the server refuses its Host.
func See(r *http.Request, refusal string) *Seen {
	h := r.Header
	return &Seen{
		Host: r.Host, Origin: h.Get("Origin"), Proto: r.Proto, Upgrade: strings.EqualFold(h.Get("Upgrade"), "websocket"),
		Headers: h.Get(clientHeader) == clientID && h.Get("Last-Event-ID") == cursor, Refusal: refusal,
		Proxies: named(h), Padding: padding(),
	}
}

// padding returns text that makes a part longer than what proxies leave uncompressed, and
// a compressed part no shorter than minBytes.
func padding() string {
	return strings.Repeat(rand.Text()+rand.Text()+rand.Text()+rand.Text()+rand.Text(), 16) // 2 KiB
}

// Silence returns how long a probe is silent, for a server that says something at the
// interval of its heartbeat.
func Silence(heartbeat time.Duration) time.Duration { return heartbeat + heartbeat/5 }

// Probe is one examination.
type Probe struct {
	Transport http.RoundTripper
	Base      *url.URL // where the server's handler is mounted
	Secret    string
	Heartbeat time.Duration // of the server
}

// answerTime is the time in which a probe must be answered, beside its silence.
const answerTime = 30 * time.Second

// Run examines what is between here and the server. It takes somewhat longer than the
// silence, or twice as long if something is found, or until ctx ends.
func (p *Probe) Run(ctx context.Context) (findings []Finding, proxies []string) {
	e := exam{url: p.Base, heartbeat: p.Heartbeat}
	var all sync.WaitGroup
	all.Go(func() {
		e.plain = p.confirmed(ctx, func(ctx context.Context) answer { return p.stream(ctx, "identity") })
	})
	all.Go(func() {
		e.packed = p.confirmed(ctx, func(ctx context.Context) answer { return p.stream(ctx, "gzip, deflate, br, zstd") })
	})
	all.Go(func() { e.socket = p.confirmed(ctx, p.webSocket) })
	all.Wait()
	return e.findings(), e.proxies()
}

// confirmed makes a probe a second time if the first time something was late. A machine
// that is busy for a moment must not look like a proxy that buffers.
func (p *Probe) confirmed(ctx context.Context, probe func(context.Context) answer) answer {
	once := func() answer {
		ctx, cancel := context.WithTimeout(ctx, Silence(p.Heartbeat)+answerTime)
		defer cancel()
		return probe(ctx)
	}
	a := once()
	if !a.held && a.cut == 0 || ctx.Err() != nil {
		return a
	}
	b := once()
	if b.held = b.held && a.held; b.cut != 0 && a.cut == 0 {
		b.cut = 0
	}
	return b
}

// answer is what came of a probe.
type answer struct {
	err    error // there was none
	status int
	header http.Header
	major  int    // version of HTTP
	body   []byte // of a refusal: its beginning
	seen   *Seen  // nil if the answer is not the server's, or was not decoded

	held bool          // the first part came with the second one
	cut  time.Duration // after this time of silence the connection was ended; 0: it was not
}

// minBytes is less than a part of an answer has, compressed, and more than the header of
// a compressed stream.
const minBytes = 64

func (p *Probe) request(ctx context.Context, name string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base.JoinPath(name).String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header = p.header()
	return r, nil
}

// header is what a browser with the SDK sends that a proxy may lose. Sec-Fetch-Site is
// missing, as it is from browsers on a page without TLS.
func (p *Probe) header() http.Header {
	h := http.Header{}
	h.Set(Header, p.Secret)
	h.Set("Origin", origin(p.Base))
	h.Set(clientHeader, clientID)
	h.Set("Last-Event-ID", cursor)
	return h
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// stream makes a probe as a stream.
func (p *Probe) stream(ctx context.Context, encoding string) (a answer) {
	r, err := p.request(ctx, "ren")
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Accept-Encoding", encoding)
	began := time.Now()
	resp, err := p.Transport.RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header, major: resp.ProtoMajor}
	switch {
	case a.status != http.StatusOK || !a.isStream():
		a.body, _ = io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // as much as there is
	case a.header.Get("Content-Encoding") == "":
		a.readEvents(limited(resp.Body), began, Silence(p.Heartbeat))
	default:
		a.readBytes(limited(resp.Body), began, Silence(p.Heartbeat))
	}
	return a
}

func (a *answer) isStream() bool {
	return strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream")
}

// readEvents reads the two parts of an answer.
func (a *answer) readEvents(body io.Reader, began time.Time, silence time.Duration) {
	var first time.Time
	for events := sse.NewReader(body, 64<<10); ; {
		ev, err := events.Next()
		var part Part
		switch {
		case err != nil:
			a.end(began, first, silence)
			return
		case ev.Name != Event || json.Unmarshal([]byte(ev.Data), &part) != nil:
		case part.Part == 1:
			a.seen, first = part.Seen, time.Now()
		default:
			a.held = time.Since(first) < silence/4
			return
		}
	}
}

// end notes that the connection has ended before the second part.
func (a *answer) end(began, first time.Time, silence time.Duration) {
	if first.IsZero() { // held, and cut
		a.held, first = true, began
	}
	a.cut = max(min(time.Since(first), silence), 1)
}

// readBytes looks at when the bytes of a compressed answer come.
func (a *answer) readBytes(body io.Reader, began time.Time, silence time.Duration) {
	var first time.Time
	buf := make([]byte, 4<<10)
	for n := 0; ; {
		m, err := body.Read(buf)
		if n += m; n >= minBytes && first.IsZero() {
			first = time.Now()
		}
		switch {
		case err == nil:
		case time.Since(began) < silence*3/4:
			a.end(began, first, silence)
			return
		default:
			a.held = first.IsZero() || time.Since(first) < silence/4
			return
		}
	}
}

// webSocket makes a probe as a WebSocket.
func (p *Probe) webSocket(ctx context.Context) (a answer) {
	u := p.Base.JoinPath("realtime")
	began := time.Now()
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport: p.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader: p.header(), Subprotocols: []string{wire.Subprotocol},
	})
	if resp == nil {
		return answer{err: err}
	}
	a = answer{status: resp.StatusCode, header: resp.Header, major: resp.ProtoMajor}
	if err != nil {
		a.body, _ = io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // as much as there is
		var part Part
		if json.Unmarshal(a.body, &part) == nil {
			a.seen = part.Seen
		}
		return a
	}
	defer ws.CloseNow() //nolint:errcheck // nothing is left to lose
	a.readMessages(ctx, ws, began, Silence(p.Heartbeat))
	return a
}

func (a *answer) readMessages(ctx context.Context, ws *websocket.Conn, began time.Time, silence time.Duration) {
	var first time.Time
	for n := 0; ; n++ {
		_, msg, err := ws.Read(ctx)
		var part Part
		switch {
		case err != nil, n == maxMessages:
			a.end(began, first, silence)
			return
		case json.Unmarshal(msg, &part) != nil:
		case part.Part == 1:
			a.seen, first = part.Seen, time.Now()
		default:
			a.held = time.Since(first) < silence/4
			return
		}
	}
}

// ours reports whether an answer is an error in the shape of this library.
func (a *answer) ours() bool {
	var e struct{ Code, Message string }
	return json.Unmarshal(a.body, &e) == nil && e.Code != "" && e.Message != ""
}

// reason describes an answer that is not the one of a probe.
func (a *answer) reason() string {
	switch {
	case a.err != nil && errors.Is(a.err, context.DeadlineExceeded):
		return "no answer in time"
	case a.err != nil:
		return fmt.Sprintf("%.*s", maxQuoted, a.err.Error())
	case a.header.Get("Server") != "":
		return fmt.Sprintf("%d by %s", a.status, quoted(a.header.Get("Server")))
	}
	return fmt.Sprintf("%d", a.status)
}
