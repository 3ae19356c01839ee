package memory_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backendtest"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

func TestConformance(t *testing.T) {
	for _, rule := range backendtest.Rules() {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := backendtest.Check(ctx, memory.New(memory.Limits{Records: 1000}), rule); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
