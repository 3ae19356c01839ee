package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the tests know of the cluster's page.
const (
	serving  = `document.querySelector('.node[data-serving="true"]')?.id.at(-1) ?? ''`
	proof    = `['gaps', 'duplicates'].map((id) => document.getElementById(id).textContent).join()`
	sequence = `Number(document.getElementById('sequence').textContent.replaceAll(',', ''))`
	moves    = `Number(document.getElementById('moves').textContent)`
	troubles = `[...document.querySelectorAll('#happened .bad')].map((e) => e.textContent).join()`
	whoLeft  = `[...document.querySelectorAll('#happened li')].map((e) => e.textContent).filter((s) => s.endsWith(' left')).join()`
)

// harm presses a button of a node.
func harm(p *Page, node, action string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`document.querySelector('#node-%s [data-action=%s]').click()`, node, action))
}

// The node that serves a page is killed, the next one is paused, the one after that
// cut off, and in the end all are killed. The page moves each time, and has every
// message once.
func TestCluster(t *testing.T) {
	t.Parallel()
	Require(t)
	cluster := Start(t, "cluster")
	var pages []*Page
	who := []string{"Ada Lovelace", "Emmy Noether", "Grace Hopper"}
	for _, name := range who {
		pages = append(pages, NewUser(t).OpenFaulty(cluster.URL+"#"+strings.ReplaceAll(name, " ", "%20")))
	}
	all := strings.Join(who, ",")
	for _, p := range pages {
		Until(p, names, all)
	}
	ada := pages[0]
	hear(ada, 20)
	node, away := served(ada), time.Duration(0)
	for _, fault := range []struct{ breaks, mends string }{{"kill", "start"}, {"pause", "resume"}, {"cut", "mend"}} {
		began := time.Now()
		harm(ada, node, fault.breaks)
		Until(ada, fmt.Sprintf(`![%s, ''].includes(%s)`, quote(node), serving), true)
		hear(ada, 20)
		away = max(away, time.Since(began))
		if fault.breaks == "pause" {
			pictures(ada, "cluster")
		}
		harm(ada, node, fault.mends)
		Until(ada, fmt.Sprintf(`document.getElementById('node-%s').dataset.state`, node), "healthy")
		node = served(ada)
	}
	if n := Eval[int](ada, moves); n < 3 {
		t.Errorf("%d moves", n)
	}
	for _, node := range []string{"a", "b", "c"} {
		harm(ada, node, "kill")
	}
	Until(ada, `document.getElementById('served').textContent`, "Served by no node")
	began := time.Now()
	harm(ada, "b", "start")
	hear(ada, 20)
	away = max(away, time.Since(began))
	Until(ada, `document.getElementById('sent').textContent === document.getElementById('back').textContent`, true)
	for _, p := range pages {
		Until(p, names, all)
		if got := Eval[string](p, proof) + Eval[string](p, troubles); got != "0,0" {
			t.Errorf("gaps, duplicates and troubles: %s", got)
		}
		const lease = 20 * time.Second // for so long at least a page may be away and does not leave
		if left := Eval[string](p, whoLeft); left != "" && away < lease {
			t.Errorf("%s, though nobody was away for more than %v", left, away)
		}
	}
}

// served returns the node that serves a page, when one does.
func served(p *Page) (node string) {
	p.t.Helper()
	if !poll(patience, func() bool {
		node = Eval[string](p, serving)
		return node != ""
	}) {
		p.t.Fatalf("no node serves the page for %v at the machine's pace", patience)
	}
	return node
}

// hear waits until so many more messages of the clock have come.
func hear(p *Page, n int) {
	p.t.Helper()
	Until(p, fmt.Sprintf(`%s > %d`, sequence, Eval[int](p, sequence)+n), true)
}
