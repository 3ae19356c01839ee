package backendtest

import (
	"reflect"
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// TestCallsAreAll: the rules on contexts and on Close look at every method that
// can fail. Close itself is the other half of its rule.
func TestCallsAreAll(t *testing.T) {
	methods, failure := reflect.TypeFor[backend.Backend](), reflect.TypeFor[error]()
	for method := range methods.Methods() {
		outs := method.Type.NumOut()
		if method.Name == "Close" || outs == 0 || method.Type.Out(outs-1) != failure {
			continue
		}
		if !slices.ContainsFunc(calls, func(c call) bool { return c.method == method.Name }) {
			t.Errorf("%s is not called", method.Name)
		}
	}
}
