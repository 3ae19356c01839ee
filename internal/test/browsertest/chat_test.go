package browsertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime/internal/test/faultproxy"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// Two people write to each other in all ways there are; each sees everything
// once, in the same order, and knows what is their own.
func TestTwoUsers(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := NewUser(t).Open(chat.URL + "#two")
	typeIn(ada, "#name", "Ada\r") // as a person does, once
	ready(ada, "Ada")
	grace := join(NewUser(t).Open(chat.URL+"#two"), "Grace")
	has(ada, notes, "Grace joined")

	html := `<img src=x onerror="console.error('run')"><b>not bold</b>`
	lines := []string{"hello from Ada", "hello from Grace", "Ada by the server", "Grace by the server", html}
	typeIn(ada, "#text", lines[0]+"\r")
	has(grace, texts, lines[0])
	say(grace, lines[1], "websocket")
	has(ada, texts, lines[1])
	say(ada, lines[2], "server")
	has(grace, texts, lines[2])
	say(grace, lines[3], "server")
	has(ada, texts, lines[3])
	say(ada, lines[4], "websocket")
	for p, own := range map[*Page][]string{ada: {lines[0], lines[2], html}, grace: {lines[1], lines[3]}} {
		has(p, texts, html)
		has(p, renTexts, html)
		equal(t, "messages", Eval[[]string](p, texts), lines)
		equal(t, "messages in REN", Eval[[]string](p, renTexts), lines)
		equal(t, "own messages", Eval[[]string](p, ownTexts(p)), own)
		equal(t, "own messages in REN", Eval[[]string](p, ownEvents), own)
		equal(t, "messages marked as own", Eval[[]string](p, `[...document.querySelectorAll('.mine .text')].map((e) => e.textContent)`), own)
	}
	if n := Eval[int](grace, `document.querySelectorAll('#messages b:not(.by b), #messages img').length`); n != 0 {
		t.Errorf("%d elements were made of a user's text", n)
	}
}

// ownEvents are the messages whose REN events the page took for its own.
const ownEvents = `[...document.querySelectorAll('#events [data-type="realtime.message"][data-own="true"] code')].map((e) => JSON.parse(e.textContent).data.text)`

// ownTexts are the messages that came over the WebSocket as the page's own.
func ownTexts(p *Page) string {
	p.t.Helper()
	return fmt.Sprintf(`[...document.querySelectorAll('#messages [data-from=%s] .text')].map((e) => e.textContent)`,
		quote(Eval[string](p, clientID)))
}

func typeIn(p *Page, selector, text string) {
	p.t.Helper()
	p.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// A write to the data on the server reaches all who show it, as an event that
// says what was written, and to its author that it is the own one.
func TestDataWrite(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := join(NewUser(t).Open(chat.URL+"#data"), "Ada")
	grace := join(NewUser(t).Open(chat.URL+"#data"), "Grace")
	setTopic(ada, "What we talk about")
	Until(grace, `document.getElementById('topic').value`, "What we talk about")
	const event = `document.querySelector('#events [data-type="kv.put"]')`
	Until(ada, event+`?.dataset.own`, "true")
	Until(grace, event+`?.dataset.own`, "false")
	Until(grace, event+`.querySelector('code').textContent`, `{"k":"topic:data","ns":"chat"}`)

	late := join(NewUser(t).Open(chat.URL+"#data"), "Linus")
	Until(late, `document.getElementById('topic').value`, "What we talk about")
}

// A room is entered by its address, and left for another.
func TestRooms(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := join(NewUser(t).Open(chat.URL), "Ada")
	grace := join(NewUser(t).Open(chat.URL+"#lobby"), "Grace")
	Until(ada, names, "Ada,Grace")
	Eval[any](grace, `void (location.hash = 'a%20b')`)
	Until(ada, names, "Ada")
	Until(grace, names, "Grace")
	chat.Say("lobby", "in the lobby")
	chat.Say("a b", "elsewhere")
	has(grace, texts, "elsewhere")
	has(ada, texts, "in the lobby")
	equal(t, "Grace reads", Eval[[]string](grace, texts), []string{"elsewhere"})
	equal(t, "Ada reads", Eval[[]string](ada, texts), []string{"in the lobby"})
}

// The roster is of people, not of tabs: a second tab and a reload are nothing to
// others, the end of the last tab is. A reload that takes longer than the grace is
// none of those meant; then the grace is too short for the machine.
func TestRoster(t *testing.T) {
	t.Parallel()
	Require(t)
	for slower := pace.Factor(); slower < 50*pace.Factor(); slower *= 3 {
		if testRoster(t, slower) {
			return
		}
	}
	t.Fatal("no reload is faster than the grace")
}

// testRoster reports whether the reload took less than the grace of an orderly
// close; otherwise nothing is shown by it.
func testRoster(t *testing.T, slower float64) (shown bool) {
	chat := StartChatSlower(t, slower)
	user := NewUser(t)
	ada := join(user.Open(chat.URL), "Ada")
	grace := join(NewUser(t).Open(chat.URL), "Grace")
	Until(ada, names, "Ada,Grace")
	Until(grace, names, "Ada,Grace")

	second := user.Open(chat.URL)
	ready(second, "Ada") // it is not asked for a name again
	Until(second, names, "Ada,Grace")
	second.Close()
	if !reload(chat, ada, grace) {
		return false
	}
	equal(t, "before the last tab closed, Grace was told", Eval[[]string](grace, notes), nil)
	Until(grace, names, "Ada,Grace")

	ada.Close()
	leaves(chat.Example, 3*time.Second, grace, names, "Grace")
	equal(t, "Grace was told", Eval[[]string](grace, notes), []string{"Ada left"})
	Until(grace, reasons+`.split(',').at(-1)`, "closed")
	return true
}

// reload reloads Ada's page, waits until the grace has passed and what Grace would
// be told of that has come, and reports whether Ada was back within the grace.
func reload(chat *Chat, ada, grace *Page) bool {
	ada.t.Helper()
	left := chat.Slow(3 * time.Second)
	ada.Do(chromedp.Reload())
	ready(ada, "Ada")
	took := Eval[float64](ada, `performance.now()`) // since before the old page closed
	if took > float64(left.Milliseconds()) {
		return false
	}
	end := took + float64(left.Milliseconds()) + 500
	UntilIn(ada, patience+left, fmt.Sprintf(`performance.now() > %f`, end), true)
	say(ada, "reloaded", "websocket")
	has(grace, texts, "reloaded")
	return true
}

// leaves waits until a page shows that somebody has left, which an example
// usually says after a grace.
func leaves(e *Example, grace time.Duration, p *Page, js, want string) {
	p.t.Helper()
	UntilIn(p, patience+e.Slow(grace), js, want)
}

// reasons tells why members left, as REN has it.
const reasons = `[...document.querySelectorAll('#events [data-type="presence.leave"] code')].map((e) => JSON.parse(e.textContent).data.reason).join()`

// A user whose connection breaks and does not come back leaves, and joins when
// it does.
func TestRosterDrop(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	grace := join(NewUser(t).Open(chat.URL), "Grace")
	proxy := faultproxy.New(t, chat.Addr)
	ada := join(NewUser(t).OpenFaulty(proxy.URL), "Ada")
	Until(grace, names, "Ada,Grace")
	proxy.Refuse()
	proxy.Cut(true)
	leaves(chat.Example, 15*time.Second, grace, names, "Grace")
	Until(grace, reasons, "timeout")
	proxy.Listen()
	// The SDK waits up to 15 s by now, unless it hears that the network is back.
	Eval[any](ada, `void dispatchEvent(new Event('online'))`)
	Until(grace, names, "Ada,Grace")
	Until(ada, names, "Ada,Grace")
	equal(t, "Grace was told", Eval[[]string](grace, notes), []string{"Ada joined", "Ada left", "Ada joined"})
}

// The picture of the README. It is made by each run, so that a page that looks
// wrong can be seen in what CI keeps; -update renews the one in docs.
func TestScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := join(NewUser(t).Open(chat.URL+"#launch"), "Ada Lovelace")
	grace := join(NewUser(t).Open(chat.URL+"#launch"), "Grace Hopper")
	for i, line := range []struct {
		by        *Page
		text, via string
	}{
		{grace, "Morning! The release notes are up for review.", "websocket"},
		{ada, "Reading them now. Did the soak test finish?", "websocket"},
		{grace, "It did, an hour ago, and all is green.", "websocket"},
		{grace, "I even pulled the plug a few times. You would not have noticed.", "websocket"},
		{ada, "Then let's ship it!", "server"},
	} {
		if i == 3 {
			setTopic(grace, "Release day: 14:00 UTC")
			Until(ada, `document.getElementById('topic').value`, "Release day: 14:00 UTC")
		}
		say(line.by, line.text, line.via)
		has(ada, texts, line.text)
		has(ada, renTexts, line.text)
	}
	Until(ada, names, "Ada Lovelace,Grace Hopper")
	out := picture(ada, "chat.png")
	if *update {
		write(t, filepath.Join("..", "..", "..", "docs", "chat.png"), out)
	}
	Until(ada, `[...document.querySelectorAll('#messages, #events')].every((e) => e.scrollTop + e.clientHeight >= e.scrollHeight - 1)`, true)
	dark(ada)
	picture(ada, "chat-dark.png")
	phone(ada)
	picture(ada, "chat-phone.png")
}

// phone shows a page on a small screen, where nothing may stick out.
func phone(p *Page) {
	p.t.Helper()
	p.Do(chromedp.EmulateViewport(390, 844))
	Until(p, `document.documentElement.scrollWidth <= innerWidth`, true)
}

// picture saves what a page looks like.
func picture(p *Page, name string) []byte {
	p.t.Helper()
	png := run(p, chromedp.CaptureScreenshot())
	if err := os.MkdirAll("out", 0o755); err != nil {
		p.t.Fatal(err)
	}
	write(p.t, filepath.Join("out", name), png)
	return png
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A visitor who presses Esc is asked again, as nobody is in the room without a
// name. One whom the server did not let in can try again.
func TestFirstJoin(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	ada := NewUser(t).Open(chat.URL)
	const asked = `document.getElementById('welcome').open`
	Until(ada, asked, true)
	for range 2 { // browsers let nobody be held by a dialog that refuses once
		ada.Do(chromedp.KeyEvent("\x1b"))
		Until(ada, asked, true)
	}
	call := func(name string) {
		Eval[any](ada, fmt.Sprintf(`void (document.getElementById('name').value = %s, document.getElementById('enter').click())`, quote(name)))
	}
	call(strings.Repeat("long", 300)) // than which the metadata of a member may not be
	Until(ada, notes+`.some((note) => note.startsWith('You could not join'))`, true)
	Eval[any](ada, `document.getElementById('me').click()`)
	call("Ada")
	ready(ada, "Ada")
}

// Who comes later sees the last fifty messages, and older ones by scrolling up, each once
// and in order, until the room begins.
func TestOlderMessages(t *testing.T) {
	t.Parallel()
	Require(t)
	chat := StartChat(t)
	var lines []string
	for i := range 120 {
		lines = append(lines, fmt.Sprintf("line %d", i))
		chat.Say("older", lines[i])
	}
	ada := join(NewUser(t).Open(chat.URL+"#older"), "Ada")
	Until(ada, texts+".length", 50)
	equal(t, "the last fifty", Eval[[]string](ada, texts), lines[70:])
	say(ada, "hello", "websocket")
	has(ada, texts, "hello")
	lines = append(lines, "hello")
	for n := 50; n < 120; {
		n = min(n+50, 120)
		Eval[any](ada, `document.getElementById('messages').scrollTop = 0`)
		Until(ada, texts+".length", n+1)
		equal(t, "with older ones", Eval[[]string](ada, texts), lines[120-n:])
	}
	has(ada, notes, "The room begins here")
	if top := Eval[float64](ada, `document.getElementById('messages').scrollTop`); top < 100 {
		t.Errorf("the reader is taken from what was read to %v", top)
	}
}
