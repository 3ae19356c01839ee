// Package figures collects what the tests of a fault harness measure, and prints it
// when they have ended.
package figures

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	mu    sync.Mutex
	lines []string
)

// Add logs a line, and prints it after the tests. A line about a promise begins with the
// number of that.
func Add(t testing.TB, line string) {
	t.Helper()
	t.Log(line)
	mu.Lock()
	defer mu.Unlock()
	lines = append(lines, line)
}

// Run runs the tests of m, prints title and the lines in the order of the promises, and
// returns the exit code.
func Run(m *testing.M, title string) int {
	flag.Parse()
	_ = flag.Set("test.parallel", "12") // package testing's; the parallel tests wait more than they compute
	began := time.Now()
	code := m.Run()
	fmt.Printf("\n%s (%v):\n", title, time.Since(began).Round(time.Second))
	slices.SortStableFunc(lines, func(a, b string) int { return number(a) - number(b) })
	for _, line := range lines {
		fmt.Println(" ", line)
	}
	return code
}

// number is that of the promise a line begins with.
func number(line string) (n int) {
	_, _ = fmt.Sscan(line, &n) // none: it comes first
	return n
}
