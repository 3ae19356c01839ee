package said_test

import (
	"testing"

	"github.com/maravilla-realtime/realtime/internal/said"
)

func TestOnce(t *testing.T) {
	var o said.Once
	if !o.First("a") || o.First("a") || !o.First("b") {
		t.Error("each is said once")
	}
	for i := range 200 {
		o.First(string(rune('c' + i)))
	}
	if o.First("more") {
		t.Error("what is remembered has no bound")
	}
}
