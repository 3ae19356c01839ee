package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/turns"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// Answers are what a node answers to the probes that it recognises. No policy is asked
// about their connections, which carry no events; and they end with the others.
type Answers struct {
	Probes

	Conns     *conns.Conns
	Heartbeat time.Duration
	Socket    wsconn.Options
	// Serves reports whether a request is for a host of the app.
	Serves func(*http.Request) bool
	// Headers sets the headers of a stream.
	Headers func(http.Header, *http.Request)
	// Upgrade returns the status, and sets the headers, of the refusal of a request that
	// opens no WebSocket; 0 if it does.
	Upgrade func(http.ResponseWriter, *http.Request) (status int)
	// Refuse answers with an error of Conns, or with a [*httpwriter.Unsupported].
	Refuse func(http.ResponseWriter, error)
}

// probed is the connection of a probe.
type probed struct {
	of   *Answers
	conn conns.Conn
	ctx  context.Context
}

// begin registers a probe. The caller must call end.
func (a *Answers) begin(r *http.Request) (*probed, error) {
	p := &probed{of: a}
	p.ctx, p.conn.Cancel = context.WithCancelCause(r.Context())
	p.conn.Recheck = func(context.Context, *turns.Turns) {}
	handshake := a.Conns.Begin()
	defer handshake.End()
	if err := handshake.Add(&p.conn, ""); err != nil {
		p.conn.Cancel(nil)
		return nil, err
	}
	return p, nil
}

func (p *probed) end() {
	p.conn.Cancel(nil)
	p.of.Conns.Remove(&p.conn)
}

// part returns one of the two parts of an answer.
func (a *Answers) part(n int, r *http.Request) []byte {
	refusal := ""
	if !a.Serves(r) {
		refusal = "host"
	}
	data, _ := json.Marshal(Part{Part: n, Seen: See(r, refusal)}) // strings and booleans
	return data
}

// answer says the first part at once, and the second one after the silence of a probe.
func (p *probed) answer(r *http.Request, say func([]byte) error, gone <-chan bool) {
	if say(p.of.part(1, r)) != nil {
		return
	}
	select {
	case <-time.After(Silence(p.of.Heartbeat)):
	case <-gone:
		return
	case <-p.ctx.Done():
		return
	}
	_ = say(p.of.part(2, r)) // who is gone does not hear it
}

// ServeStream answers a probe as a REN stream.
func (a *Answers) ServeStream(w http.ResponseWriter, r *http.Request) {
	deadline := func() time.Time { return time.Now().Add(a.Socket.WriteTime) }
	out, missing := httpwriter.New(w, deadline())
	if missing != nil {
		a.Refuse(w, missing)
		return
	}
	p, err := a.begin(r)
	if err != nil {
		a.Refuse(w, err)
		return
	}
	defer p.end()
	p.conn.OnAbort(func() { _ = out.SetWriteDeadline(time.Now()) }) // if it fails, no write is stuck
	a.Headers(out.Header(), r)
	out.WriteHeader(http.StatusOK)
	p.answer(r, func(part []byte) error {
		if err := out.SetWriteDeadline(deadline()); err != nil {
			return err
		}
		if p.conn.IsAborted() { // perhaps before the deadline was put off
			return context.Cause(p.ctx)
		}
		if _, err := out.Write(sse.AppendEvent(nil, Event, "", part)); err != nil {
			return err
		}
		return out.Flush()
	}, out.Gone())
}

// ServeSocket answers a probe as a WebSocket, or says what is missing of the upgrade.
func (a *Answers) ServeSocket(w http.ResponseWriter, r *http.Request) {
	if status := a.Upgrade(w, r); status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(a.part(1, r)) // the client is gone, or has it
		return
	}
	p, err := a.begin(r)
	if err != nil {
		a.Refuse(w, err)
		return
	}
	defer p.end()
	conn, rw, missing := httpwriter.Hijack(w)
	if missing != nil {
		a.Refuse(w, missing)
		return
	}
	ws, err := wsconn.Accept(conn, rw, r, w.Header(), a.Socket)
	if err != nil {
		return // the client is gone
	}
	p.conn.OnAbort(ws.Drop)
	gone := make(chan bool)
	go func() { // until Drop
		defer close(gone)
		ws.Discard()
	}()
	p.answer(r, ws.Write, gone)
	ws.Drop()
	<-gone
}
