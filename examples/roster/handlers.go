package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

const (
	namespace = "demo"
	flagTime  = 5 * time.Minute
)

func activeKey(group string) string { return "huddle-active:" + group }

// register has the app react to who joins and leaves calls. With a Concurrency of
// 1, who has looked last writes last: the events of a channel are not handled
// together, but those of a channel and of a key are.
func (ro *roster) register() error {
	return ro.rt.Group("huddles", &realtime.GroupOptions{Concurrency: 1}, func(g *realtime.Group) error {
		return errors.Join(
			g.OnChannel(realtime.ChannelMatch{Channel: "huddle:*", Type: "presence"}, ro.reflectHuddleCall),
			g.OnKVChange(realtime.KVMatch{Namespace: namespace, Key: "huddle-active:*", Op: "expired"}, ro.lookAgain),
		)
	})
}

// reflectHuddleCall keeps the flag of a group of which somebody has joined or left
// a call.
func (ro *roster) reflectHuddleCall(ctx context.Context, ev realtime.RenEvent) error {
	return ro.reflect(ctx, strings.TrimPrefix(ev.Channel, "huddle:"))
}

// lookAgain renews the flag of a call that lasts.
func (ro *roster) lookAgain(ctx context.Context, ev realtime.RenEvent) error {
	return ro.reflect(ctx, strings.TrimPrefix(ev.Key, "huddle-active:"))
}

// reflect writes down whether a group is in a call. The flag ends by itself, so
// that it cannot outlive its reason for long, whatever happens to this server.
func (ro *roster) reflect(ctx context.Context, group string) error {
	members, err := ro.rt.Presence().Members(ctx, "huddle:"+group)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		_, err = ro.store.Put(ctx, namespace, activeKey(group), []byte("1"), kv.TTL(flagTime))
	} else {
		err = ro.store.Delete(ctx, namespace, activeKey(group))
	}
	if errors.Is(err, kv.ErrBadKey) { // channels can have names that are too long for this
		return fmt.Errorf("%w: %w", realtime.ErrPermanent, err)
	}
	return err
}
