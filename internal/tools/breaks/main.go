// Breaks breaks the library in one way after another, each a rule of presence, groups of
// handlers, epochs or gaps that the code no longer keeps, and has the simulation of
// clusters and the conformance tests find it: those alone, without the tests of the
// packages that are broken.
//
//	ci/breaks.sh                   # all of them: some minutes
//	ci/breaks.sh -only lease       # those whose name has this text
//	ci/breaks.sh -seeds 1000       # for those that few seeds find
//
// It changes no file: the broken ones are laid over the others when tests are built.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// A breach is a change after which the code no longer keeps a rule.
type breach struct {
	name string
	file string // from the root of the module
	old  string // is there once
	new  string
}

// judges are the tests that may find a breach, in the order in which they run.
func judges(seeds int) [][]string {
	return [][]string{
		{"-run", "Conformance", "./internal/memory", "./backend/onestep"},
		{"-run", "TestCluster", "./internal/simtest", "-seeds", "12"},
		{"-run", "TestCluster", "./internal/simtest", "-seeds", fmt.Sprint(seeds)},
	}
}

func main() {
	only := flag.String("only", "", "only those whose name has this `text`")
	seeds := flag.Int("seeds", 200, "try so many `seeds` of the simulation")
	least := flag.Float64("least", 95, "fail if fewer `percent` are found")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *only, *seeds, *least)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "breaks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, seeds int, least float64) error {
	dir, err := os.MkdirTemp("", "breaks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tried, found := 0, 0
	for _, b := range breaches {
		if !strings.Contains(b.name, only) {
			continue
		}
		by, err := b.judge(ctx, dir, seeds)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tried++
		switch {
		case err != nil:
			by = "ERROR: " + err.Error()
		case by == "":
			by = "SURVIVED"
		default:
			found++
		}
		fmt.Printf("%-70s %s\n", b.name, by)
	}
	percent := 100 * float64(found) / float64(tried)
	fmt.Printf("%d of %d found: %.0f %%\n", found, tried, percent)
	if percent < least || tried == 0 {
		return fmt.Errorf("at least %.0f %% must be found", least)
	}
	return nil
}

// broken returns the contents of the file with the change.
func (b breach) broken() ([]byte, error) {
	was, err := os.ReadFile(b.file)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(was, []byte(b.old)); n != 1 {
		return nil, fmt.Errorf("%s has what is to be changed %d times: %q", b.file, n, b.old)
	}
	return bytes.Replace(was, []byte(b.old), []byte(b.new), 1), nil
}

// judge returns what finds the breach first, "" if nothing does.
func (b breach) judge(ctx context.Context, dir string, seeds int) (by string, err error) {
	broken, err := b.broken()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(b.file)
	if err != nil {
		return "", err
	}
	instead, overlay := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: instead}})
	if err := errors.Join(err, os.WriteFile(instead, broken, 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
		return "", err
	}
	for _, args := range judges(seeds) {
		by, err := fails(ctx, append([]string{"test", "-overlay", overlay, "-count=1", "-failfast", "-timeout", "20m"}, args...))
		if err != nil || by != "" {
			return by, err
		}
	}
	return "", nil
}

// fails runs tests, and returns the first that fails, with what it says.
func fails(ctx context.Context, args []string) (by string, err error) {
	began := time.Now()
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		return "", err
	}
	if err == nil {
		return "", nil
	}
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
		return "", fmt.Errorf("it does not build:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			return fmt.Sprintf("%s (%.0f s)", line, time.Since(began).Seconds()), nil
		}
		if strings.Contains(line, "_test.go:") {
			_, what, _ := strings.Cut(line, ": ")
			return fmt.Sprintf("%.90s (%.0f s)", what, time.Since(began).Seconds()), nil
		}
	}
	return fmt.Sprintf("%.200q", out), nil
}
