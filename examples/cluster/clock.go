package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

// clockEvery is how often the clock publishes, and publishTime how long it waits for a
// node before it asks the next one.
const (
	clockEvery  = 100 * time.Millisecond
	publishTime = 500 * time.Millisecond
)

// clock publishes numbered messages through the nodes: each until one of them has
// accepted it, so the numbers have no gaps, and pages can tell what they miss.
func (c *cluster) clock() {
	due := time.NewTicker(clockEvery)
	defer due.Stop()
	turn := 0 // of the nodes
	for n := int64(1); ; n++ {
		body, _ := json.Marshal(tick{N: n, At: time.Now().UnixMilli()}) // numbers encode
		for !c.publish(turn, body) {
			turn++
			select {
			case <-due.C:
			case <-c.ending.Done():
				return
			}
		}
		select {
		case <-due.C:
		case <-c.ending.Done():
			return
		}
	}
}

// publish has one of the healthy nodes publish.
func (c *cluster) publish(turn int, body []byte) bool {
	var healthy []*url.URL
	c.mu.Lock()
	for _, n := range c.nodes {
		if n.healthy && n.process != nil {
			healthy = append(healthy, n.process.URL)
		}
	}
	c.mu.Unlock()
	if len(healthy) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ending, web.Slow(publishTime))
	defer cancel()
	return ask(ctx, http.MethodPost, healthy[turn%len(healthy)].JoinPath("tick"), bytes.NewReader(body))
}
