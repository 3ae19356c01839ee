package browsertest

import (
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// frameScript opens frames in a page and says which ids the page and they have:
// two of the app's own address, one without an address, and a worker of a blob.
const frameScript = `(async () => {
	const add = (set) => new Promise((done) => {
		const frame = document.createElement('iframe');
		set(frame);
		frame.onload = () => done(frame);
		document.body.append(frame);
	});
	const until = async (is) => { while (!is()) await new Promise((done) => setTimeout(done, 20)); };
	const ids = [id];
	for (let i = 0; i < 2; i++) {
		const frame = await add((frame) => (frame.src = '/?alone'));
		await until(() => frame.contentWindow.live);
		ids.push(frame.contentWindow.id);
	}
	const bare = await add((frame) => (frame.srcdoc = '<script type=module>' +
		'import { RenClient, RealtimeClient, getOrCreateClientId } from "' + location.origin + '/api/maravilla/realtime.js";' +
		'window.ren = new RenClient(); window.rt = new RealtimeClient(); rt.connect(); window.id = getOrCreateClientId();</' + 'script>'));
	await until(() => bare.contentWindow.ren?.state === 'open' && bare.contentWindow.rt.state === 'open');
	ids.push(bare.contentWindow.id);
	const code = 'import("' + location.origin + '/api/maravilla/realtime.js").then(({ RenClient, renFetch }) => {' +
		'new RenClient().onState((state) => state === "open" && renFetch("/other").then(({ ok }) => postMessage(ok))); })';
	const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })));
	const ok = await new Promise((done) => (worker.onmessage = ({ data }) => done(data)));
	worker.terminate();
	return ok ? ids : [];
})()`

// A page and its frames, which share one sessionStorage, have an id each; a reload
// keeps them, and a copy of the tab has its own. Frames and workers that have no
// address of their own find the server. An element's event is not the page's.
func TestFrames(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	user := NewUser(t)
	tab := user.Open(app.URL)
	live(tab)
	ids := Eval[[]string](tab, frameScript)
	unique := func(ids ...string) bool {
		ids = slices.Sorted(slices.Values(ids))
		return len(slices.Compact(ids)) == len(ids)
	}
	if len(ids) != 4 || !unique(ids...) {
		t.Fatalf("ids are %v, want four", ids)
	}

	tab.Do(chromedp.Reload())
	live(tab)
	if again := Eval[[]string](tab, frameScript); !slices.Equal(again, ids) {
		t.Errorf("after a reload ids are %v, want %v", again, ids)
	}

	Eval[any](tab, `void document.querySelector('iframe').remove()`) // whose id stands in what a copy begins with
	Eval[any](tab, `void (window.copy = open(location.href))`)
	Until(tab, `copy.live`, true)
	copied := Eval[[]string](tab, `copy.eval(`+"`"+frameScript+"`"+`)`)
	next := Eval[string](tab, `new Promise((done) => {
		const frame = document.createElement('iframe');
		frame.src = '/?alone';
		document.body.prepend(frame);
		const look = setInterval(() => frame.contentWindow.id && (clearInterval(look), done(frame.contentWindow.id)), 20);
	})`)
	if all := append(append([]string{next}, ids[0], ids[2], ids[3]), copied...); !unique(all...) {
		t.Errorf("ids of two tabs are %v, want different ones", all)
	}

	Eval[any](tab, `void ['freeze', 'pagehide'].forEach((type) => {
		document.body.dispatchEvent(new Event(type, { bubbles: true }));
		document.body.dispatchEvent(new CustomEvent(type, { bubbles: true }));
		document.dispatchEvent(new CustomEvent(type));
	})`)
	if state := Eval[string](tab, `ren.state + rt.state`); state != "openopen" {
		t.Errorf("after events of an element the clients are %s", state)
	}
}
