package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// A call that waits in vain for a connection says why there is none.
func TestWaitedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, realtime.AllowAll(), nil)
		dial := h.http.Transport.(*http.Transport).DialContext
		var down atomic.Bool
		down.Store(true)
		rt := newRealtime(t, &client.RealtimeOptions{HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if down.Load() {
					return nil, errors.New("no route to the host")
				}
				return dial(ctx, network, addr)
			},
		}}})
		defer rt.Close()
		calls := func(want string) {
			t.Helper()
			for name, call := range map[string]func(context.Context) error{
				"publish": func(ctx context.Context) error { return rt.Publish(ctx, "room", "hello") },
				"join":    func(ctx context.Context) error { return rt.Presence("room").Join(ctx, "ada", nil) },
				"history": func(ctx context.Context) error { _, err := rt.History(ctx, "room", "", 1); return err },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				err := call(ctx)
				cancel()
				if want == "" && err != nil || want != "" && (!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s returned %v, want %q", name, err, want)
				}
				if err != nil && strings.Count(err.Error(), "client: ") != 1 {
					t.Errorf("%s returned an error that does not name its package once: %v", name, err)
				}
			}
		}
		calls("Connect was not called")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i, err := range loops(ctx, rt) {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Connect was not called") {
				t.Errorf("loop %d ended with %v", i, err)
			}
		}
		rt.Connect()
		calls("no route to the host")
		down.Store(false)
		calls("")
		down.Store(true)
		h.listen.Cut()
		calls("not connected")
	})
}

// loops returns what ends the loops of a client.
func loops(ctx context.Context, rt *client.Realtime) (errs []error) {
	for _, err := range rt.Subscribe(ctx, "room") {
		errs = append(errs, err)
	}
	for _, err := range rt.Presence("room").Events(ctx) {
		errs = append(errs, err)
	}
	for _, err := range rt.Stream(ctx, "room", "a1") {
		errs = append(errs, err)
	}
	return errs
}
