package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/bounded"
	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/rights/grant"
	"github.com/maravilla-realtime/realtime/internal/rights/policycall"
)

var (
	errNo    = errors.New("not on Mondays")
	errLater = fmt.Errorf("%w: the users are away", bounded.ErrTemporary)
)

// logs has p log to what it returns, all levels, a line for each record.
func logs(p *Policy) *strings.Builder {
	b := new(strings.Builder)
	p.Logger = slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return b
}

// saysOne checks that the log has one line, of a level, with some texts; or none, for "".
func saysOne(t *testing.T, log *strings.Builder, level string, texts ...string) {
	t.Helper()
	said := log.String()
	log.Reset()
	if level == "" {
		if said != "" {
			t.Errorf("logged %s", said)
		}
		return
	}
	if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "level="+level+" ") {
		t.Errorf("want one line of level %s, logged %q", level, said)
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("%q is not in %q", text, said)
		}
	}
}

// brief is what a client is told of a refusal; "" where it is not refused.
func brief(f *refused.Refusal) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%d %s: %s, again: %v", f.Status, f.Code, f.Message, f.Retry)
}

const later = "503 unavailable: try again later, again: true"

func TestIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			in      time.Duration
			expired bool
			told    int64
		}{{-time.Hour, true, 0}, {0, true, 0}, {1, false, 0}, {1500 * time.Millisecond, false, 1500}} {
			id := Identity{Expires: time.Now().Add(c.in)}
			if got := id.ExpiresIn(); id.IsExpired() != c.expired || got == nil || *got != c.told {
				t.Errorf("in %v: expired %v, told %v", c.in, id.IsExpired(), got)
			}
		}
		if id := new(Identity); id.IsExpired() || id.ExpiresIn() != nil {
			t.Error("what has no end expires")
		}
	})
	for _, c := range []struct {
		id   Identity
		user string
		may  bool
	}{
		{Identity{User: "ada"}, "ada", true},
		{Identity{User: "ada"}, "bob", false},
		{Identity{User: "ada", AnyUser: true}, "bob", true},
		{Identity{}, "ada", false},
	} {
		if c.id.MayBe(c.user) != c.may {
			t.Errorf("%+v may be %s: %v", c.id, c.user, !c.may)
		}
	}
}

// Authenticate says who a client is. One that it refuses learns whether to come back, and the
// host learns why.
func TestIdentify(t *testing.T) {
	past := time.Now().Add(-time.Second)
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx        context.Context // of the request; nil: it goes on
		id         Identity
		err        error
		want       string
		reason     string // for the host
		level, log string
	}{
		"ada":       {id: Identity{User: "ada", Claims: 7}},
		"anonymous": {},
		"no":        {err: errNo, want: "401 unauthorized: not authenticated, again: false", reason: errNo.Error(), level: "DEBUG", log: errNo.Error()},
		"no, an id": {id: Identity{User: "ada"}, err: errNo, want: "401 unauthorized: not authenticated, again: false", reason: errNo.Error(), level: "DEBUG", log: errNo.Error()},
		"later":     {err: errLater, want: later, reason: errLater.Error(), level: "DEBUG", log: "function=Authenticate"},
		"expired": {err: fmt.Errorf("%w: yesterday", ErrExpired), want: "401 expired: credentials have expired, again: false",
			reason: ErrExpired.Error() + ": yesterday", level: "DEBUG", log: "yesterday"},
		"expired id": {id: Identity{User: "ada", Expires: past}, want: "401 expired: credentials have expired, again: false", level: "DEBUG", log: ErrExpired.Error()},
		"no, an expired id": {id: Identity{User: "ada", Expires: past}, err: errNo,
			want: "401 unauthorized: not authenticated, again: false", reason: errNo.Error(), level: "DEBUG", log: errNo.Error()},
		"ada, late": {ctx: ended, id: Identity{User: "ada"}},
		"no, late":  {ctx: ended, err: errNo, want: later, reason: errNo.Error(), level: "DEBUG", log: "function=Authenticate"},
		"expired, late": {ctx: ended, err: ErrExpired, want: "401 expired: credentials have expired, again: false",
			reason: ErrExpired.Error(), level: "DEBUG", log: ErrExpired.Error()},
		"its own end": {err: context.Canceled, want: "401 unauthorized: not authenticated, again: false",
			reason: context.Canceled.Error(), level: "DEBUG", log: context.Canceled.Error()},
		"bad id": {id: Identity{User: "a\nb"}, want: "500 internal: the server's policy returned a bad user id, again: false", level: "DEBUG", log: `a\\nb`},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			if c.ctx != nil {
				r = r.WithContext(c.ctx)
			}
			p := &Policy{Authenticate: func(asked *http.Request) (Identity, error) {
				if asked != r {
					t.Error("asked about another request")
				}
				return c.id, c.err
			}}
			log := logs(p)
			id, f := p.Identify(r)
			want := c.id
			if c.want != "" {
				want = Identity{}
			}
			if id != want || brief(f) != c.want {
				t.Errorf("%+v, %q, want %+v, %q", id, brief(f), want, c.want)
			}
			if f != nil && f.About != (refused.About{Reason: c.reason}) {
				t.Errorf("the host is told %+v", f.About)
			}
			saysOne(t, log, c.level, c.log)
		})
	}
}

// Allow decides about each action, and what it says reaches the host, not the client.
func TestPermit(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	no := `403 forbidden: not allowed to stop "room", again: false`
	for name, c := range map[string]struct {
		ctx    context.Context
		err    error
		want   string
		level  string
		logged string
	}{
		"yes":         {ctx: t.Context()},
		"yes, late":   {ctx: ended},
		"no":          {ctx: t.Context(), err: errNo, want: no, level: "DEBUG", logged: "refused"},
		"no, late":    {ctx: ended, err: errNo, want: later, level: "DEBUG", logged: "function=Allow"},
		"not now":     {ctx: t.Context(), err: errLater, want: later, level: "DEBUG", logged: "function=Allow"},
		"its own end": {ctx: t.Context(), err: context.Canceled, want: no, level: "DEBUG", logged: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			ada, stop := Identity{User: "ada", Claims: 7}, Action{Stop, "room", "m1"}
			p := &Policy{Allow: func(ctx context.Context, id Identity, a Action) error {
				if ctx != c.ctx || id != ada || a != stop {
					t.Errorf("asked about %+v, %+v", id, a)
				}
				return c.err
			}}
			log := logs(p)
			f := p.Permit(c.ctx, ada, stop)
			if brief(f) != c.want {
				t.Errorf("%q, want %q", brief(f), c.want)
			}
			if want := (refused.About{User: "ada", Verb: Stop, Name: "room", ID: "m1", Reason: fmt.Sprint(c.err)}); f != nil && f.About != want {
				t.Errorf("the host is told %+v", f.About)
			}
			saysOne(t, log, c.level, c.logged, "user=ada")
		})
	}
}

// What the host does not decide is refused, and its log says why.
func TestNoPolicy(t *testing.T) {
	p := new(Policy)
	log := logs(p)
	id, f := p.Identify(httptest.NewRequest("GET", "/", nil))
	if id != (Identity{}) || brief(f) != "401 unauthorized: no policy lets browsers in, again: false" {
		t.Errorf("%+v, %q", id, brief(f))
	}
	saysOne(t, log, "DEBUG", "Policy.Authenticate is nil")
	f = p.Permit(t.Context(), Identity{User: "ada"}, Action{Publish, "room", ""})
	if brief(f) != `403 forbidden: not allowed to publish "room", again: false` || f.About != (refused.About{User: "ada", Verb: Publish, Name: "room"}) {
		t.Errorf("%q, %+v", brief(f), f)
	}
	saysOne(t, log, "DEBUG", "Policy.Allow is nil", "user=ada", "verb=publish")
	grants, f := p.Granted(t.Context(), Identity{User: "ada"})
	if grants != nil || brief(f) != "403 forbidden: nothing is granted, again: false" || f.About != (refused.About{User: "ada", Reason: "Policy.Grants is nil"}) {
		t.Errorf("%v, %q, %+v", grants, brief(f), f)
	}
	saysOne(t, log, "DEBUG", "Policy.Grants is nil", "user=ada")
}

// A stream has the grants that mean something; without any it is refused.
func TestGranted(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	kv, flawed := grant.Grant{Resource: "kv", Data: true}, grant.Grant{Resource: "kv", Under: true}
	jobs := grant.Grant{Resource: "jobs"}
	no := "403 forbidden: nothing is granted, again: false"
	for name, c := range map[string]struct {
		ctx         context.Context
		grants      []grant.Grant
		err         error
		sound       []grant.Grant
		want        string
		reason      string
		level, says string
	}{
		"all":       {ctx: t.Context(), grants: []grant.Grant{kv, jobs}, sound: []grant.Grant{kv, jobs}},
		"error":     {ctx: t.Context(), grants: []grant.Grant{kv}, err: errNo, want: no, reason: errNo.Error(), level: "WARN", says: "Policy.Grants failed"},
		"not now":   {ctx: t.Context(), grants: []grant.Grant{kv}, err: errLater, want: later, reason: errLater.Error(), level: "DEBUG", says: "function=Grants"},
		"late":      {ctx: ended, err: errNo, want: later, reason: errNo.Error(), level: "DEBUG", says: "function=Grants"},
		"none":      {ctx: t.Context(), want: no, reason: "Policy.Grants returned no grants", level: "DEBUG", says: "Policy.Grants returned no grants"},
		"some mean": {ctx: t.Context(), grants: []grant.Grant{flawed, kv}, sound: []grant.Grant{kv}, level: "WARN", says: "field=prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			ada := Identity{User: "ada", Claims: 7}
			p := &Policy{Grants: func(ctx context.Context, id Identity) ([]grant.Grant, error) {
				if ctx != c.ctx || id != ada {
					t.Errorf("asked about %+v", id)
				}
				return c.grants, c.err
			}}
			log := logs(p)
			got, f := p.Granted(c.ctx, ada)
			if !reflect.DeepEqual(got, c.sound) || brief(f) != c.want {
				t.Errorf("%v, %q, want %v, %q", got, brief(f), c.sound, c.want)
			}
			if f != nil && f.About != (refused.About{User: "ada", Reason: c.reason}) {
				t.Errorf("the host is told %+v", f.About)
			}
			saysOne(t, log, c.level, c.says, "user=ada")
		})
	}
}

// A grant that means nothing is told of once for each of its resources and fields, however
// often the policy returns it.
func TestFlawsAreLoggedOnce(t *testing.T) {
	grants := []grant.Grant{{Resource: "kv", Under: true}}
	p := &Policy{Grants: func(context.Context, Identity) ([]grant.Grant, error) { return grants, nil }}
	log := logs(p)
	for _, field := range []string{"prefix", "", "namespace"} {
		if field == "namespace" {
			grants = []grant.Grant{{Resource: "kv", In: true}}
		}
		got, f := p.Granted(t.Context(), Identity{User: "ada"})
		if got != nil || f == nil || f.About.Reason != "Policy.Grants returned only grants that grant nothing" {
			t.Errorf("%v, %+v", got, f)
		}
		warned := strings.Count(log.String(), "level=WARN")
		if field == "" && warned != 0 || field != "" && (warned != 1 || !strings.Contains(log.String(), "field="+field)) {
			t.Errorf("with %v: %s", grants, log)
		}
		log.Reset()
	}
}

// A policy that hangs is not waited for: its client comes back. One that panics does so
// where it was asked.
func TestHangingHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, release := policycall.New(slog.New(slog.DiscardHandler)), make(chan struct{})
		p := &Policy{Allow: func(ctx context.Context, _ Identity, a Action) error {
			_, err := policycall.Do(ctx, calls, policycall.Allow, func(context.Context) (struct{}, error) {
				if a.Name == "panic" {
					panic("host")
				}
				<-release
				return struct{}{}, nil
			})
			return err
		}}
		logs(p)
		began := time.Now()
		if f := p.Permit(t.Context(), Identity{User: "ada"}, Action{Join, "room", ""}); brief(f) != later || time.Since(began) > policycall.Time+time.Second {
			t.Errorf("%q after %v", brief(f), time.Since(began))
		}
		close(release)
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		p.Permit(t.Context(), Identity{User: "ada"}, Action{Join, "panic", ""})
	})
}
