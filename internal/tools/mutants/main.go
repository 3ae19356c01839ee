// Mutants breaks the library in one place at a time and runs the tests that reach
// that place: a mutant that no test notices is a line that nothing is said of. It
// prints a table, and each mutant that survived, as a diff.
//
//	ci/mutants.sh                       # all of it: hours
//	ci/mutants.sh -only ring,groups     # two parts
//	ci/mutants.sh -sample 10            # a tenth of the mutants
//	ci/mutants.sh -most 3s              # leave out the slow tests of each
//	ci/mutants.sh -own                  # with the tests of the package alone
//	ci/mutants.sh -n                    # count the mutants, and run none; check equivalent.txt
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
	tests []string // directories of the packages whose tests matter, each with its arguments
}

// Tests of the root with each of the ways in which connections are driven.
const byGoroutines, byShards = ". -hijack 1", ". -hijack 3"

var parts = []part{
	{"ring", "internal/log/ring", nil, []string{"internal/log/ring", "."}},
	{"session", "internal/session", nil, []string{"internal/session", "."}},
	{"growing", "internal/growing", nil, []string{"internal/growing", "internal/session", "."}},
	{"wsconn", "internal/wire/wsconn", nil, []string{"internal/wire/wsconn", "."}},
	{"shard", "internal/transport/shard", nil, []string{"internal/transport/shard", "."}},
	{"renstream", "internal/transport/renstream", nil, []string{"internal/transport/renstream", byShards, byGoroutines}},
	{"socket", "internal/transport/socket", nil, []string{"internal/transport/socket", byShards, byGoroutines}},
	{"driver", "internal/transport/driver", nil, []string{"internal/transport/driver", "."}},
	{"policy", "internal/rights/policy", nil, []string{"internal/rights/policy", "."}},
	{"admission", ".", []string{"policy.go", "rights.go", "http.go"}, []string{"."}},
	{"refused", "internal/refused", nil, []string{"internal/refused", "."}},
	{"policycall", "internal/rights/policycall", nil, []string{"internal/rights/policycall", "."}},
	{"rights", "internal/rights", nil, []string{"internal/rights", "."}},
	{"grant", "internal/rights/grant", nil, []string{"internal/rights/grant", "internal/rights/policy", "."}},
	{"site", "internal/web/site", nil, []string{"internal/web/site", "."}},
	{"cors", "internal/web/cors", nil, []string{"internal/web/cors", "."}},
	{"presence", "internal/presence", nil, []string{"internal/presence", "."}},
	{"rosters", "internal/session/roster", nil, []string{"internal/session/roster", "."}},
	{"members", ".", []string{"presence.go"}, []string{"."}},
	{"groups", "internal/handle", []string{"groups.go", "group.go", "hold.go", "retry.go"}, []string{"internal/handle", "."}},
	{"deadletters", "internal/handle/deadletters", nil, []string{"internal/handle/deadletters", "."}},
	{"handlers", ".", []string{"group.go", "events.go", "glob.go"}, []string{"."}},
	{"match", "internal/match", nil, []string{"internal/match", "."}},
	{"claims", "internal/handle", []string{"claim.go", "record.go"}, []string{"internal/handle", "."}},
	{"control", "internal/log/control", nil, []string{"internal/log/control", "."}},
	{"bounded", "internal/log/bounded", nil, []string{"."}},
	{"writers", "internal/web/httpwriter", nil, []string{".", "internal/test/frameworktest"}},
	{"progress", "internal/handle/progress", nil, []string{"internal/handle/progress", "."}},
	{"lanes", "internal/handle/lanes", nil, []string{"internal/handle/lanes", "."}},
	{"follow", "internal/log/follow", nil, []string{"internal/log/follow", "."}},
	{"outbox", "internal/publish/outbox", nil, []string{"internal/publish/outbox", "kv", "db"}},
	{"live", "internal/log/live", nil, []string{"internal/log/live", "."}},
	{"publish", "internal/publish", nil, []string{"internal/publish", "."}},
	{"past", "internal/past", nil, []string{"internal/past", "."}},
	{"listen", "internal/listen", nil, []string{"internal/listen", "."}},
	{"unused", "internal/web/unused", nil, []string{"internal/web/unused", "."}},
	{"queue", "internal/queue", nil, []string{"internal/queue", "."}},
	{"keylock", "internal/publish/keylock", nil, []string{"internal/publish/keylock", "kv"}},
	{"memory", "internal/log/memory", nil, []string{"internal/log/memory", "."}},
	{"fields", "internal/fields", nil, []string{"internal/fields", "backend"}},
	{"kv", "kv", nil, []string{"kv", "kv/kvtest"}},
	{"storage", "storage", nil, []string{"storage", "storage/storagetest"}},
	{"wire", "internal/wire", nil, []string{"internal/wire", "."}},
	{"backend", "backend", nil, []string{"backend", "internal/log/follow", "internal/log/memory", "."}},
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
	if !o.count {
		report(os.Stdout, chosen, all)
	}
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
