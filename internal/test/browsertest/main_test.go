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
	// As many tests run side by side as there are cores, which is what -parallel is
	// where nobody says otherwise: more browsers' pages only starve each other.
	code := m.Run()
	cleanup(closeBrowser)
	for _, f := range cleanups.list {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err) // which says nothing of what was tested
		}
	}
	os.Exit(code)
}
