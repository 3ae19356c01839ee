// Package conformance tests implementations of an interface against its rules.
package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// A Rule is one sentence of the contract of the interface I, with a function that
// checks whether an implementation keeps it.
type Rule[I any] struct {
	Name  string
	Check func(context.Context, I) error
}

// Rules are a contract.
type Rules[I any] []Rule[I]

// Names returns the names of all rules.
func (rules Rules[I]) Names() []string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.Name
	}
	return names
}

// Check returns how impl breaks the named rule, or nil.
func (rules Rules[I]) Check(ctx context.Context, impl I, name string) error {
	for _, r := range rules {
		if r.Name != name {
			continue
		}
		if err := r.Check(ctx, impl); err != nil {
			return fmt.Errorf("broken: %s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("no rule is called %q", name)
}

// Run checks every rule in a subtest of its own, for at most a minute, with an
// implementation that open returns for it.
func (rules Rules[I]) Run(t *testing.T, open func(t *testing.T) I) {
	for _, name := range rules.Names() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := rules.Check(ctx, open(t), name); err != nil {
				t.Error(err)
			}
		})
	}
}
