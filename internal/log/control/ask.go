package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// Ask is a kind of question that one node answers for all.
type Ask struct {
	// Take returns what answers a question, or nil if that is for another node. The answer
	// must have a deadline of its own; its context ends with the node. Take must not block.
	Take func(question json.RawMessage) func(context.Context) json.RawMessage
	// Heard is told of each answer, on all nodes. It must not block.
	Heard func(answer json.RawMessage)
}

// answerAtOnce bounds the questions of other nodes that are answered at the same time.
// Further ones are not answered here.
const answerAtOnce = 64

// Ask returns the answer of the node that can give it, which may be this one. The error is
// that of ctx if no node does. It may block as long as ctx, which must have a deadline.
func (c *Control) Ask(ctx context.Context, what string, question json.RawMessage) (json.RawMessage, error) {
	if do := c.node.Asks[what].Take(question); do != nil {
		said := do(ctx)
		c.node.Asks[what].Heard(said)
		c.tellAnswer(context.WithoutCancel(ctx), what, rand.Text(), said)
		return said, nil
	}
	id, answered := rand.Text(), make(chan json.RawMessage, 1)
	c.mu.Lock()
	c.asking[id] = answered
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asking, id)
	}()
	if err := c.tell(ctx, backend.Event{Type: what, Key: id, Data: question}); err != nil {
		return nil, fmt.Errorf("the other nodes are not told: %w", err)
	}
	select {
	case said := <-answered:
		return said, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("no node has answered: %w", ctx.Err())
	case <-c.node.Running.Done():
		return nil, bounded.ErrClosed
	}
}

// tellAnswer tells the other nodes an answer of this one.
func (c *Control) tellAnswer(ctx context.Context, what, id string, said json.RawMessage) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := c.tell(ctx, backend.Event{Type: answer, Key: id, Namespace: what, Data: said})
	if err != nil && !errors.Is(err, bounded.ErrClosed) && c.node.Running.Err() == nil {
		c.node.Logger.Error("realtime: an answer to other nodes is not told", "request", what, "error", err)
	}
}

// reply answers a question of another node, if this is the one that can.
func (c *Control) reply(ev backend.Event) {
	take := c.node.Asks[ev.Type].Take
	if take == nil {
		return
	}
	do := take(ev.Data)
	if do == nil {
		return
	}
	select {
	case c.answering <- struct{}{}:
	default:
		c.tooMany(ev)
		return
	}
	c.node.Go(func() {
		defer func() { <-c.answering }()
		said := do(c.node.Running)
		c.node.Asks[ev.Type].Heard(said)
		c.tellAnswer(c.node.Running, ev.Type, ev.Key, said)
	})
}

// hear takes the answer of another node to a question, of this node or of another.
func (c *Control) hear(ev backend.Event) {
	if heard := c.node.Asks[ev.Namespace].Heard; heard != nil {
		heard(ev.Data)
	}
	c.mu.Lock()
	answered := c.asking[ev.Key]
	c.mu.Unlock()
	if answered != nil {
		select {
		case answered <- ev.Data:
		default: // another node has answered as well
		}
	}
}
