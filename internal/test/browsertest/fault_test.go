package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Connections break again and again while everybody goes on talking. Afterwards
// the page has each message once, in the order that all others have, on both of
// its streams; also what it sent itself.
func TestCuts(t *testing.T) {
	t.Parallel()
	Require(t)
	for name, cut := range map[string]func(*testing.T, *faultproxy.Proxy){
		"RST":   func(t *testing.T, p *faultproxy.Proxy) { mustCut(t, p, true) },
		"FIN":   func(t *testing.T, p *faultproxy.Proxy) { mustCut(t, p, false) },
		"stall": func(t *testing.T, p *faultproxy.Proxy) { stallAndCut(t, p, false) },
		// What the page sends arrives, but not the answers, so it sends it again.
		"deaf": func(t *testing.T, p *faultproxy.Proxy) { stallAndCut(t, p, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCuts(t, cut)
		})
	}
}

func mustCut(t *testing.T, p *faultproxy.Proxy, rst bool) {
	t.Helper()
	if n := p.Cut(rst); n < 2 {
		t.Fatalf("%d connections were there to be cut, want one of each stream", n)
	}
}

// usually is how long pages and the robot wait between two messages, least how many
// each of them sends for each cut, and most how many in all: few enough for a page,
// which keeps 1,000 lines, to have all at the end.
const (
	usually = 250 * time.Millisecond
	least   = 4
	most    = 250
)

// stallAndCut has connections break after a silence. What was sent into it is
// lost with them.
func stallAndCut(t *testing.T, p *faultproxy.Proxy, deaf bool) {
	t.Helper()
	resume := p.Stall(deaf)
	defer resume()
	time.Sleep(3 * pace.Slow(usually))
	mustCut(t, p, true)
}

func testCuts(t *testing.T, cut func(*testing.T, *faultproxy.Proxy)) {
	chat := StartChatSlower(t, patient)
	proxy := faultproxy.New(t, chat.Addr)
	ada := join(NewUser(t).OpenFaulty(proxy.URL), "Ada")
	grace := join(NewUser(t).Open(chat.URL), "Grace")
	countOpens(ada)
	between := pace.Slow(usually)
	talk(ada, "Ada", between)
	talk(grace, "Grace", between)
	robot, said := 0, time.Now()
	for n := 1; n <= 3; n++ {
		before := Eval[[]int](ada, opens)
		cut(t, proxy)
		if !poll(patience, func() bool {
			if time.Since(said) > between && robot < most {
				robot, said = robot+1, time.Now()
				chat.Say("lobby", fmt.Sprint("Robot ", robot))
			}
			back := fmt.Sprintf("%s && %s.every((n, i) => n > [%d, %d][i])", open, opens, before[0], before[1])
			return Eval[bool](ada, fmt.Sprintf("%s && said() >= %d", back, least*n)) && Eval[int](grace, "said()") >= least*n && robot >= least*n
		}) {
			t.Fatalf("after cut %d the page did not come back", n)
		}
	}
	sent := map[string]int{"Ada": hush(ada), "Grace": hush(grace), "Robot": robot}
	chat.Say("lobby", "end")
	has(grace, texts, "end")
	has(ada, texts, "end")
	has(ada, renTexts, "end")

	order := Eval[[]string](grace, texts)
	equal(t, "Ada reads in the channel", Eval[[]string](ada, texts), order)
	equal(t, "Ada reads in REN", Eval[[]string](ada, renTexts), order)
	for who, n := range sent {
		equal(t, who+"'s messages", by(who, order), numbered(who, n))
	}
	equal(t, "Ada took for her own in REN", Eval[[]string](ada, ownEvents), numbered("Ada", sent["Ada"]))
	Until(ada, names, "Ada,Grace")
	equal(t, "Ada was told", Eval[[]string](ada, notes), []string{"Grace joined"})
	equal(t, "Grace was told", Eval[[]string](grace, notes), nil)
	t.Logf("%d messages, %v", len(order), sent)
}

// opens is how often both streams of a page have opened since countOpens.
const opens = `Object.values(window.opens)`

// countOpens has the page count how often its streams have opened from now on.
func countOpens(p *Page) {
	p.t.Helper()
	Eval[any](p, `{
		window.opens = { 'ws-state': 0, 'ren-state': 0 };
		const seen = new MutationObserver((records) => {
			for (const { target } of records) if (target.dataset.state === 'open') opens[target.id]++;
		});
		for (const id in opens) seen.observe(document.getElementById(id), { attributeFilter: ['data-state'] });
	}`)
}

// talk has a page send numbered messages until hush.
func talk(p *Page, name string, between time.Duration) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`{
		let n = 0;
		const timer = setInterval(() => {
			if (n === %d) return;
			document.getElementById('text').value = %s + ' ' + ++n;
			document.getElementById('composer').requestSubmit();
		}, %d);
		window.said = () => n;
		window.hush = () => (clearInterval(timer), n);
	}`, most, quote(name), between.Milliseconds()))
}

// hush ends talk, waits until all is said, and tells how many it were.
func hush(p *Page) int {
	p.t.Helper()
	n := Eval[int](p, `hush()`)
	has(p, texts, Eval[string](p, `document.getElementById('me').textContent`)+fmt.Sprint(" ", n))
	return n
}

func numbered(who string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(who, " ", i+1))
	}
	return list
}

func by(who string, texts []string) (list []string) {
	for _, text := range texts {
		if strings.HasPrefix(text, who+" ") {
			list = append(list, text)
		}
	}
	return list
}

// A server that is away for a while, in all the ways servers are, is found again
// without help, and nothing is lost.
func TestOutage(t *testing.T) {
	t.Parallel()
	Require(t)
	const login = "<!doctype html><title>Log in</title>"
	for name, answer := range map[string]string{
		"refused": "",
		"503":     "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"204":     "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTML": fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s",
			len(login), login),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testOutage(t, answer)
		})
	}
}

func testOutage(t *testing.T, answer string) {
	chat := StartChat(t)
	proxy := faultproxy.New(t, chat.Addr)
	ada := join(NewUser(t).OpenFaulty(proxy.URL), "Ada")
	want := []string{"before", "while away 1", "while away 2", "from the dark", "after"}
	chat.Say("lobby", want[0])
	has(ada, texts, want[0])
	has(ada, renTexts, want[0])

	begin(proxy, answer)
	tried := func(path string) bool {
		if answer == "" {
			return ada.console.saw("ERR_CONNECTION_REFUSED", path)
		}
		return proxy.Asked(path) > 0
	}
	Until(ada, open, false)
	chat.Say("lobby", want[1])
	say(ada, want[3], "websocket")
	if !poll(patience, func() bool { return tried("/api/maravilla/ren") && tried("/api/maravilla/realtime") }) {
		ada.console.dump(t)
		t.Fatal("the page did not try to come back with both its streams")
	}
	chat.Say("lobby", want[2])
	end(proxy, answer)

	Until(ada, open, true)
	has(ada, texts, want[3])
	chat.Say("lobby", want[4])
	has(ada, texts, want[4])
	has(ada, renTexts, want[4])
	equal(t, "messages", Eval[[]string](ada, texts), want)
	equal(t, "messages in REN", Eval[[]string](ada, renTexts), want)
	equal(t, "Ada was told", Eval[[]string](ada, notes), nil)
}

// begin begins an outage; end ends it. No answer means that nobody listens.
func begin(p *faultproxy.Proxy, answer string) {
	if answer == "" {
		p.Refuse()
	}
	p.Answer(answer)
	p.Cut(true)
}

func end(p *faultproxy.Proxy, answer string) {
	p.Answer("")
	if answer == "" {
		p.Listen()
	}
}

// A server that restarts has forgotten what was said. The page says so instead of
// pretending, and goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	proxy := faultproxy.New(t, chat.Addr)
	ada := join(NewUser(t).OpenFaulty(proxy.URL), "Ada")
	grace := join(NewUser(t).OpenFaulty(proxy.URL), "Grace")
	say(ada, "before", "websocket")
	has(grace, texts, "before")
	Until(ada, names, "Ada,Grace")

	chat.Stop()
	next := StartChat(t)
	proxy.SetTarget(next.Addr)
	for _, p := range []*Page{ada, grace} {
		UntilIn(p, patience+next.Slow(15*time.Second), open, true) // after the longest back-off
		Until(p, names, "Ada,Grace")
		Until(p, `document.querySelectorAll('#messages .reset').length`, 1)
		Until(p, `document.querySelectorAll('#events .reset').length`, 1)
	}
	say(grace, "after", "websocket")
	for _, p := range []*Page{ada, grace} {
		has(p, renTexts, "after")
		has(p, texts, "after")
		equal(t, "messages", Eval[[]string](p, texts), []string{"before", "after"})
	}
}

// A page that the user leaves and goes back to, which the browser keeps frozen in
// the meantime, goes on where it was.
func TestBackForward(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := join(NewUser(t).Open(chat.URL), "Ada")
	grace := join(NewUser(t).Open(chat.URL), "Grace")
	chat.Say("lobby", "before")
	has(ada, texts, "before")
	has(ada, renTexts, "before")
	Until(ada, names, "Ada,Grace")

	Eval[any](ada, `void (window.kept = true, setTimeout(() => (location.href = '/shared/icon.svg')))`)
	Until(ada, `location.pathname`, "/shared/icon.svg")
	Until(grace, names, "Grace") // Ada is not there while she is away
	chat.Say("lobby", "while away")
	Eval[any](ada, `void setTimeout(() => history.back())`)
	Until(ada, `location.pathname + window.kept`, "/true")
	ready(ada, "Ada")
	chat.Say("lobby", "after")
	want := []string{"before", "while away", "after"}
	has(ada, texts, "after")
	has(ada, renTexts, "after")
	equal(t, "messages", Eval[[]string](ada, texts), want)
	equal(t, "messages in REN", Eval[[]string](ada, renTexts), want)
	Until(grace, names, "Ada,Grace")
	equal(t, "Grace was told", Eval[[]string](grace, notes), []string{"Ada left", "Ada joined"})
}
