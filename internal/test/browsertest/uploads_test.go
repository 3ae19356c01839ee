package browsertest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// What the tests know of the gallery's page.
const (
	pictureNames = `[...document.querySelectorAll('.card')].map((e) => e.dataset.name).join()`
	underWay     = `[...document.querySelectorAll('#under-way li')].map((e) => e.querySelector('.badge').textContent + ': ' + e.dataset.name).join()`
	// loaded are the pictures whose bytes have come and are pictures.
	loaded  = `[...document.querySelectorAll('.card img')].filter((img) => img.complete && img.naturalWidth > 0).length`
	refused = `[...document.querySelectorAll('#refused li')].map((e) => e.dataset.code + ' ' + e.querySelector('b').textContent).join()`
)

// painting makes a picture: a File of so many bytes at least.
const painting = `async (name, hue, bytes) => {
	const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
	const c = canvas.getContext('2d');
	const sky = c.createLinearGradient(0, 0, 0, 480);
	sky.addColorStop(0, 'hsl(' + hue + ' 70% 32%)');
	sky.addColorStop(0.7, 'hsl(' + (hue + 40) + ' 85% 72%)');
	c.fillStyle = sky;
	c.fillRect(0, 0, 640, 480);
	c.fillStyle = 'hsl(' + (hue + 60) + ' 95% 86%)';
	c.arc(140 + hue, 190, 52, 0, 7);
	c.fill();
	for (let range = 0; range < 4; range++) {
		c.fillStyle = 'hsl(' + (hue + 15 * range) + ' 45% ' + (44 - 9 * range) + '%)';
		c.beginPath();
		c.moveTo(0, 480);
		for (let x = 0; x <= 640; x += 8) c.lineTo(x, 260 + 52 * range - 46 * Math.sin(x / (90 + 22 * range) + hue + 2 * range) - 18 * Math.sin(x / 31 + hue * range));
		c.lineTo(640, 480);
		c.fill();
	}
	const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
	return new File([blob, new Uint8Array(Math.max(0, bytes - blob.size))], name, { type: blob.type });
}`

// give chooses a file in a page as a person does, and does not wait for what comes of it.
func give(p *Page, file string) {
	p.t.Helper()
	Eval[any](p, fmt.Sprintf(`(async () => {
		const paint = %s;
		const chosen = new DataTransfer();
		chosen.items.add(await %s);
		const input = document.getElementById('files');
		input.files = chosen.files;
		input.dispatchEvent(new Event('change'));
	})()`, painting, file))
}

func paint(name string, hue, bytes int) string {
	return fmt.Sprintf("paint(%s, %d, %d)", quote(name), hue, bytes)
}

// slow gives the requests of a page that match so many bytes a second.
func slow(p *Page, pattern string, bytes float64) {
	p.t.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{URLPattern: pattern, DownloadThroughput: -1, UploadThroughput: bytes}},
		})
		return err
	}))
}

func openGallery(u *User, e *Example) *Page {
	u.t.Helper()
	p := u.Open(e.URL)
	Until(p, open, true)
	return p
}

// An upload in one tab is seen in another one: first how far it is, then the
// picture itself. It is replaced and deleted in both, by either.
func TestUpload(t *testing.T) {
	t.Parallel()
	Require(t)
	gallery := Start(t, "uploads")
	ada := openGallery(NewUser(t), gallery)
	grace := openGallery(NewUser(t), gallery)
	slow(ada, gallery.URL+"api/storage/*", 50<<10)
	record(grace, "#under-way", `document.querySelector('#under-way progress')?.value`)
	give(ada, paint("hills at dawn.png", 210, 1<<20))
	Until(ada, underWay, "you: hills at dawn.png")
	Until(grace, underWay, "somebody else: hills at dawn.png")
	if got := Eval[string](grace, pictureNames); got != "" {
		t.Errorf("%s is shown before it is there", got)
	}
	Until(grace, `recorded.filter((part) => part > 0 && part < 1).length >= 2`, true)
	slow(ada, gallery.URL+"api/storage/*", -1)
	for _, p := range []*Page{ada, grace} {
		Until(p, pictureNames, "hills at dawn.png")
		Until(p, loaded, 1)
		Until(p, underWay, "")
	}
	parts := Eval[[]float64](grace, `recorded`)
	between := slices.DeleteFunc(slices.Clone(parts), func(part float64) bool { return part <= 0 || part >= 1 })
	if len(between) < 2 || !slices.IsSorted(parts) {
		t.Errorf("how far it is was shown as %v", parts)
	}

	version := Eval[string](ada, `document.querySelector('.card').dataset.version`)
	give(grace, paint("hills at dawn.png", 20, 0))
	Until(ada, `document.querySelector('.card')?.dataset.version !== `+quote(version), true)
	Until(ada, loaded, 1)
	Until(ada, pictureNames, "hills at dawn.png")

	give(grace, `new File(['<script>console.error("run")</script>'], 'a page.html', { type: 'text/html' })`)
	Until(ada, pictureNames, "a page.html,hills at dawn.png")
	Eval[any](ada, `document.querySelector('[data-name="hills at dawn.png"] .delete').click()`)
	for p, own := range map[*Page]string{ada: "false,false,true", grace: "true,true,false"} {
		Until(p, pictureNames, "a page.html")
		Until(p, `[...document.querySelectorAll('#events li')].slice(1).map((e) => e.dataset.own).join()`, own)
	}
	Until(grace, `[...document.querySelectorAll('#events li')].map((e) => e.dataset.type.split('.').at(-1)).join()`, "created,updated,created,deleted")
}

// What is refused is seen to be, by whom it concerns, and nothing comes of it.
func TestUploadRefused(t *testing.T) {
	t.Parallel()
	Require(t)
	gallery := Start(t, "uploads", "-max", "1")
	ada := openGallery(NewUser(t), gallery) // the browser says in the console what was refused
	ada.console.expect("/api/storage/upload")
	grace := openGallery(NewUser(t), gallery)
	give(ada, paint(".hidden.png", 100, 0))
	Until(ada, refused, "bad_name .hidden.png")
	give(ada, paint("large.png", 100, 1<<20+1))
	Until(ada, refused, "bad_name .hidden.png,too_large large.png")
	give(ada, paint("just right.png", 100, 1<<20))
	for _, p := range []*Page{ada, grace} {
		Until(p, pictureNames, "just right.png")
		Until(p, underWay, "")
	}
	if got := Eval[string](grace, refused); got != "" {
		t.Errorf("somebody else is told %q", got)
	}
	Eval[any](ada, `document.querySelector('#refused button').click()`)
	Until(ada, refused, "too_large large.png")
}

// An upload that is stopped leaves nothing.
func TestUploadStopped(t *testing.T) {
	t.Parallel()
	Require(t)
	gallery := Start(t, "uploads")
	ada := openGallery(NewUser(t), gallery)
	grace := openGallery(NewUser(t), gallery)
	slow(ada, gallery.URL+"api/storage/*", 20<<10) // it would take minutes
	give(ada, paint("never.png", 100, 4<<20))
	Until(grace, underWay, "somebody else: never.png")
	Eval[any](ada, `document.querySelector('#under-way button').click()`)
	Until(ada, underWay, "")
	Until(grace, underWay, "")
	slow(ada, gallery.URL+"api/storage/*", -1)
	give(ada, paint("after.png", 100, 0))
	Until(grace, pictureNames, "after.png")
	Until(ada, refused, "")
}

func TestUploadsScreenshot(t *testing.T) {
	t.Parallel()
	Require(t)
	gallery := Start(t, "uploads")
	ada := openGallery(NewUser(t), gallery)
	grace := openGallery(NewUser(t), gallery)
	for i, name := range []string{"hills at dawn.png", "lake.png", "on the way up.png", "quiet morning.png", "the valley.png", "west wind.png"} {
		give([]*Page{ada, grace}[i%2], paint(name, []int{205, 160, 20, 255, 320, 40}[i], 0))
		Until(ada, loaded, i+1)
	}
	give(ada, paint("what? a name.png", 0, 0))
	ada.console.expect("/api/storage/upload")
	Until(ada, refused, "bad_name what? a name.png")
	slow(grace, gallery.URL+"api/storage/*", 400<<10)
	record(ada, "#under-way", `document.querySelector('#under-way progress')?.value`)
	give(grace, paint("panorama.png", 90, 4<<20))
	Until(ada, `recorded.some((part) => part > 0.3)`, true)
	pictures(ada, "uploads")
}
