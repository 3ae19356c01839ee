package realtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/maravilla-realtime/realtime/internal/doctor"
	"github.com/maravilla-realtime/realtime/internal/transport/socket"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
	"github.com/maravilla-realtime/realtime/internal/wire"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
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
	var findings []doctor.Finding
	for _, f := range d.Findings {
		findings = append(findings, doctor.Finding(f))
	}
	return doctor.Report(d.URL, d.Proxies, findings)
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

func (rt *Realtime) newProbes() *doctor.Answers {
	return &doctor.Answers{
		Conns: rt.conns, Heartbeat: rt.opts.Heartbeat, Serves: rt.policy.serves,
		Socket: wsconn.Options{
			Subprotocol: wire.Subprotocol, ReadLimit: rt.opts.Limits.Message, Patience: socket.MessageTime, WriteTime: rt.opts.WriteTimeout,
			Admit: func() bool { return true },
		},
		Headers: func(h http.Header, r *http.Request) {
			sse.SetHeaders(h)
			sse.Unchunk(h, r)
		},
		Upgrade: func(w http.ResponseWriter, r *http.Request) int {
			if f := socket.CheckUpgrade(w, r); f != nil {
				return f.Status
			}
			return 0
		},
		Refuse: func(w http.ResponseWriter, err error) {
			var missing *httpwriter.Unsupported
			if errors.As(err, &missing) {
				rt.driver.RefuseWriter(w, missing)
			} else {
				rt.refusals.Add(rt.driver.Refusal(err)).Write(w)
			}
		},
	}
}
