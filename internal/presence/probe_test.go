package presence_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/presence"
)

// probe is a store that counts its calls, and may fail any of them.
type probe struct {
	backend.Store
	mu    sync.Mutex
	fault func(call string) error // of "Get member", "Put node", …; nil: none
	calls map[string]int
	busy  map[string]int // how many are under way,
	most  map[string]int // and were at once
	slow  time.Duration
}

func (p *probe) failing(fault func(call string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.calls, p.most = fault, make(map[string]int), make(map[string]int)
}

func (p *probe) slowDown(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = by
}

func (p *probe) count(call string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[call]
}

func (p *probe) begin(op string, kind string) (end func(), err error) {
	p.mu.Lock()
	call := op + " " + kind
	p.calls[call]++
	p.busy[call]++
	p.most[call] = max(p.most[call], p.busy[call])
	if p.fault != nil {
		err = p.fault(call)
	}
	slow := p.slow
	p.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy[call]--
	}, err
}

func (p *probe) Get(ctx context.Context, k backend.Key) (backend.Item, error) {
	end, err := p.begin("Get", k.Kind)
	defer end()
	if err != nil {
		return backend.Item{}, err
	}
	return p.Store.Get(ctx, k)
}

func (p *probe) List(ctx context.Context, kind, group string) iter.Seq2[backend.Item, error] {
	call := "List"
	if group == "" {
		call = "List every"
	}
	end, err := p.begin(call, kind)
	defer end()
	if err != nil {
		return func(yield func(backend.Item, error) bool) { yield(backend.Item{}, err) }
	}
	return p.Store.List(ctx, kind, group)
}

func (p *probe) Put(ctx context.Context, w backend.Write) (backend.Revision, error) {
	end, err := p.begin("Put", w.Key.Kind)
	defer end()
	if err != nil {
		return 0, err
	}
	return p.Store.Put(ctx, w)
}

func (p *probe) Delete(ctx context.Context, k backend.Key, rev backend.Revision, e *backend.Entry) error {
	end, err := p.begin("Delete", k.Kind)
	defer end()
	if err != nil {
		return err
	}
	return p.Store.Delete(ctx, k, rev, e)
}

// only fails calls of one name.
func only(name string, err error) func(string) error {
	return func(call string) error {
		if call == name {
			return err
		}
		return nil
	}
}

// times fails so many calls of one name.
func times(n int, name string, err error) func(string) error {
	return func(call string) error {
		if call != name || n == 0 {
			return nil
		}
		n--
		return err
	}
}

type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.buf.Reset()
	return j.buf.String()
}

func (w *world) probe() *probe {
	return &probe{Store: w.b, calls: make(map[string]int), busy: make(map[string]int), most: make(map[string]int)}
}

// probed starts a node on a probe.
func (w *world) probed(name string, alone bool) (*node, *probe, *journal) {
	w.t.Helper()
	p, said := w.probe(), new(journal)
	return w.startOn(presence.Options{Node: name, NodeLease: lease, Alone: alone}, p, slog.New(slog.NewTextHandler(said, nil))), p, said
}
