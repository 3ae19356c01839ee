// Breaks breaks the library in one way after another, each a rule of presence, groups of
// handlers, epochs or gaps that the code no longer keeps, and has the simulation of
// clusters and the conformance tests find it: those alone, without the tests of the
// packages that are broken.
//
//	ci/breaks.sh                   # all of them: some minutes
//	ci/breaks.sh -only 'lease|gap' # those whose name has this
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
	"regexp"
	"slices"
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

// judge is a package whose tests may find a breach.
type judge struct {
	dir   string
	args  []string
	found []string // prefixes of the files that it tests: empty means all
}

func judges(seeds int) []judge {
	return []judge{
		{"internal/log/memory", []string{"-test.run=Conformance"}, []string{"internal/log/memory/", "backend/"}},
		{"backend/onestep", []string{"-test.run=Conformance"}, []string{"backend/"}},
		{"internal/test/simtest", []string{"-test.run=TestCluster", "-test.failfast", "-seeds", fmt.Sprint(seeds)}, nil},
	}
}

func main() {
	only := flag.String("only", "", "only those whose name matches this `expression`")
	seeds := flag.Int("seeds", 200, "try so many `seeds` of the simulation")
	least := flag.Float64("least", 95, "fail if fewer `percent` are found")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	chosen, err := regexp.Compile(*only)
	if err == nil {
		err = run(ctx, chosen, *seeds, *least)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "breaks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only *regexp.Regexp, seeds int, least float64) error {
	dir, err := os.MkdirTemp("", "breaks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tried, found := 0, 0
	for _, b := range breaches {
		if !only.MatchString(b.name) {
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
			if own, err := b.own().fails(ctx, dir); err == nil && own != "" {
				by = "SURVIVED; the tests of its package find it: " + own
			}
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
	for _, j := range judges(seeds) {
		if len(j.found) > 0 && !slices.ContainsFunc(j.found, func(dir string) bool { return strings.HasPrefix(b.file, dir) }) {
			continue
		}
		by, err := j.fails(ctx, dir)
		if err != nil || by != "" {
			return by, err
		}
	}
	return "", nil
}

// own are the tests of the package that is broken.
func (b breach) own() judge {
	return judge{dir: filepath.Dir(b.file), args: []string{"-test.failfast"}}
}

// fails builds the tests with the overlay in a directory and runs them. It returns what
// the first one that fails says.
func (j judge) fails(ctx context.Context, dir string) (by string, err error) {
	tests := filepath.Join(dir, "tests")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", tests, "./"+j.dir)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", j.dir, err, out)
	}
	cmd := exec.CommandContext(ctx, tests, append(j.args, "-test.timeout=20m")...)
	cmd.Dir = j.dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if ended := (*exec.ExitError)(nil); err == nil || ctx.Err() != nil || !errors.As(err, &ended) {
		return "", errors.Join(err, ctx.Err())
	}
	what := string(out)
	for line := range strings.Lines(what) {
		line = strings.TrimSpace(line)
		_, said, failed := strings.Cut(line, "_test.go:")
		if _, text, ok := strings.Cut(said, ": "); failed && ok {
			what = text
			break
		}
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			what = line
			break
		}
	}
	return fmt.Sprintf("%.90s (%.0f s)", what, time.Since(began).Seconds()), nil
}
