package inspector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/inspector"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// policy lets bearers of a token in as the user that it names; nobody may follow
// channels that begin with "secret".
func policy() realtime.Policy {
	return realtime.Policy{
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			user := testkit.Bearer(r)
			if user == "mallory" {
				return realtime.Identity{}, errors.New("the token of mallory is forged")
			}
			return realtime.Identity{User: user}, nil
		},
		Allow: func(_ context.Context, id realtime.Identity, a realtime.Action) error {
			if strings.HasPrefix(a.Name, "secret") {
				return fmt.Errorf("%s is not a member of %s", id.User, a.Name)
			}
			return nil
		},
		Grants: func(context.Context, realtime.Identity) ([]realtime.Grant, error) {
			return []realtime.Grant{realtime.GrantAll("kv").In("todos"), realtime.GrantAll("realtime").WithData()}, nil
		},
	}
}

// operator is whom the tests let in.
func operator(r *http.Request) error {
	if _, password, _ := r.BasicAuth(); password != "let me in" {
		return errors.New("wrong password")
	}
	return nil
}

// site is a server with the inspector.
type site struct {
	*realtimetest.Server
	t    *testing.T
	http *http.Client
}

func open(t *testing.T, authorize func(*http.Request) error) *site {
	t.Helper()
	srv := realtimetest.NewUnstarted(t, policy(), nil)
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", srv.Realtime.Handler())
	mux.Handle("/ops/inspector/", inspector.Handler(srv.Realtime, authorize))
	mux.Handle("/ops/inspector", inspector.Handler(srv.Realtime, authorize))
	srv.Config.Handler = mux
	srv.Start()
	s := &site{srv, t, srv.HTTPClient()}
	s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// request asks for a path below the inspector's.
func (s *site) request(method, path, password string, header ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+"/ops/inspector"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("ops", password)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// view reads one as JSON.
func (s *site) view(path string, into any) string {
	s.t.Helper()
	resp := s.request(http.MethodGet, "/"+path, "let me in")
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		s.t.Fatalf("%s: %s %v: %s", path, resp.Status, err, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	return string(body)
}

// follow has a client follow a channel.
func (s *site) follow(user, channel string) {
	s.t.Helper()
	c := s.Connect(&client.RealtimeOptions{
		Token: func(context.Context) (string, error) { return user, nil }, ClientID: "client-of-" + user + ".tab1",
	})
	go func() {
		for range c.Subscribe(s.t.Context(), channel) { //nolint:revive // until the test ends
		}
	}()
	synctest.Wait()
}

type table struct {
	Node                        string
	Total, Matched, Page, Pages int
	Rows, Groups, Dead, Members []map[string]any
	Sees                        []string
}

type sums struct {
	Health            string
	Nodes             []string
	Samples, Concerns []map[string]any
	Users, Channels   int
}

func (v *table) column(name string) (list []string) {
	for _, row := range v.Rows {
		list = append(list, fmt.Sprint(row[name]))
	}
	return list
}

// post sends a body below the inspector's path, and returns the answer.
func (s *site) post(path, body string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.URL+"/ops/inspector"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth("ops", "let me in")
	resp, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(said)
}
