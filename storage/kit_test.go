package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/storage"
)

const tab = "browser-0001.tab1"

// open lets everybody do everything, as the user their bearer token names.
func open() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			user := testkit.Bearer(r)
			if user == "expired" {
				return realtime.Identity{}, realtime.ErrExpired
			}
			return realtime.Identity{User: user}, nil
		},
		Allow: func(context.Context, realtime.Identity, realtime.Action) error { return nil },
	}
}

// site serves a store, in a directory, over a network in memory.
type site struct {
	t        testing.TB
	rt       *realtime.Realtime
	dir      string
	store    *storage.Store
	start    realtime.Cursor
	listener *memnet.Listener
	client   *http.Client
	logs     bytes.Buffer // to be read when nothing runs
	served   chan struct{}
}

// serve starts a site; wrap is around its handler.
func serve(t testing.TB, policy realtime.Policy, opts *storage.HandlerOptions, wrap ...func(http.Handler) http.Handler) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "objects"), listener: memnet.Listen(), served: make(chan struct{}, 1000)}
	log := slog.New(slog.NewTextHandler(&s.logs, nil))
	rt, err := realtime.New(policy, &realtime.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := storage.OpenDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var o storage.HandlerOptions
	if opts != nil {
		o = *opts
	}
	o.Logger = log
	s.rt, s.start, s.store = rt, rt.Cursor(), storage.New(rt, dir, nil)
	handler := storage.Handler(rt, s.store, &o)
	for _, w := range wrap {
		handler = w(handler)
	}
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { s.served <- struct{}{} }()
		handler.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: rt.Attribute(served), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}
	server.ReadTimeout, server.WriteTimeout, server.IdleTimeout = 5*time.Second, 5*time.Second, time.Hour // as hosts have them
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	var conns sync.WaitGroup // which linger after a refusal
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			conns.Add(1)
		case http.StateClosed:
			conns.Done()
		}
	}
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.listener.Dial, DisableCompression: true}}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(s.listener) })
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		server.Close()
		serving.Wait()
		conns.Wait()
		if err := errors.Join(rt.Close(context.Background()), dir.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reply is what a request was answered with.
type reply struct {
	*http.Response
	body string
}

// do sends a request; header is in pairs.
func (s *site) do(method, target string, body io.Reader, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://host.test/api/storage/"+target, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Ren-Client", tab)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{resp, string(b)}
}

// upload stores something that has to be accepted.
func (s *site) upload(path, body string) storage.Info {
	s.t.Helper()
	r := s.do("POST", "upload?path="+path, strings.NewReader(body))
	var info storage.Info
	if err := json.Unmarshal([]byte(r.body), &info); err != nil || r.StatusCode >= 300 {
		s.t.Fatalf("upload %s: %s %s", path, r.Status, r.body)
	}
	return info
}

// refused checks that a reply is an error in the one shape.
func (s *site) refused(what string, r reply, status int, code string) {
	s.t.Helper()
	e := testkit.ParseRefusal(s.t, []byte(r.body))
	if e.Retry == nil || len(e.Message) > 400 {
		s.t.Errorf("%s: %s %q is no error", what, r.Status, r.body)
	} else if r.StatusCode != status || e.Code != code || *e.Retry != (status == 408 || status == 503) {
		s.t.Errorf("%s: %s %s, want %d %s", what, r.Status, r.body, status, code)
	}
}

// events returns all storage events so far.
func (s *site) events() (list []realtime.RenEvent) {
	s.t.Helper()
	if err := s.rt.Emit(context.Background(), realtime.KVPut("end", "")); err != nil {
		s.t.Fatal(err)
	}
	for ev, err := range s.rt.EventsAfter(context.Background(), realtime.EventMatch{}, s.start) {
		if err != nil {
			s.t.Fatal(err)
		}
		if ev.Namespace == "end" {
			break
		}
		list = append(list, ev)
	}
	s.start = s.rt.Cursor()
	return list
}

// said returns the types and keys of all storage events since the last call.
func (s *site) said() string {
	s.t.Helper()
	var list []string
	for _, ev := range s.events() {
		list = append(list, strings.TrimPrefix(ev.Type, "storage.object.")+" "+ev.Key)
	}
	return strings.Join(list, ", ")
}

// nothing checks that nothing was stored, left over or announced.
func (s *site) nothing(what string) {
	s.t.Helper()
	if files := files(s.t, s.dir); files != "" {
		s.t.Errorf("%s: left on disk: %s", what, files)
	}
	if said := s.said(); said != "" {
		s.t.Errorf("%s: announced: %s", what, said)
	}
}

// files lists what is below a directory, except the place of temporary files.
func files(t testing.TB, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." && rel != ".tmp" {
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

// dial opens a connection and sends the beginning of a request.
func (s *site) dial(begin string) net.Conn {
	s.t.Helper()
	conn, err := s.listener.Dial(context.Background(), "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, begin); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// overHTTP makes the client speak only that version.
func (s *site) overHTTP(version string) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == "HTTP/1.1")
	protocols.SetUnencryptedHTTP2(version == "HTTP/2.0")
	s.client.Transport.(*http.Transport).Protocols = protocols
}

// bubble runs a subtest in virtual time.
var bubble = testkit.Bubble

func read(t testing.TB, store *storage.Store, path string) string {
	t.Helper()
	f, _, err := store.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// elapsed returns a function that says how much time has passed.
func elapsed() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
