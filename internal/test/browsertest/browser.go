package browsertest

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// patience is how long tests wait for what has to come, at the machine's pace.
const patience = time.Minute

const missing = "no browser: apt-get install chromium, or set REALTIME_BROWSER"

// Require returns the path of a browser. Without one it skips the test, or fails
// it where REALTIME_REQUIRE_BROWSER=1 says that there has to be one.
func Require(t testing.TB) string {
	t.Helper()
	for _, name := range []string{os.Getenv("REALTIME_BROWSER"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("REALTIME_REQUIRE_BROWSER") == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// shared is the one browser of the test binary, started by the first test that
// needs it.
var shared struct {
	once sync.Once
	ctx  context.Context
	err  error
}

func browser(t testing.TB) context.Context {
	t.Helper()
	path := Require(t)
	shared.once.Do(func() {
		ctx, _ := chromedp.NewExecAllocator(context.Background(), flags(path)...)
		shared.ctx, _ = chromedp.NewContext(ctx) // ends with closeBrowser
		shared.err = chromedp.Do(shared.ctx)
	})
	if shared.err != nil {
		t.Fatalf("start %s: %v", path, shared.err)
	}
	return shared.ctx
}

// flags make a browser that runs anywhere, without dialogs, and treats pages in the
// foreground and in the background alike. The profile is a temporary directory.
func flags(path string) []chromedp.ExecAllocatorOption {
	return append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // containers have no user namespaces
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1200, 750),
		chromedp.WSURLReadTimeout(pace.Slow(patience)),
	)
}

// closeBrowser ends the browser, if one was started.
func closeBrowser() error {
	if shared.ctx == nil {
		return nil
	}
	ctx, cancel := pace.WithTimeout(shared.ctx, patience)
	defer cancel()
	return chromedp.Cancel(ctx)
}

// User is an isolated browser context: own cookies, own storage, as if it were
// another person's browser.
type User struct {
	t   testing.TB
	ctx context.Context
}

// NewUser returns another person's browser, which ends with the test.
func NewUser(t testing.TB) *User {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("new browser context: %v", err)
	}
	return &User{t, ctx}
}

// Page is a tab. What goes wrong in it, uncaught errors and console.error, fails
// the test.
type Page struct {
	t       testing.TB
	ctx     context.Context
	cancel  context.CancelFunc
	console console
	crashed atomic.Bool
}

// Open opens a tab.
func (u *User) Open(url string) *Page {
	u.t.Helper()
	p := u.blank(false)
	p.Go(url)
	return p
}

// OpenFaulty opens a tab whose network is going to fail: what the browser itself
// then says in the console is expected, what the page says is not.
func (u *User) OpenFaulty(url string) *Page {
	u.t.Helper()
	p := u.blank(true)
	p.Go(url)
	return p
}

func (u *User) blank(faulty bool) *Page {
	u.t.Helper()
	ctx, cancel := chromedp.NewContext(u.ctx)
	p := &Page{t: u.t, ctx: ctx, cancel: cancel}
	p.Do(chromedp.EmulateViewport(1200, 750))
	p.console.watch(ctx)
	u.t.Cleanup(func() {
		p.Close()
		for _, m := range p.console.faults(faulty) {
			u.t.Errorf("console: %s (%s)", m, m.URL)
		}
	})
	return p
}

// Close closes the tab the way a user does.
func (p *Page) Close() {
	if p.ctx.Err() != nil {
		return
	}
	if tab := chromedp.FromContext(p.ctx); tab.Target != nil {
		ctx, cancel := pace.WithTimeout(p.ctx, patience)
		defer cancel()
		closing := target.CloseTargetParams{TargetID: tab.Target.TargetID}
		if _, err := cdp.Call(ctx, tab.Browser, target.CloseTarget, closing); err != nil && !p.crashed.Load() {
			p.t.Errorf("close a tab: %v", err)
		}
	}
	p.cancel() // the driver forgets the tab; left to itself, it would give up closing it after 5 s
	p.console.reading.Wait()
}

// Go loads an address.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.Do(chromedp.Navigate(url))
}

// RunFirst has JavaScript run in each document that the tab loads from now on, before the
// document's own scripts.
func (p *Page) RunFirst(js string) {
	p.t.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: js})
		return err
	}))
}

// Do runs actions, with patience for each.
func (p *Page) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	run(p, chromedp.Steps(actions...))
}

func run[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	v, err := try(p, action)
	if err != nil {
		p.t.Fatalf("browser: %v", err)
	}
	return v
}

func try[T any](p *Page, action chromedp.Action[T]) (v T, err error) {
	// The first run of a context opens the tab, which lives as long as the context of
	// that run.
	if chromedp.FromContext(p.ctx).Target == nil {
		if err := chromedp.Do(p.ctx); err != nil {
			return v, err
		}
	}
	ctx, cancel := pace.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// Eval evaluates JavaScript, awaits it, and decodes what it gives.
func Eval[T any](p *Page, js string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
}

// Until polls JavaScript in the page until it gives want.
func Until[T comparable](p *Page, js string, want T) {
	p.t.Helper()
	UntilIn(p, patience, js, want)
}

// UntilIn is Until with a limit of its own.
func UntilIn[T comparable](p *Page, limit time.Duration, js string, want T) {
	p.t.Helper()
	var got T
	var err error
	if !poll(limit, func() bool {
		// It fails while the page is on its way to another.
		got, err = try(p, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
		return err == nil && got == want
	}) {
		p.t.Fatalf("%s: got %v (error %v), want %v, for %v at the machine's pace", js, got, err, want, limit)
	}
}

// poll asks until the answer is yes, or limit has passed at the machine's pace.
func poll(limit time.Duration, ask func() bool) bool {
	return pace.Poll(limit, 40*time.Millisecond, ask)
}

// dark shows a page to a user who prefers dark colours.
func dark(p *Page) {
	p.t.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
		return err
	}))
}

// console collects what a tab writes to its console.
type console struct {
	reading  sync.WaitGroup
	mu       sync.Mutex
	messages []chromedp.ConsoleMessage
	refusals string // path whose refusals are part of the test
}

// expect takes what the browser says of refused requests to a path for no fault.
func (c *console) expect(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals = path
}

func (c *console) watch(ctx context.Context) {
	messages := chromedp.Console(ctx)
	c.reading.Go(func() {
		for m, err := range messages {
			if err != nil {
				return // the tab is closed
			}
			c.mu.Lock()
			c.messages = append(c.messages, m)
			c.mu.Unlock()
		}
	})
}

// faults lists what must not be there.
func (c *console) faults(network bool) (found []chromedp.ConsoleMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.messages {
		// Browsers ask for an icon where a document names none.
		if strings.HasSuffix(m.URL, "/favicon.ico") || network && ofNetwork(m) ||
			c.refusals != "" && m.Source == "network" && strings.Contains(m.URL, c.refusals) {
			continue
		}
		if m.IsException() || m.Type == chromedp.ConsoleError {
			found = append(found, m)
		}
	}
	return found
}

// ofNetwork reports whether the browser, not the page, complains of the network.
func ofNetwork(m chromedp.ConsoleMessage) bool {
	return m.Source == "network" || m.Source != "" &&
		(strings.HasPrefix(m.Text, "WebSocket connection to ") || strings.HasPrefix(m.Text, "Unsafe attempt to load URL ")) // a redirect to another origin
}

// saw tells whether the browser complained of a request to a path with an error.
func (c *console) saw(failure, path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.messages, func(m chromedp.ConsoleMessage) bool {
		return strings.Contains(m.Text, failure) && (strings.Contains(m.URL, path) || strings.Contains(m.Text, path))
	})
}

// dump logs a console, for tests that failed.
func (c *console) dump(t testing.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.messages {
		t.Logf("console: [%s] %s %s", m.Source, m, m.URL)
	}
}
