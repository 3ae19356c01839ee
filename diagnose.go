package realtime

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/doctor"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/sse"
	"github.com/maravilla-realtime/realtime/internal/turns"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wsconn"
)

// Diagnosis is what [Realtime.Diagnose] has found.
type Diagnosis struct {
	URL      string
	Proxies  []string  // that were recognised, as keys of [Finding].Remedies; most leave no trace
	Findings []Finding // faults first; none if all is well
}

// Finding is one thing that a [Diagnosis] has found.
type Finding struct {
	// Code is "unreachable", "redirect", "gateway", "route", "stranger", "buffering",
	// "compression", "idle", "upgrade", "host", "hosts", "origin", "headers", "http1" or
	// "nodes". See docs/proxies.md.
	Code string
	// Problem says in words what is wrong, and what clients notice.
	Problem string
	// Fault is false for advice: it works, and could be better.
	Fault bool
	// Remedies are the lines of configuration that mend it, by the name of the proxy:
	// "nginx", "HAProxy", "Caddy", "Traefik", "Cloudflare", "AWS". Nil where it is not a
	// proxy's.
	Remedies map[string]string
}

// Faulty reports whether there is a fault among the findings.
func (d *Diagnosis) Faulty() bool {
	return slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Fault })
}

// String says what was found, for people.
func (d *Diagnosis) String() string {
	var b strings.Builder
	fmt.Fprint(&b, d.URL)
	if len(d.Proxies) > 0 {
		fmt.Fprintf(&b, ", through %s", strings.Join(d.Proxies, ", "))
	}
	if len(d.Findings) == 0 {
		fmt.Fprint(&b, ": all is well\n")
		return b.String()
	}
	fmt.Fprint(&b, ":\n")
	for _, f := range d.Findings {
		kind := "advice"
		if f.Fault {
			kind = "fault"
		}
		fmt.Fprintf(&b, "\n%s %s: %s\n", kind, f.Code, f.Problem)
		for _, name := range d.remedies(f) {
			fmt.Fprintf(&b, "  %-11s %s\n", name+":", f.Remedies[name])
		}
	}
	return b.String()
}

// remedies lists the proxies for which there are remedies, the recognised ones first.
func (d *Diagnosis) remedies(f Finding) []string {
	rank := func(name string) int {
		if slices.Contains(d.Proxies, name) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(f.Remedies), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(strings.ToLower(a), strings.ToLower(b)))
	})
}

// Diagnose finds out whether what stands in front of this server, proxies, load
// balancers and content networks, lets its streams and WebSockets through: whether
// something buffers or compresses them, ends them when they are silent, loses the upgrade
// or rewrites Host or Origin. baseURL is the public URL, as clients use it, of the path
// where [Realtime.Handler] is mounted: "https://app.example.com/api/maravilla/".
//
// It connects to the URL from here, so it sees the way from this server. It needs no
// credentials: the nodes recognise its requests by a secret that is valid during the
// call, on other nodes for up to five minutes. Somebody who learns the secret sees only
// the requests of this call. It blocks for a little more than [Options].Heartbeat, or
// twice as long if something is found, or until ctx ends. It uses a clone of
// [http.DefaultTransport].
//
// It sends GET requests to the two paths "ren" and "realtime" below the URL, and tells the
// status and some headers of the answers, but no body. So callers must not pass the URL of
// somebody who is not trusted. With [Policy].Hosts it sends nothing to other hosts. In any
// case it sends nothing to link-local addresses, where clouds keep credentials, follows no
// redirect, and reads at most 256 KiB of an answer. If HTTP_PROXY or HTTPS_PROXY names a
// proxy, that proxy looks names up, and decides which addresses are permitted.
//
// A URL that nobody answers for is a finding. Errors: [ErrBadOption] for a baseURL that is
// not an absolute one of HTTP or HTTPS, [ErrClosed], [ErrTemporary] if 16 calls are under
// way, and those of ctx.
func (rt *Realtime) Diagnose(ctx context.Context, baseURL string) (*Diagnosis, error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return rt.diagnose(ctx, baseURL, http.DefaultTransport)
	}
	transport = transport.Clone()
	doctor.Guard(transport)
	defer transport.CloseIdleConnections()
	return rt.diagnose(ctx, baseURL, transport)
}

func (rt *Realtime) diagnose(ctx context.Context, baseURL string, transport http.RoundTripper) (*Diagnosis, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: baseURL %s is not an absolute URL without user and query, such as https://app.example/api/maravilla/", ErrBadOption, wire.Quote(baseURL))
	}
	if rt.conns.IsClosed() {
		return nil, ErrClosed
	}
	if hosts := rt.policy.hosts; len(hosts) > 0 && !hosts.Match(u.Host) {
		return &Diagnosis{URL: u.String(), Findings: []Finding{Finding(doctor.Unlisted(u))}}, nil
	}
	secret := rand.Text()
	name := doctor.Name(secret)
	told := rt.announceProbe(ctx, name)
	defer rt.probes.Forget(name)
	if errors.Is(told, doctor.ErrMany) {
		return nil, told
	}
	d := &Diagnosis{URL: u.String()}
	probe := doctor.Probe{Transport: transport, Base: u, Secret: secret, Heartbeat: rt.opts.Heartbeat}
	findings, proxies := probe.Run(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	d.Proxies = proxies
	for _, f := range findings {
		d.Findings = append(d.Findings, Finding(f))
	}
	if told != nil {
		d.Findings = append(d.Findings, Finding{Code: "nodes", Problem: "Not all nodes know of this examination: " + told.Error()})
	}
	if rt.conns.IsClosed() {
		return nil, ErrClosed // which has ended the probes
	}
	return d, nil
}

// announceProbe has all nodes recognise a probe.
func (rt *Realtime) announceProbe(ctx context.Context, name string) error {
	if rt.alone() {
		return rt.probes.Expect(ctx, name)
	}
	return rt.control.Everywhere(ctx, doctor.Announce, name)
}

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
	p.conn.Recheck = func(context.Context, *turns.Turns) {}
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
