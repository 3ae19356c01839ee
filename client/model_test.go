package client_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// Whatever is done to a client and its rights, at any time and in any order: each loop gets
// the messages of the channel once and in order, and a reset, or the refusal of the policy,
// where some are missing. Afterwards the loops that go on have all, and the client knows
// the members that the server has.
func TestModel(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, fmt.Sprint(seed), func(t *testing.T) {
			m := newModel(t, seed)
			for range 60 {
				m.step()
			}
			m.settle()
			if t.Failed() {
				t.Logf("what was done:\n%s", strings.Join(m.done, "\n"))
			}
		})
	}
}

// model is a client of the channel "room", all of whose messages are numbers.
type model struct {
	*rights
	t         *testing.T
	rnd       *rand.Rand
	opts      *realtime.Options
	policy    realtime.Policy
	slow      time.Duration // the policy takes so long; guarded by rights.mu
	client    *client.Realtime
	loops     []*modelLoop
	published int
	taken     bool // the rights were, at least once
	watch     *tape
	done      []string
}

// modelLoop is a loop over messages.
type modelLoop struct {
	*tape
	back, last int // what it asked for of the past, and its last message
	reset      bool
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{rights: &rights{}, t: t, rnd: rand.New(rand.NewPCG(seed, 1)), opts: &realtime.Options{}, policy: byToken()}
	if seed%2 == 1 {
		m.opts.History.Events = 6
	}
	m.policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		m.mu.Lock()
		why, slow := m.why, m.slow
		m.mu.Unlock()
		time.Sleep(slow)
		return why
	}
	m.host = start(t, m.policy, m.opts)
	m.client = m.ada()
	m.watch = changes(t, m.client, "room")
	synctest.Wait()
	return m
}

// step does one thing, or lets time pass.
func (m *model) step() {
	switch k := m.rnd.IntN(22); {
	case k < 6:
		m.say(1 + m.rnd.IntN(9))
	case k < 8:
		m.change([]error{nil, nil, errTaken, realtime.ErrTemporary}[m.rnd.IntN(4)])
	case k < 9:
		m.cut()
	case k < 12:
		m.begin()
	case k < 13 && len(m.loops) > 0:
		i := m.rnd.IntN(len(m.loops))
		m.loops[i].stop()
		m.loops = slices.Delete(m.loops, i, i+1)
		m.note("a loop ends")
	case k < 14:
		m.mu.Lock()
		m.slow = time.Duration(m.rnd.IntN(3)*m.rnd.IntN(900)) * time.Millisecond
		m.mu.Unlock()
	case k < 17:
		m.member(m.rnd.IntN(3))
	default:
		time.Sleep(time.Duration(m.rnd.IntN(3000)*[]int{1, 1, 10}[m.rnd.IntN(3)]) * time.Millisecond)
	}
	if m.rnd.IntN(2) == 0 {
		m.check()
	}
}

func (m *model) note(format string, args ...any) {
	m.done = append(m.done, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

func (m *model) say(n int) {
	for range n {
		m.published++
		m.publish("room", strconv.Itoa(m.published))
	}
	m.note("published up to %d", m.published)
}

// change changes the rights, and does not always wait until that is known.
func (m *model) change(why error) {
	m.mu.Lock()
	m.why = why
	m.mu.Unlock()
	m.taken = m.taken || why != nil
	m.note("rights: %v", why)
	recheck := func() { _ = m.Recheck(context.Background(), "ada") } // one that is replaced is closed
	if m.rnd.IntN(3) == 0 {
		go recheck()
	} else {
		recheck()
	}
}

// cut cuts the connection, and perhaps puts a server with another log in the place of this
// one.
func (m *model) cut() {
	if m.rnd.IntN(5) == 0 {
		old := m.Realtime
		time.Sleep(time.Millisecond) // a log has its time of birth as its epoch
		m.restart(m.policy, m.opts)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		go func() {
			defer cancel()
			_ = old.Close(ctx)
		}()
		m.note("restart")
	}
	m.listen.Cut()
	m.note("cut")
}

func (m *model) begin() {
	l := &modelLoop{}
	var opts []client.SubscribeOption
	if m.rnd.IntN(2) == 0 {
		l.back = 1 + m.rnd.IntN(5)
		opts = append(opts, client.Rewind(l.back))
	}
	l.tape = record(m.t, func(ctx context.Context) iter.Seq2[client.Message, error] {
		return m.client.Subscribe(ctx, "room", opts...)
	}, wordOfMessage)
	m.loops = append(m.loops, l)
	m.note("a loop begins with %d", l.back)
}

// member has somebody come or go.
func (m *model) member(k int) {
	who, here := fmt.Sprint("user", m.rnd.IntN(3)), m.rnd.IntN(2) == 0
	p, mine := m.Presence(), m.client.Presence("room")
	m.note("%d: %s is there: %v", k, who, here)
	switch {
	case k == 0 && here:
		_ = p.Join(context.Background(), "room", who, m.rnd.IntN(100)) // what comes of it is compared
	case k == 0:
		_ = p.Leave(context.Background(), "room", who)
	case here:
		go func() { _ = mine.Join(m.t.Context(), "ada", nil) }()
	default:
		go func() { _ = mine.Leave(m.t.Context()) }()
	}
}

// check reads what the loops were told.
func (m *model) check() {
	m.t.Helper()
	m.loops = slices.DeleteFunc(m.loops, func(l *modelLoop) bool {
		words, failed, ended := strings.Cut(l.take(), "error:")
		if ended && (!strings.HasPrefix("error:"+failed, forbidden) || !m.taken) {
			m.t.Errorf("a loop ends with %q", failed)
		}
		for _, word := range strings.Fields(words) {
			n, err := strconv.Atoi(word)
			if err != nil {
				l.reset = true
				continue
			}
			if n <= l.last || l.last > 0 && !l.reset && n != l.last+1 {
				m.t.Errorf("a loop that began with %d: %d follows %d, reset %v", l.back, n, l.last, l.reset)
			}
			l.last, l.reset = n, false
		}
		return ended
	})
}

// settle gives the rights back, and compares what the client has with what is there.
func (m *model) settle() {
	m.t.Helper()
	m.mu.Lock()
	m.slow = 0
	m.mu.Unlock()
	m.set(nil)
	time.Sleep(2 * time.Minute)
	if m.watch.ended() {
		m.watch = changes(m.t, m.client, "room")
	}
	m.say(1)
	time.Sleep(time.Minute)
	m.check()
	for _, l := range m.loops {
		if l.last != m.published {
			m.t.Errorf("the last message of a loop that began with %d is %d of %d", l.back, l.last, m.published)
		}
	}
	there, err := m.Presence().Members(context.Background(), "room")
	must(m.t, err)
	if got, want := members(m.client.Presence("room").Members()), members(there); got != want {
		m.t.Errorf("the client knows %s of %s", got, want)
	}
}

// members describes members, in order.
func members(list []realtime.Member) string {
	var words []string
	for _, m := range list {
		words = append(words, m.UserID+string(m.Metadata))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
