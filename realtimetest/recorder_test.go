package realtimetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
	"github.com/maravilla-realtime/realtime/internal/test/testkit"
	"github.com/maravilla-realtime/realtime/realtimetest"
)

// fake is a test that may fail.
type fake struct {
	*testing.T // for Helper, and clean-up in its own time
	said       []string
	failed     bool
	logged     string
}

func (f *fake) Failed() bool                      { return f.failed }
func (f *fake) Logf(format string, args ...any)   { f.logged += fmt.Sprintf(format, args...) }
func (f *fake) Errorf(format string, args ...any) { f.fail("Errorf", format, args) }
func (f *fake) Fatalf(format string, args ...any) {
	f.fail("Fatalf", format, args)
	runtime.Goexit()
}

func (f *fake) fail(how, format string, args []any) {
	f.failed = true
	f.said = append(f.said, how+" "+fmt.Sprintf(format, args...))
}

// during runs a test function of its own and returns how it failed.
func (f *fake) during(do func()) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	<-done
	said := strings.Join(f.said, "\n")
	f.said = nil
	return said
}

var bubble = testkit.Bubble

func put(t *testing.T, srv *realtimetest.Server, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := srv.Realtime.Emit(t.Context(), realtime.KVPut("demo", key)); err != nil {
			t.Fatal(err)
		}
	}
}

func key(pattern string) realtime.EventMatch { return realtime.EventMatch{Key: pattern} }

func keys(events []realtime.RenEvent) string {
	var list []string
	for _, ev := range events {
		list = append(list, ev.Key)
	}
	return strings.Join(list, " ")
}

func TestRecorder(t *testing.T) {
	bubble(t, "keeps what matches, from when it was made", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, nil)
		put(t, srv, "a1")
		rec := srv.Record(key("a*"))
		put(t, srv, "a2", "b1", "a3")
		rec.Expect(key("a2"), key("a3"))
		rec.None()
		put(t, srv, "a4")
		if ev := rec.Next(); ev.Key != "a4" {
			t.Errorf("next is %+v", ev)
		}
		put(t, srv, "a5", "a6", "a7")
		if ev := rec.Wait(key("a6")); ev.Key != "a6" {
			t.Errorf("waited for a6 and got %+v", ev)
		}
		if got := keys(rec.All()); got != "a2 a3 a4 a5 a6 a7" {
			t.Errorf("all events are %s", got)
		}
		rec.Expect(key("a7"))
		rec.None()
		if got := rec.Expect(); len(got) != 0 {
			t.Errorf("nothing expected, and got %v", got)
		}
	})
	bubble(t, "has all at once", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, nil)
		rec := srv.Record(key("*"))
		for i := range 100 {
			put(t, srv, fmt.Sprint(i))
		}
		if n := len(rec.All()); n != 100 {
			t.Errorf("%d events are recorded", n)
		}
	})
	bubble(t, "waits", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, nil)
		rec := srv.Record(key("*"))
		time.AfterFunc(9*time.Minute, func() { put(t, srv, "late") })
		rec.Expect(key("late"))
	})
	bubble(t, "records what was missed", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, nil)
		rec := srv.Record(realtime.EventMatch{})
		put(t, srv, "a", "b")
		rec.Expect(key("a"), key("b"))
		srv.Log.LoseTail(1)
		rec.Expect(realtimetest.Reset("epoch"))
		put(t, srv, "c")
		rec.Expect(key("c"))
		rec.None()
	})
	t.Run("works outside of bubbles", func(t *testing.T) {
		srv := realtimetest.New(t, realtime.Policy{}, nil)
		rec := srv.Record(key("*"))
		put(t, srv, "a", "b")
		rec.Expect(key("a"), key("b"))
		rec.None()
	})
}

// recorderFailures are tests that must fail, and what they must say.
var recorderFailures = []struct {
	name string
	do   func(*testing.T, *realtimetest.Server, *realtimetest.Recorder)
	want string
}{
	{"another event", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		put(t, srv, "a", "x", "c")
		rec.Expect(key("a"), realtime.EventMatch{Type: "kv.put", Key: "b*"}, key("c"), key("d"))
	}, `Fatalf Expect: event 2 of 4 is another one (-want +got):
    1  Resource=kv Type=kv.put Namespace=demo Key=a
-   2  Type=kv.put Key=b*
+   2  Resource=kv Type=kv.put Namespace=demo Key=x
-   3  Key=c
+   3  Resource=kv Type=kv.put Namespace=demo Key=c
-   4  Key=d
`},
	{"another event, and one on its way", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		go func() { put(t, srv, "x"); linger(); put(t, srv, "y") }()
		rec.Expect(key("a"))
	}, `Fatalf Expect: event 1 of 1 is another one (-want +got):
-   1  Key=a
+   1  Resource=kv Type=kv.put Namespace=demo Key=x
+   2  Resource=kv Type=kv.put Namespace=demo Key=y
`},
	{"too few", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		put(t, srv, "a")
		rec.Expect(key("a"), realtime.EventMatch{})
	}, `Fatalf Expect: event 2 of 2: nothing came within 10m0s
    1  Resource=kv Type=kv.put Namespace=demo Key=a
-   2  any event
`},
	{"too many", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		put(t, srv, "a", "b", "c")
		rec.Expect(key("a"))
		rec.None()
		rec.None() // says it once
	}, `Errorf None: 2 unexpected:
+   1  Resource=kv Type=kv.put Namespace=demo Key=b
+   2  Resource=kv Type=kv.put Namespace=demo Key=c
`},
	{"nothing", func(t *testing.T, _ *realtimetest.Server, rec *realtimetest.Recorder) {
		rec.Next()
	}, `Fatalf Next: nothing came within 10m0s`},
	{"waits in vain", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		must(t, srv.Realtime.Publish(t.Context(), "room:1", strings.Repeat("ä", 200), realtime.AsUser("ada")))
		must(t, srv.Realtime.Publish(t.Context(), "room:2", "hi"))
		rec.Wait(realtime.EventMatch{Channel: "room:3"})
	}, `Fatalf Wait for Channel=room:3: nothing came within 10m0s
  skipped  Resource=realtime Type=realtime.message Channel=room:1 User=ada Data="` + strings.Repeat("ä", 119) + `… (402 bytes)
  skipped  Resource=realtime Type=realtime.message Channel=room:2 Data="hi"
`},
	{"missed events", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		put(t, srv, "a")
		rec.Next()
		srv.Log.NewEpoch()
		put(t, srv, "b")
		rec.Expect(key("b"))
	}, `Fatalf Expect: event 1 of 1 is another one (-want +got):
-   1  Key=b
+   1  Resource=$reset Type=epoch
+   2  Resource=kv Type=kv.put Namespace=demo Key=b
`},
	{"closed", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		must(t, srv.Realtime.Close(t.Context()))
		rec.Next()
	}, `Fatalf Next: realtime: closed`},
	{"bad pattern", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		srv.Record(key("[a"))
	}, `Fatalf Key=[a: Key: ` + realtime.ErrBadPattern.Error()},
	{"bad pattern expected", func(t *testing.T, srv *realtimetest.Server, rec *realtimetest.Recorder) {
		put(t, srv, "a")
		rec.Wait(key("[a"))
	}, `Fatalf Key=[a: Key: ` + realtime.ErrBadPattern.Error()},
}

// A failed test must be explained by its messages, without a debugger.
func TestRecorderFailures(t *testing.T) {
	for _, test := range recorderFailures {
		bubble(t, test.name, func(t *testing.T) {
			f := &fake{T: t}
			srv := realtimetest.New(f, realtime.Policy{}, nil)
			rec := srv.Record(realtime.EventMatch{})
			got := f.during(func() { test.do(t, srv, rec) })
			if strings.HasPrefix(test.name, "bad pattern") { // the rest is the glob library's
				got = got[:min(len(got), len(test.want))]
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("said (-want +got):\n%s\nin full:\n%s", diff, got)
			}
		})
	}
}

func TestRecorderTimeout(t *testing.T) {
	bubble(t, "set", func(t *testing.T) {
		f := &fake{T: t}
		rec := realtimetest.New(f, realtime.Policy{}, &realtimetest.Options{Timeout: time.Second}).Record(key("*"))
		began := time.Now()
		if said := f.during(func() { rec.Next() }); said != "Fatalf Next: nothing came within 1s" || time.Since(began) != time.Second {
			t.Errorf("after %v: %s", time.Since(began), said)
		}
	})
}

// A failure names a line of the test, not one of the kit. Only a real test that
// fails can tell, so it runs in a process of its own.
func TestFailuresNameTheLineOfTheTest(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestThatFails$")
	cmd.Env = append(os.Environ(), "REALTIMETEST_FAIL=1")
	out, err := cmd.Output()
	if err == nil {
		t.Fatalf("the test that fails does not fail:\n%s", out)
	}
	for _, want := range []string{"Next", "Wait for", "Expect: event 1 of 1 is", "Expect: event 1 of 1: nothing", "None", "Key=", "realtimetest", "client: ClientID", "client: .*MaxBackoff"} {
		if !regexp.MustCompile(`(?m)^\s+recorder_test\.go:\d+: ` + want).Match(out) {
			t.Errorf("nothing says recorder_test.go:<line>: %s …", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

func TestThatFails(t *testing.T) {
	if os.Getenv("REALTIMETEST_FAIL") == "" {
		t.Skip("fails; run by TestFailuresNameTheLineOfTheTest")
	}
	for _, fail := range []func(*testing.T, *realtimetest.Recorder, *realtimetest.Server){
		func(_ *testing.T, r *realtimetest.Recorder, _ *realtimetest.Server) { r.Next() },
		func(_ *testing.T, r *realtimetest.Recorder, _ *realtimetest.Server) { r.Wait(key("a")) },
		func(_ *testing.T, r *realtimetest.Recorder, _ *realtimetest.Server) { r.Expect(key("a")) },
		func(t *testing.T, r *realtimetest.Recorder, s *realtimetest.Server) {
			put(t, s, "b")
			r.Expect(key("a"))
		},
		func(t *testing.T, r *realtimetest.Recorder, s *realtimetest.Server) { put(t, s, "b"); r.None() },
		func(_ *testing.T, _ *realtimetest.Recorder, s *realtimetest.Server) { s.Record(key("[")) },
		func(t *testing.T, _ *realtimetest.Recorder, _ *realtimetest.Server) {
			realtimetest.New(t, realtime.Policy{}, &realtimetest.Options{Realtime: realtime.Options{Presence: realtime.PresenceOptions{Lease: -1}}})
		},
		func(_ *testing.T, _ *realtimetest.Recorder, s *realtimetest.Server) {
			s.Ren(&client.RenOptions{ClientID: "short"})
		},
		func(_ *testing.T, _ *realtimetest.Recorder, s *realtimetest.Server) {
			s.Connect(&client.RealtimeOptions{MaxBackoff: -1})
		},
	} {
		bubble(t, "", func(t *testing.T) {
			srv := realtimetest.New(t, realtime.Policy{}, nil)
			fail(t, srv.Record(realtime.EventMatch{}), srv)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
