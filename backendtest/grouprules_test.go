package backendtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// Broken backends for the rules of groups.

// flat stores no depth.
func flat(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		join: func(ctx context.Context, s backend.Session) error {
			s.Depth = 0
			return b.Join(ctx, s)
		},
		leave: func(ctx context.Context, key backend.SessionKey, d backend.Departure) error {
			d.Depth = 0
			return b.Leave(ctx, key, d)
		},
	}
}

// holds replaces how a group is held.
func holds(b backend.Backend, hold func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error)) broken {
	return broken{Backend: b, hold: hold}
}

// kibitzing begins a group where the log is.
func kibitzing(b backend.Backend) backend.Backend {
	return holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		p, err := b.ClaimGroup(ctx, group, node, ttl)
		p.Floor.Epoch++
		return p, err
	})
}

// everyone may hold every group.
func everyone(b backend.Backend) backend.Backend {
	return holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		return b.ClaimGroup(ctx, group, "everyone", ttl)
	})
}

// grabbing looks who holds a group and takes it in two steps.
func grabbing(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	held := map[string]string{}
	look := func(group string) string {
		mu.Lock()
		defer mu.Unlock()
		return held[group]
	}
	return holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		if holder := look(group); holder != "" && holder != node {
			return backend.Progress{}, backend.ErrHeld
		}
		time.Sleep(time.Millisecond) // in virtual time: all the others look now
		mu.Lock()
		defer mu.Unlock()
		held[group] = node
		return backend.Progress{}, nil
	})
}

// eternalHold lets no hold end.
func eternalHold(b backend.Backend) backend.Backend {
	f := holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		return b.ClaimGroup(ctx, group, node, time.Hour)
	})
	f.free = func(context.Context, string, string) error { return nil }
	return f
}

// freeing releases whatever it is asked to, whoever asks.
func freeing(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	holder := map[string]string{}
	f := holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		p, err := b.ClaimGroup(ctx, group, node, ttl)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			holder[group] = node
		}
		return p, err
	})
	f.free = func(ctx context.Context, group, node string) error {
		mu.Lock()
		defer mu.Unlock()
		return b.ReleaseGroup(ctx, group, holder[group])
	}
	return f
}

// keeping keeps progress by itself, as change has it.
func keeping(b backend.Backend, change func(had, added backend.Progress) backend.Progress) broken {
	var mu sync.Mutex
	kept := map[string]backend.Progress{}
	f := holds(b, func(ctx context.Context, group, node string, ttl time.Duration) (backend.Progress, error) {
		_, err := b.ClaimGroup(ctx, group, node, ttl)
		mu.Lock()
		defer mu.Unlock()
		return kept[group], err
	})
	f.commit = func(ctx context.Context, group, node string, p backend.Progress) error {
		mu.Lock()
		defer mu.Unlock()
		kept[group] = change(kept[group], p)
		return nil
	}
	return f
}

// replacing takes each commit for the whole progress.
func replacing(b backend.Backend) backend.Backend {
	return keeping(b, func(_, added backend.Progress) backend.Progress { return added })
}

// unpruned forgets nothing that the floor passes.
func unpruned(b backend.Backend) backend.Backend {
	return keeping(b, func(had, added backend.Progress) backend.Progress {
		return backend.Progress{Floor: added.Floor, Done: append(had.Done, added.Done...), Failed: added.Failed}
	})
}

// falling lets the floor go back.
func falling(b backend.Backend) backend.Backend { return replacing(b) }

// anyoneCommits asks nobody whether it holds the group.
func anyoneCommits(b backend.Backend) backend.Backend {
	return broken{Backend: b, commit: func(ctx context.Context, group, node string, p backend.Progress) error {
		for _, holder := range []string{node, "ann", "bob"} {
			if err := b.CommitGroup(ctx, group, holder, p); !errors.Is(err, backend.ErrHeld) {
				return err
			}
		}
		return nil
	}}
}

// oneGroup takes all groups for one.
func oneGroup(b backend.Backend) backend.Backend {
	return broken{
		Backend: b,
		hold: func(ctx context.Context, _, _ string, ttl time.Duration) (backend.Progress, error) {
			return b.ClaimGroup(ctx, "group", "node", ttl)
		},
		commit: func(ctx context.Context, _, _ string, p backend.Progress) error {
			return b.CommitGroup(ctx, "group", "node", p)
		},
	}
}
