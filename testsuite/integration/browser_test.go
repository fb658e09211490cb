package integration_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// screenshots is where pictures of the Web UI go: `make screenshots` puts them into the docs.
var screenshots = flag.String("screenshots", "", "`folder` for pictures of what the Web UI's tests see; empty: none")

// browser is a headless Chromium with one page.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// browserSize is the window, in pixels: as wide as a README's picture is shown.
const browserWidth, browserHeight = 1400, 1000

// newBrowser starts Chromium, and skips the test where there is none.
func newBrowser(ctx context.Context, t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no chromium on the PATH; apt-get install chromium")
	}
	// In a container, and as root, there is no sandbox to be had; the pages are our own.
	ctx, end := chromedp.NewExecAllocator(ctx, chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.WindowSize(browserWidth, browserHeight))
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	b := &browser{t, ctx}
	b.do(chromedp.EmulateViewport(browserWidth, browserHeight))
	return b
}

func (b *browser) do(step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, step))
}

// rest leaves the page: one with something that moves on it keeps a core busy, which proofs of all tests want.
func (b *browser) rest() {
	b.t.Helper()
	b.open("about:blank")
}

// open goes to a page; the Web UI draws it afterwards.
func (b *browser) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// pageText is all that the page shows, with what it shows in frames (Markdown is in one), on one line.
const pageText = `(() => {
	const texts = [document.body.innerText];
	for (const frame of document.querySelectorAll('iframe')) {
		try { texts.push(frame.contentDocument.body.innerText); } catch (e) { texts.push('(a frame that cannot be read: ' + e + ')'); }
	}
	return texts.join(' ').replace(/\s+/g, ' ');
})()`

// text is what the page shows now; empty while it is being replaced.
func (b *browser) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](pageText))
	if b.ctx.Err() != nil {
		require.NoError(b.t, err)
	}
	return text
}

// shows waits until the page shows all of these texts.
func (b *browser) shows(texts ...string) string {
	b.t.Helper()
	const limit = time.Minute
	page := ""
	for began := time.Now(); time.Since(began) < limit; time.Sleep(200 * time.Millisecond) {
		if page = b.text(); containsAll(page, texts) {
			return page
		}
	}
	b.shot("failed-" + strings.ReplaceAll(b.t.Name(), "/", "-"))
	require.FailNow(b.t, "the page never showed it", "%q\nbut:\n%s", texts, page)
	return ""
}

// click clicks the visible element of a selector whose text begins so; empty: any. What is not there yet is waited for.
func (b *browser) click(selector, text string) {
	b.t.Helper()
	s, err := json.Marshal(selector)
	require.NoError(b.t, err)
	want, err := json.Marshal(text)
	require.NoError(b.t, err)
	script := fmt.Sprintf(`(() => {
	const found = [...document.querySelectorAll(%s)].filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.innerText.trim().startsWith(%s));
	if (found.length == 0) return false;
	found[found.length - 1].click();
	return true;
})()`, s, want)
	require.Eventually(b.t, func() bool {
		clicked, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](script))
		return err == nil && clicked
	}, 20*time.Second, 100*time.Millisecond, "nothing to click at: %s %q", selector, text)
}

// shot takes a picture of what is in the window, if pictures are wanted.
func (b *browser) shot(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	b.do(chromedp.Sleep(500 * time.Millisecond)) // what slides in has arrived
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	file := filepath.Join(*screenshots, name+".png")
	require.NoError(b.t, os.WriteFile(file, picture, 0o644))
	b.t.Log("picture:", file)
}
