package clusterfaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/maravilla-realtime/realtime/backend"
)

// operation is a call of the store. A revision is named by the value that it was seen
// with: no value is written twice.
type operation struct {
	call  string // "get", "put" or "delete"
	key   string
	from  string // the value of the revision that a change names; "" is no record
	to    string // what a put stores
	entry bool   // the change appends one
}

// outcome is what a call returned.
type outcome struct {
	unknown  bool // it may have happened, or happen yet
	failed   bool // it has not happened
	conflict bool
	value    string // of a get
}

// register is the model of one record. The state is the record's value, or "" without a
// record.
var register = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range history {
			k := op.Input.(operation).key
			byKey[k] = append(byKey[k], op)
		}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{""} },
	Step: func(state, in, out any) (states []any) {
		for _, next := range after(state.(string), in.(operation), out.(outcome)) {
			states = append(states, next)
		}
		return states
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v %+v", in, out) },
}

// after returns what a record can be after a call, of which it was known what it
// returned; nothing if the call cannot have returned that.
func after(state string, in operation, out outcome) []string {
	same, changed := []string{state}, []string{in.to}
	switch {
	case out.failed, in.call == "get" && out.unknown:
		return same
	case in.call == "get" && out.value == state:
		return same
	case in.call == "get":
		return nil
	case out.unknown && state == in.from:
		return []string{state, in.to}
	case out.unknown:
		return same
	case out.conflict && state == in.from && !in.entry:
		return nil
	case out.conflict: // a step of two may have given the same value another revision meanwhile
		return same
	case state == in.from:
		return changed
	}
	return nil
}

// caller calls the store through one node after the other.
type caller struct {
	*world
	number int
	random *rand.Rand
	began  time.Time
	count  int
	known  map[string]known // by key

	history []porcupine.Operation
}

// known is what a caller knows of a record.
type known struct {
	value    string
	revision backend.Revision
}

// keys are those of the records. Changes of the second half append an entry.
var keys = []string{"a", "b", "c", "d", "e", "f", "g", "h"}

func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		n := c.anyNode()
		if n == nil {
			rest(ctx, 10*time.Millisecond)
			continue
		}
		i := c.random.IntN(len(keys))
		in := operation{call: "get", key: keys[i], entry: i >= len(keys)/2}
		switch c.random.IntN(8) {
		case 0, 1, 2, 3:
			in.call = "put"
		case 4:
			if c.known[in.key].revision != 0 {
				in.call = "delete"
			}
		}
		c.call(ctx, n, in)
		rest(ctx, time.Duration(c.random.IntN(20))*time.Millisecond)
	}
}

func (c *caller) call(ctx context.Context, n *node, in operation) {
	k := c.known[in.key]
	q := ask{Key: in.key, If: k.revision}
	if in.call != "get" {
		in.from = k.value
	}
	if in.call == "put" {
		c.count++
		in.to = fmt.Sprintf("%d.%d", c.number, c.count)
		q.Value = in.to
	}
	if in.call != "get" && in.entry {
		q.Append = string(encodeStep(in.from, in.to))
	}
	began := time.Since(c.began)
	a, err := n.call(context.WithoutCancel(ctx), "store-"+in.call, q)
	ended := time.Since(c.began)
	out := outcome{value: a.Value, conflict: a.Conflict, unknown: err != nil || a.Unknown}
	out.failed = a.Error != "" && !out.conflict && !out.unknown
	if out.unknown {
		ended = 1 << 62 // it may happen at any time from now on
	}
	c.history = append(c.history, porcupine.Operation{ClientId: c.number, Input: in, Output: out, Call: int64(began), Return: int64(ended)})
	switch {
	case out.unknown, out.failed, out.conflict: // what there is shows the next get
	case in.call == "get":
		c.known[in.key] = known{a.Value, a.Revision}
	case in.call == "put":
		c.known[in.key] = known{in.to, a.Revision}
	case in.call == "delete":
		c.known[in.key] = known{}
	}
}

// encodeStep returns the data of an entry that tells of a change.
func encodeStep(from, to string) json.RawMessage {
	data, _ := json.Marshal([2]string{from, to}) // strings
	return data
}

// Callers change the same records through different nodes, while nodes and servers are
// killed and connections cut. The answers must be those of one store that does one thing
// after another. The log must have the entry of each change that appends, once and in the
// order of the changes.
func TestHistories(t *testing.T) {
	side(t)
	for _, e := range engines {
		if e.name == "Redis with Sentinel" || e.name == "Postgres with a standby" {
			continue // their failovers lose changes, which they tell
		}
		for s := range size[uint64](1, 5) {
			t.Run(fmt.Sprintf("%s/%d", e.name, *seed+s), func(t *testing.T) {
				side(t)
				testHistories(t, e.start(t), *seed+s)
			})
		}
	}
}

func testHistories(t *testing.T, e *engine, seed uint64) {
	w := newWorld(t, e, seed, 0)
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	callers := make([]*caller, 8)
	for i := range callers {
		c := &caller{world: w, number: i, began: began, known: make(map[string]known), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		callers[i] = c
		calling.Go(func() { c.run(ctx) })
	}
	kinds := []string{killNode, cutNode, killPrimary}
	if len(e.servers) > 1 {
		kinds = append(kinds, killOther)
	}
	for range size(1, 5) {
		_, steps := schedule(w.random, kinds, -1)
		for _, s := range steps {
			rest(ctx, w.slow(s.after))
			w.step(s)
		}
	}
	rest(ctx, w.slow(time.Second))
	stop()
	calling.Wait()
	var history []porcupine.Operation
	unknown := 0
	for _, c := range callers {
		history = append(history, c.history...)
		for _, op := range c.history {
			if op.Output.(outcome).unknown {
				unknown++
			}
		}
	}
	if !porcupine.CheckOperations(register.ToModel(), history) {
		t.Error("the history of the store is not linearizable")
	}
	steps := 0
	for _, k := range keys[len(keys)/2:] {
		steps += w.checkSteps(k)
	}
	figure(t, "12.7 histories of the store", "%d calls, %d of unknown outcome, %d steps in the log; %d faults", len(history), unknown, steps, len(w.faults))
}

// checkSteps compares the entries of a record with each other, and the last with the
// record.
func (w *world) checkSteps(key string) int {
	w.t.Helper()
	var last, log answer
	within(w.t, patience, "the record and the log can be read", func() bool {
		var err, logErr error
		last, err = w.node(0).call(w.t.Context(), "store-get", ask{Key: key})
		log, logErr = w.node(0).call(w.t.Context(), "store-log", ask{Key: key})
		return errors.Join(err, logErr) == nil && last.Error+log.Error == ""
	})
	at := ""
	for i, line := range log.Members {
		var step [2]string
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			w.t.Fatal(err)
		}
		// An engine that fences begins another log when it is restarted.
		if step[0] != at && !(i == 0 && w.engine.fences) {
			w.t.Errorf("the log has a change of %s from %q after it became %q: %s", key, step[0], at, strings.Join(log.Members[max(0, i-3):i+1], " "))
		}
		at = step[1]
	}
	if at != last.Value && len(log.Members) > 0 {
		w.t.Errorf("%s is %q, the log ends with %q", key, last.Value, at)
	}
	return len(log.Members)
}

// The model refuses what no store can have said.
func TestHistoryModel(t *testing.T) {
	put := func(from, to string, call, ret int64, out outcome) porcupine.Operation {
		return porcupine.Operation{Input: operation{call: "put", key: "a", from: from, to: to}, Output: out, Call: call, Return: ret}
	}
	get := func(value string, call, ret int64) porcupine.Operation {
		return porcupine.Operation{Input: operation{call: "get", key: "a"}, Output: outcome{value: value}, Call: call, Return: ret}
	}
	for _, c := range []struct {
		name    string
		history []porcupine.Operation
		want    bool
	}{
		{"one after the other", []porcupine.Operation{put("", "x", 0, 1, outcome{}), get("x", 2, 3)}, true},
		{"both of two changes of one revision", []porcupine.Operation{put("", "x", 0, 3, outcome{}), put("", "y", 1, 2, outcome{})}, false},
		{"a stale get", []porcupine.Operation{put("", "x", 0, 1, outcome{}), get("", 2, 3)}, false},
		{"a lost change", []porcupine.Operation{put("", "x", 0, 1, outcome{}), put("", "y", 2, 3, outcome{})}, false},
		{"a change that happens late", []porcupine.Operation{put("", "x", 0, 1<<62, outcome{unknown: true}), get("", 2, 3), get("x", 4, 5)}, true},
		{"a change that failed and happened", []porcupine.Operation{put("", "x", 0, 1, outcome{failed: true}), get("x", 2, 3)}, false},
		{"a conflict without another change", []porcupine.Operation{put("", "x", 0, 1, outcome{conflict: true})}, false},
	} {
		if got := porcupine.CheckOperations(register.ToModel(), c.history); got != c.want {
			t.Errorf("%s: linearizable %v, want %v", c.name, got, c.want)
		}
	}
}
