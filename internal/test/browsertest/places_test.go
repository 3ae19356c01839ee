package browsertest

import (
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime/storage"
)

// placeScript is run in each place: it says what comes of all that goes to an address
// by default.
//
//go:embed place.js
var placeScript string

// servePlaces gives the app what the places need: a storage handler, the script of a
// place by its name, and the SDK for pages whose origin is nobody's.
func servePlaces(t *testing.T, app *App) {
	t.Helper()
	dir, err := storage.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() }) // nothing was to be kept
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	app.Mux.Handle("/api/storage/", storage.Handler(app.rt, storage.New(app.rt, dir, nil), &storage.HandlerOptions{Logger: logger}))
	app.Mux.HandleFunc("/place.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = io.WriteString(w, place(app, r.FormValue("name"))) // the browser has gone
	})
	app.Mux.HandleFunc("/place.html", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!doctype html><script type=module src="/place.js?name=%s"></script>`, url.QueryEscape(r.FormValue("name")))
	})
	app.Mux.HandleFunc("/sdk.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		r.URL.Path = "/api/maravilla/realtime.js"
		app.rt.Handler().ServeHTTP(w, r)
	})
}

// place is the script of a place, which may have no address of its own.
func place(app *App, name string) string {
	return strings.NewReplacer("{app}", app.URL, "{name}", name).Replace(placeScript)
}

// Pages and workers of every kind reach their own server by default, each with a
// client id of its own. Those whose origin is opaque, and whose storage is forbidden,
// are told so at once.
func TestPlaces(t *testing.T) {
	t.Parallel()
	Require(t)
	app := StartApp(t)
	servePlaces(t, app)
	tab := NewUser(t).Open(app.URL)
	live(tab)
	own := []string{
		"blank page", "srcdoc", "nested", "blob page", "sandbox of the same origin",
		"blob worker", "blob module", "worker", "shared worker", "service worker",
	}
	opaque := []string{"data page", "sandbox", "sandboxed srcdoc", "data worker"}
	Eval[any](tab, fmt.Sprintf(`(%s)(%q)`, openPlaces, app.URL))
	Until(tab, `Object.keys(said).length`, len(own)+len(opaque))
	said := Eval[map[string]string](tab, `said`)
	before := Eval[string](tab, "id")
	ids := map[string]string{before: "page"}
	for _, name := range own {
		id, ok := strings.CutPrefix(said[name], "works as ")
		if !ok {
			t.Errorf("%s: %q", name, said[name])
		} else if other := ids[id]; other != "" {
			t.Errorf("%s has the id of %s", name, other)
		}
		ids[id] = name
	}
	for _, name := range opaque {
		var want []string
		for _, address := range []string{"maravilla/ren", "maravilla/realtime", "storage/upload?path=" + url.PathEscape(name)} {
			want = append(want, "TypeError: not absolute: /api/"+address)
		}
		if got := said[name]; got != strings.Join(want, ", ") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	tab.Do(chromedp.Reload())
	live(tab)
	if id := Eval[string](tab, "id"); id != before {
		t.Errorf("after a reload the page's id is %s, want %s", id, before)
	}
}

// openPlaces opens all places, and collects what each says.
const openPlaces = `async (app) => {
	window.said = {};
	window.told = new BroadcastChannel('said');
	told.onmessage = window.onmessage = ({ data }) => (said[data.name] = data.what);
	const source = (name) => app + 'place.js?name=' + encodeURIComponent(name);
	const html = (name) => '<!doctype html><script type=module src="' + source(name) + '"></' + 'script>';
	const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));
	const add = (set, to = document) => {
		const frame = to.createElement('iframe');
		set(frame);
		to.body.append(frame);
		return frame;
	};
	const script = ({ contentDocument: to }, name) => {
		const made = to.createElement('script');
		made.type = 'module';
		made.src = source(name);
		to.head.append(made);
	};
	const blank = add(() => {});
	script(blank, 'blank page');
	add((frame) => (frame.srcdoc = html('srcdoc')));
	add((frame) => (frame.srcdoc = html('nested')), blank.contentDocument);
	add((frame) => (frame.src = blob(html('blob page'), 'text/html')));
	add((frame) => {
		frame.sandbox = 'allow-scripts allow-same-origin';
		frame.srcdoc = html('sandbox of the same origin');
	});
	add((frame) => (frame.src = 'data:text/html,' + encodeURIComponent(html('data page'))));
	add((frame) => {
		frame.sandbox = 'allow-scripts';
		frame.srcdoc = html('sandboxed srcdoc');
	});
	add((frame) => {
		frame.sandbox = 'allow-scripts';
		frame.src = '/place.html?name=sandbox';
	});
	const workers = [new Worker(blob('import("' + source('blob worker') + '")', 'text/javascript'))];
	const text = await (await fetch(source('blob module'))).text();
	workers.push(new Worker(blob('URL.revokeObjectURL(import.meta.url);' + text, 'text/javascript'), { type: 'module' }));
	workers.push(new Worker(source('worker'), { type: 'module' }));
	workers.push(new Worker('data:text/javascript,' + encodeURIComponent(text.replaceAll('blob module', 'data worker')), { type: 'module' }));
	for (const worker of workers) worker.onmessage = told.onmessage;
	new SharedWorker(source('shared worker'), { type: 'module' });
	await navigator.serviceWorker.register(source('service worker'), { type: 'module' });
}`
