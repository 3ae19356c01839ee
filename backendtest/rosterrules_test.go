package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// stale lists who was there a moment ago.
func stale(b backend.Backend) backend.Backend {
	var mu sync.Mutex
	var last []backend.Member
	return broken{Backend: b, members: func(ctx context.Context, channel string) ([]backend.Member, error) {
		members, err := b.Members(ctx, channel)
		mu.Lock()
		defer mu.Unlock()
		last, members = members, last
		return members, err
	}}
}

// hasty lists who joins before the log has it.
func hasty(b backend.Backend) backend.Backend {
	var joining sync.Map
	return broken{
		Backend: b,
		join: func(ctx context.Context, s backend.Session) error {
			joining.Store(s.User, backend.Member{User: s.User, Metadata: s.Metadata})
			defer joining.Delete(s.User)
			return errors.Join(pass(ctx, 2*time.Millisecond), b.Join(ctx, s))
		},
		members: func(ctx context.Context, channel string) ([]backend.Member, error) {
			members, err := b.Members(ctx, channel)
			joining.Range(func(user, m any) bool {
				members = slices.DeleteFunc(members, func(m backend.Member) bool { return m.User == user })
				members = append(members, m.(backend.Member))
				return true
			})
			return members, err
		},
	}
}
