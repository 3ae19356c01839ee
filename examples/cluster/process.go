package main

import (
	"context"

	"github.com/maravilla-realtime/realtime/examples/internal/child"
)

// process is the running process of a node.
type process struct{ *child.Process }

// startProcess starts a node and returns when it serves.
func startProcess(ctx context.Context, name, nats string) (*process, error) {
	p, err := child.Start(ctx, name, natsEnv+"="+nats)
	if err != nil {
		return nil, err
	}
	return &process{p}, nil
}

// stop asks it to end.
func (p *process) stop() {
	_ = p.resume()
	p.Stop()
}
