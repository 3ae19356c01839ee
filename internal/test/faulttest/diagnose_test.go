package faulttest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// ill is a path of a proxy with a fault: the lines that cause it, those that mend it, and
// the codes of what Diagnose must find. Without a code the lines are harmless.
type ill struct {
	code      string
	bad, good string
}

// ward is a proxy with many ills, each at a path of its own.
type ward struct {
	front
	ills []ill
}

func name(i int, state string) string { return fmt.Sprintf("case%02d%s", i, state) }

// pulse is a heartbeat that is long enough for what arrives together to be told from what
// does not, and for a server to answer within half of it.
var pulse = sync.OnceValue(func() time.Duration { return min(slow(2*time.Second), 20*time.Second) })

// tooShort is a timeout for silence.
func tooShort() string { return fmt.Sprintf("%dms", pulse().Milliseconds()/2) }

// each writes a part of a configuration for each ill, twice: as it is, and mended.
func each(ills []ill, part func(name, lines string) string) string {
	var b strings.Builder
	for i, ill := range ills {
		b.WriteString(part(name(i, "bad"), ill.bad))
		b.WriteString(part(name(i, "good"), ill.good))
	}
	return b.String()
}

const deadPort = "127.0.0.1:9" // discard: nobody listens

func nginxWard() ward {
	const upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; "
	const host = "proxy_set_header Host $http_host; "
	const pass = "proxy_pass http://app; "
	ills := []ill{
		{"", pass + upgrade + host + "gzip on; gzip_types text/event-stream; gzip_min_length 0;", pass + upgrade + host},
		{"buffering", pass + upgrade + host + "proxy_ignore_headers X-Accel-Buffering;",
			pass + upgrade + host + "proxy_ignore_headers X-Accel-Buffering; proxy_buffering off;"},
		{"idle", pass + upgrade + host + "proxy_read_timeout " + tooShort() + ";", pass + upgrade + host + "proxy_read_timeout 75s;"},
		{"upgrade", pass + host, pass + host + upgrade},
		{"host", pass + upgrade, pass + upgrade + host},
		{"origin", pass + upgrade + host + `proxy_set_header Origin "http://app";`, pass + upgrade + host},
		{"headers", pass + upgrade + host + `proxy_set_header Last-Event-ID "";`, pass + upgrade + host},
		{"gateway", "proxy_pass http://" + deadPort + ";", pass + upgrade + host},
		{"route", "return 404;", pass + upgrade + host},
		{"redirect", "return 301 https://other.test$request_uri;", pass + upgrade + host},
	}
	f := nginx()
	f.config = func(listen, upstream string) string {
		return fmt.Sprintf(`
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
	access_log off;
	upstream app { server %s; }
	map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
	server {
		listen %s;
%s
	}
}
`, upstream, listen, each(ills, func(name, lines string) string { return fmt.Sprintf("location /%s/ { %s }\n", name, lines) }))
	}
	return ward{f, ills}
}

func haproxyWard() ward {
	ills := []ill{
		{"buffering", "http-response wait-for-body time 10m", ""},
		{"idle", "timeout server " + tooShort() + "\ntimeout tunnel " + tooShort(), "timeout server 75s\ntimeout tunnel 75s"},
		{"upgrade", "http-request del-header Upgrade", ""},
		{"host", "http-request set-header Host app", ""},
		{"origin", "http-request del-header Origin", ""},
		{"headers", "http-request del-header X-Ren-Client", ""},
		{"gateway", "http-request return status 503", ""},
		{"redirect", "http-request redirect location https://other.test/", ""},
		{"", "compression algo gzip\ncompression type text/event-stream\nhttp-response del-header Cache-Control", ""},
	}
	f := haproxy()
	f.config = func(listen, upstream string) string {
		return fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client 10m
	timeout server 10m
frontend in
	bind %s
%s%s`, listen,
			each(ills, func(name, _ string) string { return fmt.Sprintf("use_backend %[1]s if { path_beg /%[1]s/ }\n", name) }),
			each(ills, func(name, lines string) string {
				return fmt.Sprintf("backend %s\n%s\nserver app %s\n", name, lines, upstream)
			}))
	}
	return ward{f, ills}
}

func caddyWard() ward {
	packed := func(encode string) string { // event streams are not compressed by default
		return encode + " {\n gzip\n match {\n header Content-Type text/event-stream*\n }\n }\n reverse_proxy APP"
	}
	ills := []ill{
		{"upgrade buffering", "reverse_proxy APP { \n buffer_responses \n }", "reverse_proxy APP { \n flush_interval -1 \n }"},
		{"idle", "reverse_proxy APP { \n transport http { \n read_timeout " + tooShort() + " \n } \n }", "reverse_proxy APP { \n transport http { \n read_timeout 75s \n } \n }"},
		{"upgrade", "reverse_proxy APP { \n header_up -Upgrade \n header_up -Connection \n }", "reverse_proxy APP"},
		{"host", "reverse_proxy APP { \n header_up Host app \n }", "reverse_proxy APP { \n header_up Host {http.request.host}:{http.request.port} \n }"},
		{"origin", "reverse_proxy APP { \n header_up -Origin \n }", "reverse_proxy APP"},
		{"headers", "reverse_proxy APP { \n header_up -Last-Event-ID \n }", "reverse_proxy APP"},
		{"gateway", "reverse_proxy " + deadPort, "reverse_proxy APP"},
		{"compression", packed("encode"), "@pages not path /NAME/*\n" + packed("encode @pages")},
	}
	f := front{name: "caddy", args: []string{"run", "--adapter", "caddyfile", "--config"}}
	f.config = func(listen, upstream string) string {
		return "{\n admin off\n auto_https off\n}\nhttp://" + listen + " {\n" + each(ills, func(name, lines string) string {
			return fmt.Sprintf("handle /%s/* {\n%s\n}\n", name, strings.NewReplacer("APP", upstream, "NAME", name).Replace(lines))
		}) + "}\n"
	}
	return ward{f, ills}
}

// Diagnose finds each fault of the proxies, and finds none when the line is there that
// mends it. Compression by nginx and HAProxy holds nothing back.
func TestDiagnoseProxies(t *testing.T) {
	t.Parallel()
	for _, w := range []ward{nginxWard(), haproxyWard(), caddyWard()} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			srv := serve(t, &realtime.Options{Heartbeat: pulse()})
			w.examine(t, srv, w.start(t, srv.addr))
			figure(t, "faults found, "+w.name, "%d, in %v", len(w.ills), time.Since(began).Round(time.Second))
		})
	}
}

// examine makes all examinations, as many at a time as a server permits.
func (w ward) examine(t *testing.T, srv *server, addr string) {
	turns := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i, ill := range w.ills {
		for state, code := range map[string]string{"bad": ill.code, "good": ""} {
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				ctx, cancel := pace.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				d, err := srv.Diagnose(ctx, "http://"+addr+"/"+name(i, state)+"/")
				if err != nil {
					t.Errorf("%s, %s: %v", ill.code, state, err)
					return
				}
				var got []string
				for _, f := range d.Findings {
					if f.Fault {
						got = append(got, f.Code)
					}
				}
				if want := strings.Fields(code); !slices.Equal(got, want) {
					t.Errorf("%s, %s: found %q, want %q\n%s\n%s", ill.code, state, got, want, ill.bad, d)
				}
			})
		}
	}
	all.Wait()
}

// secure returns a proxy with TLS that offers HTTP/2, or not.
func secure(f front, h2 bool) front {
	version := func(with, without string) string {
		if h2 {
			return with
		}
		return without
	}
	switch f.name {
	case "nginx":
		f.config = func(listen, upstream string) string {
			return fmt.Sprintf(`
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
	access_log off;
	server {
		listen %s ssl %s;
		ssl_certificate %s;
		ssl_certificate_key %[3]s;
		location / {
			proxy_pass http://%[4]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_set_header Host $http_host;
		}
	}
}
`, listen, version("http2", ""), certificate, upstream)
		}
	case "haproxy":
		f.config = func(listen, upstream string) string {
			return fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client 10m
	timeout server 10m
listen in
	bind %s ssl crt %s alpn %shttp/1.1
	server app %s
`, listen, certificate, version("h2,", ""), upstream)
		}
	default:
		f.config = func(listen, upstream string) string {
			return fmt.Sprintf("{\n admin off\n auto_https off\n servers {\n protocols h1 %s\n }\n}\nhttps://%s {\n tls %[3]s %[3]s\n reverse_proxy %s\n}\n",
				version("h2", ""), listen, certificate, upstream)
		}
	}
	return f
}

// Over TLS, a proxy that offers HTTP/1.1 only gets advice.
func TestDiagnoseVersion(t *testing.T) {
	t.Parallel()
	srv := serve(t, &realtime.Options{Heartbeat: pulse()})
	var all sync.WaitGroup
	for _, f := range []front{nginx(), haproxy(), caddyWard().front} {
		for _, h2 := range []bool{false, true} {
			addr := secure(f, h2).start(t, srv.addr)
			all.Go(func() {
				ctx, cancel := pace.WithTimeout(t.Context(), 2*patience)
				defer cancel()
				d, err := srv.Diagnose(ctx, "https://"+addr+"/")
				if err != nil {
					t.Errorf("%s: %v", f.name, err)
				} else if advised := len(d.Findings) == 1 && d.Findings[0].Code == "http1"; advised == h2 || d.Faulty() {
					t.Errorf("%s, HTTP/2 %v: %s", f.name, h2, d)
				}
			})
		}
	}
	all.Wait()
}
