package browsertest

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	update = flag.Bool("update", false, "renew the pictures in docs")
	full   = flag.Bool("full", false, "compare 100,000 random payloads instead of 2,000")
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait much and compute little, so more of them than there are cores
	// can go side by side.
	if !set("test.parallel") {
		_ = flag.Set("test.parallel", "8") // a flag of package testing
	}
	code := m.Run()
	cleanup(closeBrowser)
	for _, f := range cleanups.list {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func set(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
