package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/maravilla-realtime/realtime"
)

// policy says who may do and see what. It asks nothing but the app's own sessions.
func (a *app) policy() realtime.Policy {
	return realtime.Policy{
		// The session that the cookie names, for as long as it lasts.
		Authenticate: func(r *http.Request) (realtime.Identity, error) {
			s, ok := a.sessions.of(r)
			if !ok {
				return realtime.Identity{}, errors.New("no session")
			}
			return realtime.Identity{User: s.user.id, Expires: s.expires, Claims: s.user}, nil
		},
		// A team's channel is for its members, to be present in. Nothing is published
		// from browsers here.
		Allow: func(_ context.Context, id realtime.Identity, action realtime.Action) error {
			u := id.Claims.(user)
			switch action.Verb {
			case realtime.VerbSubscribe, realtime.VerbJoin:
				if action.Name == "team:"+u.team {
					return nil
				}
			}
			return errors.New("not their team's")
		},
		// Keys of orders begin with the team they are of.
		Grants: func(_ context.Context, id realtime.Identity) ([]realtime.Grant, error) {
			u := id.Claims.(user)
			return []realtime.Grant{realtime.GrantAll("db").In("orders").Under(u.team)}, nil
		},
	}
}
