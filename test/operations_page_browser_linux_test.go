package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/browser"
)

// pagePatience bounds what a test of the page waits for in the browser.
const pagePatience = 4 * time.Minute

// inBrowser starts a browser for an origin.
func inBrowser(t *testing.T, origin string) *browser.Browser {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), pagePatience, fmt.Errorf("the test took more than %v", pagePatience))
	t.Cleanup(cancel)
	return browser.ForTest(ctx, t, origin)
}

// unblamed holds that the browser complained of nothing.
func unblamed(t *testing.T, b *browser.Browser) {
	t.Helper()
	if faults := b.Faults(); len(faults) > 0 {
		t.Errorf("the browser complains: %q", faults)
	}
}

// What the page may take for 500 clients. A task of more than 50 ms is one that a viewer feels; how long one takes says more of the machine than of
// the page, so they are counted over many seconds of a cast.
const (
	crowd       = 500
	crowdSteps  = 20
	mostOfRows  = 0.35 // of the rows are touched in a step: those in sight, and the few that follow
	hostileName = `<img src=x onerror="document.title='got in'">`
)

// TestOperationsPageCrowd: 500 clients whose maps change every second. The page draws those that are in sight, and only them; a name from the
// network stays a name; who searches, sorts and goes by keyboard finds what is there; and a daemon that is gone is told of, and comes back.
func TestOperationsPageCrowd(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	b := inBrowser(t, f.server.URL)
	r := newRoom("s7", crowd)
	r.clients[41].Name = hostileName
	r.clients[41].Reason, r.clients[41].Cause = `<script>document.title='got in'</script>`, "disk"
	for range 60 {
		r.step(0.004)
	}
	const path = "/v1/sessions/s7/live"
	f.set("/v1/sessions", []api.Session{r.Session})
	f.send(path, "snapshot", r.snapshot())
	b.Open(f.link())
	b.UntilText("lab12")
	b.Open(f.server.URL + "/#/session/s7")
	b.Until("all rows", fmt.Sprintf("document.querySelectorAll('.clients tbody tr').length === %d", crowd))
	b.Until("a strip", "document.querySelector('.clients canvas[aria-label]')")

	t.Run("DrawsWhatIsSeen", func(t *testing.T) {
		b := b.For(t)
		browser.Eval[bool](b, `(() => {
			window.touched = 0; window.long = 0; window.frames = 0;
			new MutationObserver((list) => { const rows = new Set(); for (const m of list) { const row = (m.target.closest ? m.target : m.target.parentElement)?.closest('tr'); if (row) rows.add(row); } window.touched += rows.size; })
				.observe(document.querySelector('.clients tbody'), {subtree: true, characterData: true, childList: true, attributes: true});
			new PerformanceObserver((list) => { window.long += list.getEntries().length; }).observe({type: 'longtask'});
			const frame = () => { window.frames++; requestAnimationFrame(frame); };
			requestAnimationFrame(frame);
			return true;
		})()`)
		for range crowdSteps {
			changed := r.step(0.004)
			f.send(path, "change", r.change(changed))
			b.Until("the step", fmt.Sprintf("document.querySelector('.pace-chart .readout').textContent.includes('%s of ')", humanRate(r.samples[len(r.samples)-1].Rate)))
		}
		touched := browser.Eval[float64](b, "window.touched") / crowdSteps / crowd
		long, frames := browser.Eval[int](b, "window.long"), browser.Eval[int](b, "window.frames")
		t.Logf("%.0f %% of the rows are touched in a step; %d long tasks in %d steps and %d frames", 100*touched, long, crowdSteps, frames)
		if touched > mostOfRows || touched == 0 {
			t.Errorf("%.0f %% of the rows are touched in each step, at most %.0f %% are in sight", 100*touched, 100*mostOfRows)
		}
		if frames < 2*crowdSteps {
			t.Errorf("%d frames in %d steps: the page doesn't breathe between them", frames, crowdSteps)
		}
	})
	t.Run("NamesAreText", func(t *testing.T) {
		b := b.For(t)
		browser.Eval[bool](b, "(() => { const find = document.getElementById('find-client'); find.value = '<img'; find.dispatchEvent(new Event('input')); return true; })()")
		b.Until("the one that is sought", "[...document.querySelectorAll('.clients tbody tr')].filter((r) => !r.hidden).length === 1")
		b.Until("its name", fmt.Sprintf("document.querySelector('.clients tbody tr:not([hidden]) th').textContent === %q", hostileName))
		if n := browser.Eval[int](b, "document.querySelectorAll('main img, main script').length"); n != 0 || strings.Contains(browser.Eval[string](b, "document.title"), "got in") {
			t.Errorf("a name became %d elements; the title is %q", n, browser.Eval[string](b, "document.title"))
		}
		browser.Eval[bool](b, "(() => { const find = document.getElementById('find-client'); find.value = ''; find.dispatchEvent(new Event('input')); return true; })()")
		b.Until("all rows again", fmt.Sprintf("[...document.querySelectorAll('.clients tbody tr')].filter((r) => !r.hidden).length === %d", crowd))
	})
	t.Run("SlowFirst", func(t *testing.T) {
		b := b.For(t)
		b.Until("the slow ones on top", "[...document.querySelectorAll('.clients tbody tr')].slice(0, 3).every((r) => r.className === 'slow')")
		if got := b.Text(".slow li"); !strings.Contains(got, "receive buffer") && !strings.Contains(got, "disk") {
			t.Errorf("why is a client slow: %q", got)
		}
	})
	t.Run("ByKeyboard", func(t *testing.T) {
		b := b.For(t)
		browser.Eval[bool](b, "document.activeElement.blur() ?? true")
		b.TabTo("the link to the content", "document.activeElement.id === 'skip'")
		if style := browser.Eval[string](b, "getComputedStyle(document.activeElement).outlineStyle"); style == "none" {
			t.Error("the focus isn't seen")
		}
		b.Press(browser.Enter)
		b.Until("focus in the content", "document.activeElement.id === 'main'")
		b.TabTo("the field to find clients", "document.activeElement.id === 'find-client'")
		b.TabTo("the heading to sort by loss", "document.activeElement.textContent === 'Loss'")
		b.Press(browser.Enter)
		b.Until("sorted by loss", "document.activeElement.closest('th').ariaSort === 'descending'")
		b.TabTo("the first row", "document.activeElement.matches('.clients tbody tr')")
		b.Press(browser.ArrowDown, browser.ArrowDown)
		b.Until("the third row", "[...document.querySelectorAll('.clients tbody tr')].indexOf(document.activeElement) === 2")
		b.Press(browser.End)
		b.Until("the last row", fmt.Sprintf("[...document.querySelectorAll('.clients tbody tr')].indexOf(document.activeElement) === %d", crowd-1))
		for _, view := range []string{"Images", "Fleet", "History", "Rooms"} {
			b.TabTo("the link to "+view, fmt.Sprintf("document.activeElement.textContent === %q && document.activeElement.closest('nav')", view))
			b.Press(browser.Enter)
			b.Until(view, fmt.Sprintf("document.querySelector('#views a[aria-current]').textContent === %q && document.querySelector('main h1')", view))
		}
		b.TabTo("the room's card", "document.activeElement.matches('.card a')")
		b.Press(browser.Enter)
		b.Until("the session again", "document.querySelector('.clients tbody tr')")
	})
	t.Run("InBothSchemes", func(t *testing.T) {
		b := b.For(t)
		var grounds []string
		for _, scheme := range []string{"dark", "light"} {
			b.Scheme(scheme)
			grounds = append(grounds, browser.Eval[string](b, "getComputedStyle(document.body).backgroundColor"))
		}
		if grounds[0] == grounds[1] {
			t.Errorf("dark and light are both %s", grounds[0])
		}
	})
	t.Run("OnAPhone", func(t *testing.T) {
		b := b.For(t)
		b.Size(390, 844)
		for _, view := range []string{"rooms", "session/s7", "images", "fleet", "history"} {
			b.Open(f.server.URL + "/#/" + view)
			b.Until(view, "document.querySelector('main h1')")
			if wide := browser.Eval[int](b, "document.documentElement.scrollWidth"); wide > 390 {
				t.Errorf("%s is %d wide on a screen of 390", view, wide)
			}
		}
		b.Size(1440, 900)
	})
	unblamed(t, b)
	t.Run("TheDaemonIsGone", func(t *testing.T) {
		b := b.For(t)
		b.Open(f.server.URL + "/#/session/s7")
		b.Until("the session again", "document.querySelector('.clients tbody tr')")
		f.away(true)
		b.Until("that it is lost", "!document.getElementById('lost').hidden")
		if got := b.Text("#lost"); !strings.Contains(got, "Connection lost since ") {
			t.Errorf("it says %q", got)
		}
		f.away(false)
		b.Until("that it is back", "document.getElementById('lost').hidden")
		r.step(0.004)
		f.send(path, "change", r.change(r.all()))
		b.Until("what is new", fmt.Sprintf("document.querySelector('.pace-chart .readout').textContent.includes('%s of ')", humanRate(r.samples[len(r.samples)-1].Rate)))
	})
}

// humanRate writes a rate as the page does.
func humanRate(n float64) string {
	if n/1e6 >= 99.95 {
		return fmt.Sprintf("%.0f MB/s", n/1e6)
	}
	return fmt.Sprintf("%.1f MB/s", n/1e6)
}
