package client

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// backoffTable is testdata/backoff.json, which the tests of the browser SDK read
// too.
type backoffTable struct {
	Rule struct {
		LeastMs, FirstBoundMs, MaxBackoffMs, HealthyMs, LongestMs, CredentialsMs millis
		Growth                                                                   float64
	}
	Cases []struct {
		Name         string
		MaxBackoffMs millis
		Steps        []struct {
			OpenMs                       *millis
			RetryMs, RetryAfterMs, ByeMs *millis
			WaitMs                       [2]millis
		}
	}
	Credentials []struct {
		Name     string
		DeniedMs []millis
		LostMs   []millis
		NextMs   *[2]millis
	}
}

type millis int64

func (m millis) duration() time.Duration { return time.Duration(m) * time.Millisecond }

func readBackoff(t *testing.T) (table backoffTable) {
	t.Helper()
	b, err := os.ReadFile("../testdata/backoff.json")
	if err == nil {
		err = json.Unmarshal(b, &table)
	}
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestBackoffRule(t *testing.T) {
	r := readBackoff(t).Rule
	for name, pair := range map[string][2]time.Duration{
		"leastMs": {r.LeastMs.duration(), least}, "firstBoundMs": {r.FirstBoundMs.duration(), firstBound},
		"maxBackoffMs": {r.MaxBackoffMs.duration(), maxBackoff}, "healthyMs": {r.HealthyMs.duration(), healthy},
		"longestMs": {r.LongestMs.duration(), longest}, "credentialsMs": {r.CredentialsMs.duration(), credentials},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v, want %v", name, pair[1], pair[0])
		}
	}
	if r.Growth != growth {
		t.Errorf("the growth is %v, want %v", growth, r.Growth)
	}
}

// Each wait of the table is within its interval, and reaches both of its ends.
func TestBackoff(t *testing.T) {
	const runs = 500
	for _, c := range readBackoff(t).Cases {
		t.Run(c.Name, func(t *testing.T) {
			waits := make([][]time.Duration, len(c.Steps))
			synctest.Test(t, func(t *testing.T) {
				for range runs {
					k := reconnector{max: c.MaxBackoffMs.duration()}
					if k.max == 0 {
						k.max = maxBackoff
					}
					for i, s := range c.Steps {
						k.dialing()
						if s.OpenMs != nil {
							k.open()
							time.Sleep(s.OpenMs.duration())
						}
						l := disconnect{err: errors.New("lost")}
						if s.RetryMs != nil {
							k.retry = s.RetryMs.duration()
						}
						if s.RetryAfterMs != nil {
							l.atLeast = s.RetryAfterMs.duration()
						}
						if s.ByeMs != nil {
							l.bye, l.wait = true, s.ByeMs.duration()
						}
						wait, again := k.lost(l)
						if !again {
							t.Fatalf("no attempt follows step %d", i)
						}
						waits[i] = append(waits[i], wait)
						time.Sleep(wait)
					}
				}
			})
			for i, s := range c.Steps {
				checkWaits(t, i, waits[i], s.WaitMs[0].duration(), s.WaitMs[1].duration())
			}
		})
	}
}

func checkWaits(t *testing.T, step int, waits []time.Duration, low, high time.Duration) {
	t.Helper()
	shortest, most := waits[0], waits[0]
	for _, w := range waits {
		shortest, most = min(shortest, w), max(most, w)
	}
	if shortest < low || shortest > low+(high-low)/20 || most > high+time.Millisecond || most < high-high/20 {
		t.Errorf("the waits after step %d are %v to %v, want %v to %v", step, shortest, most, low, high)
	}
}

func TestCredentialsGetTime(t *testing.T) {
	denied := disconnect{err: errors.New("denied"), denied: true}
	for _, c := range readBackoff(t).Credentials {
		for range 100 {
			bubbled(t, c.Name, func(t *testing.T) {
				began := time.Now()
				k := reconnector{max: maxBackoff}
				var wait time.Duration
				again := true
				for _, at := range slices.Sorted(slices.Values(append(slices.Clone(c.DeniedMs), c.LostMs...))) {
					time.Sleep(time.Until(began.Add(at.duration())))
					if k.dialing(); !again {
						t.Fatalf("ended before %v", at.duration())
					}
					l := denied
					if slices.Contains(c.LostMs, at) {
						l = disconnect{err: errors.New("no network")}
					}
					wait, again = k.lost(l)
				}
				next := time.Since(began) + wait
				switch {
				case again != (c.NextMs != nil):
					t.Errorf("comes back: %v", again)
				case again && (next < c.NextMs[0].duration() || next > c.NextMs[1].duration()):
					t.Errorf("comes back at %v", next)
				}
			})
		}
	}
}

func bubbled(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		f(t)
		if t.Failed() {
			t.Fatalf("in %q", name)
		}
	})
}

// A greeting is proof of the credentials: only the waits go on growing.
func TestAGreetingEndsDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := reconnector{max: maxBackoff}
		var waited time.Duration
		for range 30 { // tokens that last for half a second
			k.dialing()
			k.open()
			time.Sleep(500 * time.Millisecond)
			wait, again := k.lost(disconnect{err: errors.New("expired"), denied: true, bye: true})
			if !again {
				t.Fatal("ended, though each token was taken")
			}
			time.Sleep(wait)
			waited = max(waited, wait)
		}
		if waited < 8*time.Second {
			t.Errorf("no wait was longer than %v", waited)
		}
	})
}

// What the server says of the time beats the end of the time for credentials.
func TestDenialsWaitAsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := reconnector{max: maxBackoff}
		k.lost(disconnect{denied: true})
		time.Sleep(29 * time.Second)
		if wait, again := k.lost(disconnect{bye: true, wait: 5 * time.Second}); !again || wait != 5*time.Second {
			t.Errorf("after a bye of 5 s it waits for %v", wait)
		}
		if wait, again := k.lost(disconnect{atLeast: 5 * time.Second}); !again || wait < 5*time.Second || wait > 6*time.Second {
			t.Errorf("after a Retry-After of 5 s it waits for %v", wait)
		}
	})
}
