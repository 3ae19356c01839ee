package client

import (
	"context"
	"errors"
	"time"
)

const (
	// shortest is the shortest lifetime of credentials that are renewed.
	shortest = 2 * healthy

	// renewTime is how long before they expire credentials are renewed, at least.
	renewTime = 10 * time.Second
)

// renewal returns the wait before credentials with the given lifetime are renewed: until
// a tenth of it is left, at least renewTime, but at least half of the lifetime. It
// returns 0 for credentials that are not renewed.
func renewal(lasts time.Duration) time.Duration {
	if lasts <= shortest {
		return 0
	}
	return max(lasts/2, lasts-max(lasts/10, renewTime))
}

// lasting turns the expiresIn of a greeting into a duration, 0 for never.
func lasting(expiresIn *int64) time.Duration {
	if expiresIn == nil {
		return 0
	}
	return time.Duration(min(*expiresIn, 1<<40)) * time.Millisecond
}

// tokens asks for tokens before the one in use expires, until take accepts one, and
// returns how long that one lasts (0: as long as the connection). It returns false if
// ctx ends, or the token in use has expired.
func (s *settings) tokens(ctx context.Context, lasts time.Duration, take func(context.Context, string) (time.Duration, error)) (time.Duration, bool) {
	expires := time.Now().Add(lasts)
	for wait := renewal(lasts); wait > 0; wait = time.Until(expires) / 2 {
		if wait < time.Second || sleep(ctx, wait) != nil {
			return 0, false
		}
		token, err := s.freshToken(ctx, expires)
		if err == nil {
			if lasts, err = take(ctx, token); err == nil {
				return lasts, true
			}
		}
		s.log.Warn("client: credentials not renewed", "error", err)
	}
	return 0, false
}

var errNoToken = errors.New("client: no token")

func (s *settings) freshToken(ctx context.Context, expires time.Time) (string, error) {
	ctx, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	token, err := s.callToken(ctx)
	if err == nil && token == "" {
		err = errNoToken
	}
	return token, err
}

// expires handles the lifetime of the connection's credentials, which the server has
// sent.
func (s *session) expires(f frame) {
	if lasts := lasting(f.ExpiresIn); lasts > 0 && s.set.token != nil {
		s.expiry <- lasts // once on each connection
	}
}

// renew renews the credentials of the connection, again and again.
func (s *session) renew(ctx context.Context) {
	var lasts time.Duration
	select {
	case lasts = <-s.expiry:
	case <-ctx.Done():
		return
	}
	for ok := true; ok && lasts > 0; {
		lasts, ok = s.set.tokens(ctx, lasts, s.hand)
	}
}

// hand sends a token to the server, and returns how long it lasts.
func (s *session) hand(ctx context.Context, token string) (time.Duration, error) {
	type answer struct {
		frame
		err error
	}
	answered := make(chan answer, 1)
	c := &call{op: op{Op: "hello", Token: token}, done: func(f frame, err error) { answered <- answer{f, err} }}
	s.mu.Lock()
	s.out.add(c)
	s.mu.Unlock()
	select {
	case a := <-answered:
		return lasting(a.ExpiresIn), a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
