package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/memory"
)

// check checks a rule in virtual time.
func check(t *testing.T, rule string, open func() backend.Backend) (err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = Check(ctx, open(), rule)
	})
	return err
}

func newMemory() backend.Backend { return memory.New(memory.Limits{Records: 1000}) }

// TestRun leaves out the rules of presence, which take seconds in real time.
func TestRun(t *testing.T) {
	runRules(t, Rules()[:14], func(*testing.T) backend.Backend { return NewFaulty(newMemory()) })
}

func TestFaultyIsHonest(t *testing.T) {
	for _, rule := range Rules() {
		if err := check(t, rule, func() backend.Backend { return NewFaulty(newMemory()) }); err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownRule(t *testing.T) {
	if err := Check(t.Context(), newMemory(), "no such rule"); err == nil {
		t.Error("a rule that does not exist was kept")
	}
}

// A broken backend is a good one with one method replaced.
type broken struct {
	backend.Backend
	append   func(context.Context, backend.Entry) (backend.Position, error)
	follow   func(context.Context, backend.Position, func([]*backend.Record)) error
	read     func(context.Context, backend.Position, int) (backend.Page, error)
	join     func(context.Context, backend.Session) error
	leave    func(context.Context, backend.SessionKey, backend.Departure) error
	members  func(context.Context, string) ([]backend.Member, error)
	channels func(context.Context) ([]string, error)
	sweep    func(context.Context, string, time.Duration) (time.Duration, error)
	touch    func(context.Context, string, string) error
	hold     func(context.Context, string, string, time.Duration) (backend.Progress, error)
	commit   func(context.Context, string, string, backend.Progress) error
	free     func(context.Context, string, string) error
}

func (b broken) Append(ctx context.Context, e backend.Entry) (backend.Position, error) {
	if b.append != nil {
		return b.append(ctx, e)
	}
	return b.Backend.Append(ctx, e)
}

func (b broken) Follow(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
	if b.follow != nil {
		return b.follow(ctx, after, sink)
	}
	return b.Backend.Follow(ctx, after, sink)
}

func (b broken) Read(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
	if b.read != nil {
		return b.read(ctx, after, limit)
	}
	return b.Backend.Read(ctx, after, limit)
}

func (b broken) Join(ctx context.Context, s backend.Session) error {
	if b.join != nil {
		return b.join(ctx, s)
	}
	return b.Backend.Join(ctx, s)
}

func (b broken) Leave(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
	if b.leave != nil {
		return b.leave(ctx, key, d)
	}
	return b.Backend.Leave(ctx, key, d)
}

func (b broken) Touch(ctx context.Context, channel, user string) error {
	if b.touch != nil {
		return b.touch(ctx, channel, user)
	}
	return b.Backend.Touch(ctx, channel, user)
}

func (b broken) Members(ctx context.Context, channel string) ([]backend.Member, error) {
	if b.members != nil {
		return b.members(ctx, channel)
	}
	return b.Backend.Members(ctx, channel)
}

func (b broken) PresentChannels(ctx context.Context) ([]string, error) {
	if b.channels != nil {
		return b.channels(ctx)
	}
	return b.Backend.PresentChannels(ctx)
}

func (b broken) Sweep(ctx context.Context, node string, ttl time.Duration) (time.Duration, error) {
	if b.sweep != nil {
		return b.sweep(ctx, node, ttl)
	}
	return b.Backend.Sweep(ctx, node, ttl)
}

func (b broken) ClaimGroup(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
	if b.hold != nil {
		return b.hold(ctx, group, node, ttl)
	}
	return b.Backend.ClaimGroup(ctx, group, node, ttl)
}

func (b broken) CommitGroup(ctx context.Context, group, node string, p backend.Progress) error {
	if b.commit != nil {
		return b.commit(ctx, group, node, p)
	}
	return b.Backend.CommitGroup(ctx, group, node, p)
}

func (b broken) ReleaseGroup(ctx context.Context, group, node string) error {
	if b.free != nil {
		return b.free(ctx, group, node)
	}
	return b.Backend.ReleaseGroup(ctx, group, node)
}

func forgetful(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	f.ForgetIDs()
	return f
}

func skipping(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	f.Skip(1)
	return f
}

// racy looks an id up and stores it in two steps.
func racy(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	stored := map[string]backend.Position{}
	look := func(id string) backend.Position {
		mu.Lock()
		defer mu.Unlock()
		return stored[id]
	}
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		id := e.ID
		if pos := look(id); id != "" && pos.Seq > 0 {
			return pos, nil
		}
		time.Sleep(time.Millisecond) // in virtual time: all the others look now
		e.ID = ""
		pos, err := b.Append(ctx, e)
		mu.Lock()
		defer mu.Unlock()
		stored[id] = pos
		return pos, err
	}}
}

// compacting stores data as encoding/json prints it.
func compacting(b backend.Backend) backend.Backend {
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		if data, err := json.Marshal(e.Event.Data); err == nil {
			e.Event.Data = data
		}
		return b.Append(ctx, e)
	}}
}

// shifting delivers every entry at the position of the next one.
func shifting(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
		var prev backend.Entry
		return b.Follow(ctx, after, func(batch []*backend.Record) {
			shifted := make([]*backend.Record, len(batch))
			for i, r := range batch {
				shifted[i] = &backend.Record{Entry: prev, Pos: r.Pos}
				prev = r.Entry
			}
			sink(shifted)
		})
	}}
}

// liveOnly knows no history.
func liveOnly(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, _ backend.Position, sink func([]*backend.Record)) error {
		now, err := head(ctx, b)
		if err != nil {
			return err
		}
		return b.Follow(ctx, now, sink)
	}}
}

// dropping has room for no more than one batch of 100 that waits for the sink.
func dropping(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
		return b.Follow(ctx, after, func(batch []*backend.Record) {
			sink(batch[:min(100, len(batch))])
		})
	}}
}

// shameless goes on from the head where it should tell of a loss.
func shameless(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
		for {
			err := b.Follow(ctx, after, sink)
			var lost *backend.LostError
			if !errors.As(err, &lost) {
				return err
			}
			after = lost.Next
		}
	}}
}

// silent ends Follow without a word.
func silent(b backend.Backend) backend.Backend {
	return broken{Backend: b, follow: func(ctx context.Context, after backend.Position, sink func([]*backend.Record)) error {
		_ = b.Follow(ctx, after, sink)
		return nil
	}}
}

// oldest reads from the wrong end.
func oldest(b backend.Backend) backend.Backend {
	return broken{Backend: b, read: func(ctx context.Context, after backend.Position, limit int) (backend.Page, error) {
		page, err := b.Read(ctx, after, 1000)
		page.Records = page.Records[:min(limit, len(page.Records))]
		return page, err
	}}
}

// deaf does not listen to contexts.
func deaf(b backend.Backend) backend.Backend {
	return broken{Backend: b, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		return b.Append(context.WithoutCancel(ctx), e)
	}}
}

// immortal does not close.
type immortal struct{ backend.Backend }

func (immortal) Close(context.Context) error { return nil }

// uncounted takes all sessions of a user for one.
func uncounted(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		join: func(ctx context.Context, s backend.Session) error {
			s.ID = ""
			return b.Join(ctx, s)
		},
		leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
			key.ID = ""
			return b.Leave(ctx, key, d)
		},
	}
}

// joins replaces what is joined.
func joins(change func(*backend.Session)) func(backend.Backend) backend.Backend {
	return func(b backend.Backend) backend.Backend {
		return broken{Backend: b, join: func(ctx context.Context, s backend.Session) error {
			change(&s)
			return b.Join(ctx, s)
		}}
	}
}

// chatty announces every join.
func chatty(b backend.Backend) backend.Backend {
	return broken{Backend: b, join: func(ctx context.Context, s backend.Session) error {
		_, err := b.Append(ctx, backend.Entry{Event: backend.JoinEvent(s, time.Now())})
		return errors.Join(err, b.Join(ctx, s))
	}}
}

// twice announces every leave, whether or not there is a session to end.
func twice(b backend.Backend) backend.Backend {
	return broken{Backend: b, leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
		_, err := b.Append(ctx, backend.Entry{Event: backend.LeaveEvent(backend.Session{SessionKey: key}, d.Why, time.Now())})
		return errors.Join(err, b.Leave(ctx, key, d))
	}}
}

// impatient makes all leaves immediate.
func impatient(b backend.Backend) backend.Backend {
	return broken{Backend: b, leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
		d.In = 0
		return b.Leave(ctx, key, d)
	}}
}

// postponing lets only the last of several scheduled leaves count.
func postponing(b backend.Backend) backend.Backend {
	sessions := map[backend.SessionKey]backend.Session{}
	return broken{
		Backend: b,
		join: func(ctx context.Context, s backend.Session) error {
			sessions[s.SessionKey] = s
			return b.Join(ctx, s)
		},
		leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
			return errors.Join(b.Join(ctx, sessions[key]), b.Leave(ctx, key, d))
		},
	}
}

// stubborn does not call leaves off: once scheduled, they come.
func stubborn(b backend.Backend) backend.Backend {
	scheduled := map[backend.SessionKey]time.Time{}
	return broken{
		Backend: b,
		join: func(ctx context.Context, s backend.Session) error {
			if at, ok := scheduled[s.SessionKey]; ok {
				s.TTL = time.Until(at)
			}
			return b.Join(ctx, s)
		},
		leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
			if d.In > 0 {
				scheduled[key] = time.Now().Add(d.In)
			}
			return b.Leave(ctx, key, d)
		},
	}
}

// reapingTwice announces what a sweep found once more.
func reapingTwice(b backend.Backend) backend.Backend {
	return broken{Backend: b, sweep: func(ctx context.Context, node string, ttl time.Duration) (time.Duration, error) {
		before, _ := head(ctx, b)
		next, err := b.Sweep(ctx, node, ttl)
		page, _ := b.Read(ctx, before, 1)
		for _, r := range page.Records {
			_, _ = b.Append(ctx, r.Entry)
		}
		return next, err
	}}
}

// lazy always sweeps at the same pace.
func lazy(b backend.Backend) backend.Backend {
	return broken{Backend: b, sweep: func(ctx context.Context, node string, ttl time.Duration) (time.Duration, error) {
		_, err := b.Sweep(ctx, node, ttl)
		return ttl / 3, err
	}}
}

// backwards lists everything in the opposite order.
func backwards(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		members: func(ctx context.Context, channel string) ([]backend.Member, error) {
			members, err := b.Members(ctx, channel)
			slices.Reverse(members)
			return members, err
		},
		channels: func(ctx context.Context) ([]string, error) {
			channels, err := b.PresentChannels(ctx)
			slices.Reverse(channels)
			return channels, err
		},
	}
}

// inviting lets those in that it should only touch.
func inviting(b backend.Backend) backend.Backend {
	return broken{Backend: b, touch: func(ctx context.Context, channel, user string) error {
		return b.Join(ctx, backend.Session{SessionKey: backend.SessionKey{Channel: channel, User: user, ID: "touch"}})
	}}
}

// untouched does nothing, successfully, where it should touch.
func untouched(b backend.Backend) backend.Backend {
	return broken{Backend: b, touch: func(context.Context, string, string) error { return nil }}
}

// TestEveryRuleCanFail breaks each rule at least once.
func TestEveryRuleCanFail(t *testing.T) {
	shared := joins(func(s *backend.Session) { s.Node = "backendtest-sweeper" })
	eternal := joins(func(s *backend.Session) { s.TTL = 0 })
	nameless := joins(func(s *backend.Session) { s.Metadata, s.Source = nil, "" })
	breaks := map[string][]func(backend.Backend) backend.Backend{
		"Append numbers records without gaps":             {skipping, repeating, shifting},
		"Append stores an id once":                        {forgetful},
		"Append stores an id once under concurrency":      {forgetful, racy},
		"records are stored byte for byte":                {compacting},
		"all followers see one order":                     {shifting, skipping},
		"Follow joins history and live without a gap":     {liveOnly, skipping},
		"Follow skips nothing for a slow sink":            {dropping, skipping},
		"Follow tells what was evicted":                   {shameless, liveOnly},
		"Follow refuses a foreign epoch":                  {shameless},
		"Follow refuses a position from the future":       {shameless},
		"Follow ends with its context":                    {silent},
		"Read returns the newest records and the head":    {oldest},
		"an ended context is honoured":                    {deaf, untouched},
		"Close ends everything":                           {func(b backend.Backend) backend.Backend { return immortal{b} }, silent, untouched},
		"the first session joins":                         {chatty, nameless},
		"changed metadata is an update":                   {chatty, nameless},
		"the last session leaves":                         {uncounted, twice},
		"an unknown session leaves without a trace":       {twice},
		"a scheduled leave comes when it is time":         {impatient, uncounted},
		"joining again calls a scheduled leave off":       {stubborn},
		"a scheduled leave is never postponed":            {postponing},
		"a session outlives its TTL only if renewed":      {eternal},
		"the first of TTL and scheduled leave counts":     {eternal, impatient},
		"the sessions of a dead node end":                 {shared},
		"many sweeps reap once":                           {reapingTwice},
		"Sweep says when to come back":                    {lazy},
		"Members are ordered and up to date":              {backwards, nameless},
		"Members agree with the log":                      {stale, hasty},
		"Touch moves nothing but LastSeen":                {inviting},
		"PresentChannels lists the channels with members": {backwards},
		"joins and leaves alternate under concurrency":    {chatty, twice},
		"presence has the depth of its cause":             {flat},
		"a group begins with nothing done":                {kibitzing},
		"one node at a time holds a group":                {everyone, grabbing},
		"a hold lasts as long as it is renewed":           {everyone, eternalHold},
		"ReleaseGroup frees a group at once":              {eternalHold, freeing},
		"CommitGroup adds to the progress":                {replacing, unpruned},
		"only the holder commits":                         {anyoneCommits},
		"the floor never goes back":                       {falling},
		"groups are independent":                          {oneGroup},
	}
	for _, rule := range Rules() {
		if len(breaks[rule]) == 0 {
			t.Errorf("nothing breaks %q", rule)
		}
		for i, wrap := range breaks[rule] {
			err := check(t, rule, func() backend.Backend { return wrap(newMemory()) })
			if err == nil {
				t.Errorf("%q was kept by broken backend %d", rule, i)
			}
			t.Log(err)
		}
	}
}

// repeating delivers the last record again, once there is one.
func repeating(b backend.Backend) backend.Backend {
	f := NewFaulty(b)
	return broken{Backend: f, append: func(ctx context.Context, e backend.Entry) (backend.Position, error) {
		f.Repeat(1)
		return f.Append(ctx, e)
	}}
}
