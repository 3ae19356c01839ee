package enginetest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
)

// EndsWithContext tests that open, which connects to the server at addr, ends with its
// context: that server accepts connections and does not answer.
func EndsWithContext(t *testing.T, open func(ctx context.Context, addr string) error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			cancel()
		}
	})
	if err := open(ctx, ln.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("where the server does not answer, until the context ends: %v", err)
	}
	ln.Close()
	accepting.Wait()
}
