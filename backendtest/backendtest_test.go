package backendtest

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/log/memory"
)

// check checks a rule in virtual time.
func check(t *testing.T, rule string, open func() backend.Backend) (err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = Check(ctx, open(), rule)
	})
	return err
}

func newMemory() backend.Backend { return memory.New(memory.Limits{Records: 1000}) }

func TestRun(t *testing.T) {
	Run(t, func(*testing.T) backend.Backend { return NewFaulty(newMemory()) })
}

func TestFaultyIsHonest(t *testing.T) {
	for _, rule := range Rules() {
		if err := check(t, rule, func() backend.Backend { return NewFaulty(newMemory()) }); err != nil {
			t.Error(err)
		}
	}
}

func TestUnknownRule(t *testing.T) {
	if err := Check(t.Context(), newMemory(), "no such rule"); err == nil {
		t.Error("a rule that does not exist was kept")
	}
}

// TestEveryRuleCanFail breaks each rule at least once.
func TestEveryRuleCanFail(t *testing.T) {
	breaks := map[string][]func(backend.Backend) backend.Backend{
		"L1":  {skipping, repeating, shifting},
		"L2":  {forgetful},
		"L3":  {forgetful, racy},
		"L4":  {trimming},
		"L5":  {shifting, skipping},
		"L6":  {liveOnly, skipping},
		"L7":  {dropping, skipping},
		"L8":  {shameless, liveOnly},
		"L9":  {shameless},
		"L10": {shameless},
		"L11": {silent},
		"L12": {newest, lagging},
		"L13": {newest},
		"L14": {lagging},
		"S1":  {careless},
		"S2":  {counting},
		"S3":  {looking},
		"S4":  {joining},
		"S5":  {short},
		"S6":  {clipping},
		"S7":  {twoSteps, hasty, looking},
		"S8":  {twoSteps},
		"S9":  {hasty, careless},
		"S10": {passing, short},
		"E1":  {deaf},
		"E2":  {func(b backend.Backend) backend.Backend { return immortal{b} }, silent},
	}
	for _, rule := range Rules() {
		number, _, _ := strings.Cut(rule, " ")
		if len(breaks[number]) == 0 {
			t.Errorf("nothing breaks %q", rule)
		}
		for i, wrap := range breaks[number] {
			err := check(t, rule, func() backend.Backend { return wrap(newMemory()) })
			if err == nil {
				t.Errorf("%q was kept by broken backend %d", rule, i)
			}
			t.Log(err)
		}
	}
}
