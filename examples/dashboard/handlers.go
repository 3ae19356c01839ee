package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// stats is the summary of a list, which a key of its own holds.
type stats struct {
	Open    int `json:"open"` // and awake
	Snoozed int `json:"snoozed"`
	Done    int `json:"done"`
	Urgent  int `json:"urgent"` // of those that are open or snoozed
}

// register has the app react to what happens.
//
// The handlers of a group run one at a time with a Concurrency of 1, on a cluster
// as well. By default those of different keys do not wait for each other, and the
// summary made first could be stored last.
func (d *dashboard) register() error {
	return d.rt.Group("dashboard", &realtime.GroupOptions{Concurrency: 1}, func(g *realtime.Group) error {
		return errors.Join(
			g.OnKVChange(realtime.KVMatch{Namespace: namespace, Key: "todolist:*:item:*"}, d.rollupTodoStats),
			g.OnKVChange(realtime.KVMatch{Namespace: namespace, Key: "todolist:*:snooze:*"}, d.rollupTodoStats),
			g.OnEvent(realtime.EventMatch{Resource: "custom", Namespace: "jobs", Type: "priority:high"}, d.prioritise),
		)
	})
}

// rollupTodoStats keeps the summary of a list, of which an item has changed. It
// counts again instead of adding up, so that it may be called again for the same
// event, as happens after failures.
func (d *dashboard) rollupTodoStats(ctx context.Context, ev realtime.RenEvent) error {
	list := strings.Split(ev.Key, ":")[1] // the pattern has seen to it
	items, err := d.items(ctx, list)
	if err != nil {
		return err
	}
	var sum stats
	for _, it := range items {
		switch {
		case it.Done:
			sum.Done++
		case it.SnoozedUntil != 0:
			sum.Snoozed++
		default:
			sum.Open++
		}
		if it.Urgent && !it.Done {
			sum.Urgent++
		}
	}
	return d.put(ctx, statsKey(list), sum)
}

// prioritise makes an item urgent.
func (d *dashboard) prioritise(ctx context.Context, ev realtime.RenEvent) error {
	if !strings.HasPrefix(ev.Key, "todolist:") {
		return fmt.Errorf("%w: %q is no item", realtime.ErrPermanent, ev.Key)
	}
	err := d.change(ctx, ev.Key, func(it *item) { it.Urgent = true })
	if errors.Is(err, kv.ErrNotFound) {
		return nil // somebody was faster
	}
	return err
}
