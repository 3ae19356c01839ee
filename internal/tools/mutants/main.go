// Mutants breaks the library in one place at a time and runs the tests that reach
// that place: a mutant that no test notices is a line that nothing is said of. It
// prints a table, and each mutant that survived, as a diff.
//
//	ci/mutants.sh                       # all of it: hours
//	ci/mutants.sh -only ring,groups     # two parts
//	ci/mutants.sh -sample 10            # a tenth of the mutants
//	ci/mutants.sh -most 3s              # leave out the slow tests of each
//	ci/mutants.sh -own                  # with the tests of the package alone
//	ci/mutants.sh -n                    # count the mutants, and run none
//
// All mutants of a part are built into one test binary, as branches that the
// environment switches on, so that none has to be compiled by itself. First each
// test runs alone, to see which mutants it reaches and how long it takes; then each
// mutant runs the tests that reach it, the quick ones first, until one fails.
//
// Results are kept in -state: a run that was stopped goes on where it was, and one
// after a change of the tests looks only at those that survived. Mutants that no
// test can tell from the original are listed in equivalent.txt, with the reason.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// part is what a line of the table is about.
type part struct {
	name  string
	dir   string   // of the package, from the root of the module
	files []string // of it; none means all
	tests []string // directories of the packages whose tests matter
}

var parts = []part{
	{"ring", "internal/ring", nil, []string{"internal/ring", "."}},
	{"session", "internal/session", nil, []string{"internal/session", "."}},
	{"growing", "internal/growing", nil, []string{"internal/growing", "."}},
	{"wsconn", "internal/wsconn", nil, []string{"internal/wsconn", "."}},
	{"shard", "internal/shard", nil, []string{"internal/shard", "."}},
	{"renstream", "internal/renstream", nil, []string{"internal/renstream", "."}},
	{"socket", "internal/socket", nil, []string{"internal/socket", "."}},
	{"driver", "internal/driver", nil, []string{"internal/driver", "."}},
	{"policy", "internal/policy", nil, []string{"internal/policy", "."}},
	{"admission", ".", []string{"policy.go", "rights.go", "http.go"}, []string{"."}},
	{"refused", "internal/refused", nil, []string{"internal/refused", "."}},
	{"ask", "internal/ask", nil, []string{"internal/ask", "."}},
	{"rights", "internal/rights", nil, []string{"internal/rights", "."}},
	{"grant", "internal/grant", nil, []string{"internal/grant", "internal/policy", "."}},
	{"site", "internal/site", nil, []string{"."}},
	{"cors", "internal/cors", nil, []string{"."}},
	{"presence", "internal/presence", nil, []string{"internal/presence", "."}},
	{"rosters", "internal/roster", nil, []string{"internal/roster", "."}},
	{"members", ".", []string{"presence.go"}, []string{"."}},
	{"groups", "internal/handle", []string{"groups.go", "group.go", "hold.go", "retry.go"}, []string{"internal/handle", "."}},
	{"dead", "internal/dead", nil, []string{"internal/dead", "."}},
	{"handlers", ".", []string{"group.go", "events.go", "glob.go"}, []string{"."}},
	{"match", "internal/match", nil, []string{"internal/match", "."}},
	{"claims", "internal/handle", []string{"claim.go", "record.go"}, []string{"internal/handle", "."}},
	{"control", "internal/control", nil, []string{"internal/control", "."}},
	{"engine", "internal/engine", nil, []string{"."}},
	{"writers", "internal/httpwriter", nil, []string{".", "internal/frameworktest"}},
	{"progress", "internal/progress", nil, []string{"internal/progress", "."}},
	{"lanes", "internal/lanes", nil, []string{"internal/lanes", "."}},
	{"follow", "internal/follow", nil, []string{"internal/follow", "."}},
	{"outbox", "internal/outbox", nil, []string{"internal/outbox", "kv", "db"}},
	{"live", "internal/live", nil, []string{"internal/live", "."}},
	{"publish", "internal/publish", nil, []string{"internal/publish", "."}},
	{"past", "internal/past", nil, []string{"internal/past", "."}},
	{"listen", "internal/listen", nil, []string{"internal/listen", "."}},
	{"unused", "internal/unused", nil, []string{"internal/unused", "."}},
	{"queue", "internal/queue", nil, []string{"internal/queue", "."}},
	{"keylock", "internal/keylock", nil, []string{"internal/keylock", "kv"}},
	{"memory", "internal/memory", nil, []string{"internal/memory", "."}},
	{"fields", "internal/fields", nil, []string{"internal/fields", "backend"}},
	{"backend", "backend", nil, []string{"backend", "internal/follow", "internal/memory", "."}},
}

// options are those of the command.
type options struct {
	root, state, only string
	jobs              int
	limit             time.Duration
	count, report     bool
	own               bool
	kill              string
	sample            uint
	most              time.Duration
}

func main() {
	cache, _ := os.UserCacheDir() // none: the state goes into the current directory
	var o options
	flag.StringVar(&o.root, "C", ".", "the `directory` of the module")
	flag.StringVar(&o.state, "state", filepath.Join(cache, "maravilla-mutants"), "keep results in this `directory`")
	flag.StringVar(&o.only, "only", "", "only these `parts`, separated by commas")
	flag.StringVar(&o.kill, "match", "", "only mutants whose description has this `text`")
	flag.UintVar(&o.sample, "sample", 1, "only one in `n` mutants, always the same ones")
	flag.DurationVar(&o.most, "most", time.Hour, "run tests of so much `time` for each mutant, the quick ones first; it has survived if none fails")
	flag.BoolVar(&o.own, "own", false, "run no tests of other packages than the mutant's")
	flag.IntVar(&o.jobs, "j", runtime.NumCPU(), "run so many `tests` at once")
	flag.DurationVar(&o.limit, "limit", 20*time.Second, "stop a test that takes so much longer than ten times what it usually does")
	flag.BoolVar(&o.count, "n", false, "count the mutants, and run none")
	flag.BoolVar(&o.report, "report", false, "report what is known, and run none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	o.root = root
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	equivalent, err := readEquivalent(filepath.Join(root, "internal/tools/mutants/equivalent.txt"))
	if err != nil {
		return err
	}
	known, err := openResults(o.state)
	if err != nil {
		return err
	}
	defer known.close()
	var all []*mutant
	for _, p := range chosen {
		if o.own {
			p.tests = p.tests[:1]
		}
		found, err := mutate(ctx, root, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, m := range found {
			m.equivalent = equivalent.use(m.key)
		}
		all = append(all, found...)
		if o.count {
			fmt.Printf("%-10s %d mutants\n", p.name, len(found))
			continue
		}
		if err := examine(ctx, o, p, found, known); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if o.count {
		return nil
	}
	report(os.Stdout, chosen, all)
	if stale := equivalent.unused(); o.only == "" && len(stale) > 0 {
		return fmt.Errorf("equivalent.txt lists what is no mutant:\n  %s", strings.Join(stale, "\n  "))
	}
	return nil
}

func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		n := len(chosen)
		for _, p := range parts {
			if p.name == name {
				chosen = append(chosen, p)
			}
		}
		if len(chosen) == n {
			return nil, errors.New("there is no part " + name)
		}
	}
	return chosen, nil
}
