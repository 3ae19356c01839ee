package child_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/child"
)

// The processes are this test's binary once more.
func TestMain(m *testing.M) {
	if child.Name() == "" {
		os.Exit(m.Run())
	}
	child.Main(func(ctx context.Context, name string) error {
		if name == "serves" {
			fmt.Println("It is ready: http://here/" + os.Getenv("ADDITION"))
		}
		<-ctx.Done()
		return nil
	})
}

// A process serves on after the context has ended in which it was started.
func TestStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := child.Start(ctx, "serves", "ADDITION=x")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if p.URL.String() != "http://here/x" {
		t.Errorf("it serves at %v", p.URL)
	}
	if err := p.Signal(os.Interrupt); err != nil { // which is not for it
		t.Error(err)
	}
	select {
	case <-p.Ended:
		t.Error("it has ended")
	default:
	}
	p.Stop()
	<-p.Ended
}

// Nobody waits for a process that does not come to serve, once its context has ended.
func TestStartIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(100*time.Millisecond, cancel) // or before it has begun
	if _, err := child.Start(ctx, "says nothing"); !errors.Is(err, context.Canceled) {
		t.Errorf("Start returned %v", err)
	}
}
