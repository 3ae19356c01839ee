package realtime

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/doctor"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// probeConn is the connection of a request of Diagnose. It carries no events, so no
// policy is asked about it; and it ends with the Realtime, as the others do.
type probeConn struct {
	rt   *Realtime
	conn conns.Conn
	ctx  context.Context
}

// beginProbe registers a probe. The caller must call end.
func (rt *Realtime) beginProbe(r *http.Request) (p *probeConn, refused *refusal) {
	p = &probeConn{rt: rt}
	p.ctx, p.conn.Cancel = context.WithCancelCause(r.Context())
	p.conn.Recheck = func(context.Context, chan struct{}) {}
	handshake := rt.conns.Begin()
	defer handshake.End()
	if f := rt.refusalOf(handshake.Add(&p.conn, "")); f != nil {
		p.conn.Cancel(nil)
		return nil, f
	}
	return p, nil
}

func (p *probeConn) end() {
	p.conn.Cancel(nil)
	p.rt.conns.Remove(&p.conn)
}

// part returns one of the two parts of the answer to a probe.
func (rt *Realtime) part(n int, r *http.Request) []byte {
	refusal := ""
	if !rt.policy.serves(r) {
		refusal = "host"
	}
	data, _ := json.Marshal(doctor.Part{Part: n, Seen: doctor.See(r, refusal)}) // strings and booleans
	return data
}

// answer says the first part at once, and the second one after the silence of a probe.
func (p *probeConn) answer(r *http.Request, say func([]byte) error, gone <-chan bool) {
	if say(p.rt.part(1, r)) != nil {
		return
	}
	select {
	case <-time.After(doctor.Silence(p.rt.opts.Heartbeat)):
	case <-gone:
		return
	case <-p.ctx.Done():
		return
	}
	_ = say(p.rt.part(2, r)) // who is gone does not hear it
}

// probeStream answers a probe as a REN stream.
func (rt *Realtime) probeStream(w http.ResponseWriter, r *http.Request) {
	out, missing := httpwriter.New(w, time.Now().Add(rt.opts.WriteTimeout))
	if missing != nil {
		rt.refuseWriter(w, missing)
		return
	}
	p, f := rt.beginProbe(r)
	if f != nil {
		rt.refuse(f).write(w)
		return
	}
	defer p.end()
	p.conn.OnAbort(func() { _ = out.SetWriteDeadline(time.Now()) }) // if it fails, no write is stuck
	streamHeaders(out.Header())
	unchunked(out.Header(), r)
	out.WriteHeader(http.StatusOK)
	p.answer(r, func(part []byte) error {
		if err := out.SetWriteDeadline(time.Now().Add(rt.opts.WriteTimeout)); err != nil {
			return err
		}
		if _, err := out.Write(sse.AppendEvent(nil, doctor.Event, "", part)); err != nil {
			return err
		}
		return out.Flush()
	}, out.Gone())
}

// probeSocket answers a probe as a WebSocket, or says what is missing of the upgrade.
func (rt *Realtime) probeSocket(w http.ResponseWriter, r *http.Request) {
	if f := checkHandshake(w, r); f != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(f.status)
		_, _ = w.Write(rt.part(1, r)) // the client is gone, or has it
		return
	}
	p, f := rt.beginProbe(r)
	if f != nil {
		rt.refuse(f).write(w)
		return
	}
	defer p.end()
	conn, rw, missing := httpwriter.Hijack(w)
	if missing != nil {
		rt.refuseWriter(w, missing)
		return
	}
	ws, err := wsconn.Accept(conn, rw, r, w.Header(), wsconn.Options{
		Subprotocol: wire.Subprotocol, ReadLimit: rt.opts.Limits.Message, Patience: messageTime, WriteTime: rt.opts.WriteTimeout,
		Admit: func() bool { return true },
	})
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
