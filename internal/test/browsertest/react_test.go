package browsertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
)

// What the tests know of the board's page, beside what it has in common with the
// chat's.
const (
	cards    = `[...document.querySelectorAll('#cards .what')].map((e) => e.textContent)`
	finished = `document.getElementById('finished').textContent`
	busyOnes = `[...document.querySelectorAll('#roster [data-status=busy] .name')].map((e) => e.textContent).join()`
	states   = `['ws-state', 'ren-state'].map((id) => document.getElementById(id).dataset.state).join()`
	changed  = `[...document.querySelectorAll('#cards .by')].map((e) => e.textContent).join()`
	stepOut  = `document.getElementById('step').click()`
	setBusy  = `document.getElementById('busy').click()`
	failed   = `document.getElementById('reads').role === 'alert'`
	hideTalk = `document.getElementById('talk-toggle').click()`
)

// card is the row of a card, as JavaScript.
func card(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('#cards li')].find((row) => row.querySelector('.what').textContent === %s)`, quote(text))
}

// addCard adds a card as a person does.
func addCard(p *Page, text string) {
	p.t.Helper()
	typeIn(p, "#new-card", text+"\r")
	has(p, cards, text)
}

const boardDir = "../../../examples/react"

// development returns a directory with a page of the board's, main, as its
// developers build it: there StrictMode mounts everything twice.
func development(t *testing.T, main string) string {
	t.Helper()
	if _, err := os.Stat(boardDir + "/node_modules"); err != nil {
		if os.Getenv("REALTIME_REQUIRE_REACT") == "1" {
			t.Fatal(err)
		}
		t.Skip("no React: npm ci --prefix examples/react")
	}
	dir := t.TempDir()
	served := filepath.Join(dir, "page")
	if err := os.CopyFS(served, os.DirFS(boardDir+"/page")); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "run", "./buildpage", "-dev", "-main", main, "-o", filepath.Join(served, "app.js"), "../../examples/react")
	build.Dir = "../../tools"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", main, err, out)
	}
	return dir
}

// Two people at a board: each sees who is here, what the other changes and says,
// and knows what is their own.
func TestBoard(t *testing.T) {
	t.Parallel()
	Require(t)
	board := Start(t, "react")
	ada := NewUser(t).Open(board.URL)
	typeIn(ada, "#name", "Ada\r") // as a person does, once
	ready(ada, "Ada")
	grace := join(NewUser(t).Open(board.URL), "Grace")
	for _, p := range []*Page{ada, grace} {
		Until(p, names, "Ada,Grace")
		Until(p, cards+`.length`, 4)
	}

	// The data is read once for each write, by any client. The events of one's
	// own writes add nothing to that.
	before := Eval[int](ada, reads)
	html := `<img src=x onerror="console.error('run')">Bake a cake`
	addCard(ada, html)
	has(grace, cards, html)
	Eval[any](grace, card("Invite everybody")+`.querySelector('input').click()`)
	Until(ada, card("Invite everybody")+`.className`, "done")
	Until(ada, changed, "Robot,Robot,Robot,Grace,you")
	Until(grace, changed, "Robot,Robot,Robot,you,Ada")
	Until(ada, finished, "Grace has finished “Invite everybody”")
	if got := Eval[string](grace, finished); got != "" {
		t.Errorf("Grace is told what she has done herself: %s", got)
	}
	if got := Eval[int](ada, reads); got != before+2 {
		t.Errorf("Ada's page has read %d times, want twice", got-before)
	}
	before = Eval[int](ada, reads)
	Eval[any](ada, `import('/api/maravilla/realtime.js').then(({ renFetch }) => renFetch('/api/cards/000001', { method: 'DELETE' }))`)
	Until(grace, cards+`.length`, 4)
	Eval[any](grace, card(html)+`.querySelector('.plain').click()`)
	Until(ada, cards+`.length`, 3)
	if got := Eval[int](ada, reads); got != before+1 {
		t.Errorf("Ada's page has read %d times for a write of another", got-before)
	}

	typeIn(ada, "#text", html+"\r")
	has(grace, texts, html)
	Eval[any](grace, `document.querySelector('.signs button').click()`)
	for _, p := range []*Page{ada, grace} {
		has(p, texts, "♥")
		equal(t, "messages", Eval[[]string](p, texts), []string{html, "♥"})
	}
	const own = `[...document.querySelectorAll('#messages [data-own=true] .text')].map((e) => e.textContent).join()`
	Until(ada, own, html)
	Until(grace, own, "♥")

	Eval[any](ada, setBusy)
	Until(grace, busyOnes, "Ada")
	ada.Close()
	Until(grace, names, "Grace")
}

// The connections break and nobody can be reached for a while. What has happened
// meanwhile is there afterwards, once; to the others nobody was away.
func TestBoardReconnects(t *testing.T) {
	t.Parallel()
	Require(t)
	board := StartSlower(t, patient, "react")
	proxy := faultproxy.New(t, board.Addr)
	ada := join(NewUser(t).OpenFaulty(proxy.URL), "Ada")
	grace := join(NewUser(t).Open(board.URL), "Grace")
	Until(grace, names, "Ada,Grace")
	told := watchPresence(t, board)
	typeIn(grace, "#text", "before\r")
	has(ada, texts, "before")

	proxy.Refuse()
	mustCut(t, proxy, true)
	Until(ada, states, "connecting,connecting")
	addCard(grace, "Meanwhile")
	typeIn(grace, "#text", "between\r")
	has(grace, texts, "between")
	typeIn(ada, "#text", "kept\r")
	Eval[any](ada, card("Invite everybody")+`.querySelector('input').click()`)
	Until(ada, `document.querySelector('#notes p')?.textContent.startsWith('Not done')`, true)
	Until(ada, failed, true)

	proxy.Listen()
	Eval[any](ada, `void dispatchEvent(new Event('online'))`)
	Until(ada, states, "open,open")
	has(ada, cards, "Meanwhile")
	Until(ada, failed, false)
	typeIn(grace, "#text", "after\r")
	for _, p := range []*Page{ada, grace} {
		has(p, texts, "after")
		has(p, texts, "kept")
		Until(p, texts+`.length`, 4)
		Until(p, names, "Ada,Grace")
	}

	// Where nothing has happened meanwhile, a read that failed is made up for, too.
	proxy.Refuse()
	mustCut(t, proxy, true)
	Until(ada, states, "connecting,connecting")
	Eval[any](ada, card("Meanwhile")+`.querySelector('input').click()`)
	Until(ada, failed, true)
	proxy.Listen()
	Eval[any](ada, `void dispatchEvent(new Event('online'))`)
	Until(ada, failed, false)

	Until(ada, open, true)
	Eval[any](ada, setBusy)
	Until(told, `told.join()`, "presence.update Ada")
}

// Whatever is mounted, twice where StrictMode does that, is one subscription and
// one presence; what is unmounted leaves nothing open, and comes back.
func TestBoardMounts(t *testing.T) {
	t.Parallel()
	Require(t)
	for name, args := range map[string]func(*testing.T) []string{
		"production":  func(*testing.T) []string { return nil },
		"development": func(t *testing.T) []string { return []string{"-dir", development(t, "src/main.tsx")} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testMounts(t, Start(t, "react", args(t)...))
		})
	}
}

func testMounts(t *testing.T, board *Example) {
	told := watchPresence(t, board)
	ada := NewUser(t).blank(false)
	countOps(ada)
	ada.Go(board.URL)
	Until(ada, open, true) // what is mounted now is asked for twice where it should be once
	join(ada, "Ada")
	id := Eval[string](ada, `document.querySelector('#roster li').dataset.user`)
	inUse(t, board, map[string]string{"team:launch": id, "talk:launch": ""})
	// A join that is said twice is one, of which told has the proof.
	const asked = `Object.entries(ops).map(([op, n]) => op + ' ' + n).filter((op) => !op.startsWith('join')).sort().join('; ')`
	Until(ada, asked, "subscribe talk:launch 1; subscribe team:launch 1")

	Eval[any](ada, setBusy)
	Until(told, `told.join()`, "presence.join Ada,presence.update Ada")
	for n := range 20 {
		Eval[any](ada, hideTalk)
		Until(ada, `!document.getElementById('talk')`, n%2 == 0)
	}
	inUse(t, board, map[string]string{"team:launch": id, "talk:launch": ""})
	Eval[any](ada, hideTalk)
	inUse(t, board, map[string]string{"team:launch": id})
	Eval[any](ada, hideTalk)
	inUse(t, board, map[string]string{"team:launch": id, "talk:launch": ""})

	Eval[any](ada, stepOut)
	Until(told, `told.at(-1)`, "presence.leave Ada")
	Until(ada, names, "")
	inUse(t, board, map[string]string{"team:launch": "", "talk:launch": ""}) // the roster is still shown
	Eval[any](ada, stepOut)
	Until(ada, names, "Ada")
	Eval[any](ada, setBusy)
	Until(told, `told.join()`,
		"presence.join Ada,presence.update Ada,presence.leave Ada,presence.join Ada,presence.update Ada")
	// Who shows the talk again before the end of its subscription is confirmed goes on with it.
	const ofTalk = `(ops['subscribe talk:launch'] - ops['unsubscribe talk:launch']) + ' left, ' + (ops['subscribe talk:launch'] <= 12 ? 'of 12' : 'of more')`
	Until(ada, ofTalk, "1 left, of 12")
	const ofTeam = `Object.entries(ops).map(([op, n]) => op + ' ' + n).filter((op) => /^(subscribe|unsubscribe|leave) team/.test(op)).sort().join('; ')`
	Until(ada, ofTeam, "leave team:launch 1; subscribe team:launch 1")
	ada.Close()
	inUse(t, board, map[string]string{})
	Until(told, `told.at(-1)`, "presence.leave Ada")
}

// A page takes over what a server has rendered, without a client, although its own
// clients are connected by then: React finds no difference, and the hooks go on
// from there.
func TestHydration(t *testing.T) {
	t.Parallel()
	Require(t)
	board := Start(t, "react", "-dir", development(t, "test/hydrate.tsx"))
	p := NewUser(t).Open(board.URL)
	Until(p, `document.getElementById('app').innerText`, "open,open,0,1,0")
	// Each in StrictMode: twice; what a server renders, once.
	const first = "connecting,connecting,0,0,0"
	equal(t, "renders", Eval[[]string](p, `page.renders.slice(0, 3)`), []string{first, first, first})
	equal(t, "faults", Eval[[]string](p, `page.faults`), []string{})
	Eval[any](p, `page.publish({ type: 'say', by: { id: 'ada', name: 'Ada' }, text: 'hello' })`)
	Eval[any](p, `fetch('/api/cards/000001', { method: 'DELETE' })`)
	Until(p, `document.getElementById('app').innerText`, "open,open,1,1,1")
}

// watchPresence returns a page that is not at the board, and lists in told what is
// said of those who are.
func watchPresence(t *testing.T, board *Example) *Page {
	t.Helper()
	p := NewUser(t).Open(board.URL + "shared/icon.svg") // a document of the same origin without a script
	Eval[any](p, `import('/api/maravilla/realtime.js').then(({ RenClient }) => {
		window.told = [];
		window.ren = new RenClient({ subscriptions: ['presence'] });
		ren.on(({ t, data }) => told.push(t + ' ' + data.metadata.name));
	})`)
	Until(p, `ren.state`, "open")
	return p
}

// countOps has a page count in ops what it asks for over its WebSocket.
func countOps(p *Page) {
	p.t.Helper()
	p.RunFirst(`{
		window.ops = {};
		const { send } = WebSocket.prototype;
		WebSocket.prototype.send = function (data) {
			const { op, channel } = JSON.parse(data);
			if (channel) ops[op + ' ' + channel] = (ops[op + ' ' + channel] ?? 0) + 1;
			send.call(this, data);
		};
	}`)
}

// inUse waits until the server knows of these channels and no others, and of these
// members of them.
func inUse(t *testing.T, board *Example, want map[string]string) {
	t.Helper()
	var got string
	if !poll(patience, func() bool {
		answer, err := http.Get(board.URL + "api/live")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var members map[string][]string
		if err := json.NewDecoder(answer.Body).Decode(&members); err != nil {
			t.Fatal(err)
		}
		joined := make(map[string]string)
		for channel, users := range members {
			joined[channel] = strings.Join(users, ",")
		}
		got = fmt.Sprint(joined)
		return got == fmt.Sprint(want)
	}) {
		t.Fatalf("in use: %s, want %v", got, want)
	}
}

func TestBoardScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	board := Start(t, "react")
	ada := join(NewUser(t).Open(board.URL), "Ada Lovelace")
	grace := join(NewUser(t).Open(board.URL), "Grace Hopper")
	kurt := join(NewUser(t).Open(board.URL), "Kurt Gödel")
	Eval[any](kurt, setBusy)
	Until(ada, busyOnes, "Kurt Gödel")
	for _, line := range []struct {
		by   *Page
		text string
	}{
		{grace, "The date is fixed: the 14th."}, {ada, "Good. I write the announcement until noon."},
		{kurt, "On a train. Two tunnels so far, nothing lost."},
	} {
		typeIn(line.by, "#text", line.text+"\r")
		has(ada, texts, line.text)
	}
	Eval[any](grace, `document.querySelectorAll('.signs button')[1].click()`)
	has(ada, texts, "★")
	addCard(ada, "Order a cake")
	addCard(kurt, "Prove that the board is complete")
	Eval[any](kurt, card("Try it on a train")+`.querySelector('input').click()`)
	Until(ada, finished, "Kurt Gödel has finished “Try it on a train”")
	has(ada, cards, "Prove that the board is complete")
	Until(ada, names, "Ada Lovelace,Grace Hopper,Kurt Gödel")
	Eval[any](ada, `document.activeElement.blur()`)
	pictures(ada, "react")
}
