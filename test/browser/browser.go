//go:build linux

// Package browser is a headless Chromium for tests of the web page. It counts against the page whatever a browser complains of: errors in
// its console, exceptions, what the Content-Security-Policy kept from it, and requests to anywhere but the page's own origin.
package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// lookEvery is how long a test waits between two looks at the page. Polling inside of the page would need eval, which its policy forbids.
const lookEvery = 50 * time.Millisecond

// Keys that tests press.
const (
	Tab       = kb.Tab
	Enter     = kb.Enter
	ArrowDown = kb.ArrowDown
	End       = kb.End
)

// untilMost is how long a test waits for what the page should show; far more than anything takes, on a busy machine too.
const untilMost = 2 * time.Minute

// startWithin bounds the start of a browser, which takes a second on a machine that is idle.
const startWithin = 2 * time.Minute

// Browser is a browser with one tab.
type Browser struct {
	t   *testing.T
	ctx context.Context
	*complaints
}

// complaints are what a browser complained of.
type complaints struct {
	origin string // of the page; what goes elsewhere is a fault

	mu     sync.Mutex
	faults []string
}

// For returns the same browser for a test within the test.
func (b *Browser) For(t *testing.T) *Browser { return &Browser{t, b.ctx, b.complaints} }

// ForTest starts a browser that ends with the test, for a page of one origin, such as http://127.0.0.1:7603. Without Chromium the test is
// skipped, but not as root, where make setup-check has installed it.
func ForTest(ctx context.Context, t *testing.T, origin string, flags ...chromedp.ExecAllocatorOption) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("chromium is missing: test/setup/install")
		}
		t.Skip("chromium is missing: install chromium (make setup-check does)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WindowSize(1440, 900), chromedp.WSURLReadTimeout(startWithin))
	if os.Geteuid() == 0 {
		// As root Chromium refuses to run with its sandbox. It shows our own page alone, from loopback.
		options = append(options, chromedp.NoSandbox)
	}
	options = append(options, flags...)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &Browser{t, ctx, &complaints{origin: origin}}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	return b
}

// call has the browser do something; it must succeed.
func call[P, R any](b *Browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// hear notes what the browser complains of.
func (b *complaints) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.fault("exception: %s", describe(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			b.fault("console: %s", strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		// A refusal (401, 409) is an answer that the page knows what to make of; the browser notes it under network, as a lost connection.
		if e.Entry.Source != log.EntrySourceNetwork && (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) {
			b.fault("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		to, err := url.Parse(e.Request.URL)
		if err != nil || to.Scheme+"://"+to.Host != b.origin && to.Scheme != "data" {
			b.fault("request to %s", e.Request.URL)
		}
	}
}

// describe says what an exception was.
func describe(e *runtime.ExceptionDetails) string {
	if e.Exception != nil && e.Exception.Description != "" {
		return e.Exception.Description
	}
	return e.Text
}

func (b *complaints) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// Faults returns what the browser complained of so far.
func (b *complaints) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.faults...)
}

// Do runs actions; they must succeed.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// Open goes to an address.
func (b *Browser) Open(address string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(address))
}

// Eval evaluates an expression in the page, and waits for it where it is a promise.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// Text returns the text that is seen of the first element of a selector; "" where there is none.
func (b *Browser) Text(selector string) string {
	b.t.Helper()
	return Eval[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// Until waits until an expression is true, and fails the test with what the page shows if it never is.
func (b *Browser) Until(what, expression string) {
	b.t.Helper()
	tick, enough := time.NewTicker(lookEvery), time.After(untilMost)
	defer tick.Stop()
	var shown string
	for {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && is {
			return
		}
		if text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText")); err == nil {
			shown = text
		}
		select {
		case <-tick.C:
			continue
		case <-enough:
		case <-b.ctx.Done():
		}
		b.t.Fatalf("%s never came: %v, %v; faults %q; the page shows:\n%.1500s", what, err, context.Cause(b.ctx), b.Faults(), strings.Join(strings.Fields(shown), " "))
	}
}

// UntilText waits until the page shows a text somewhere.
func (b *Browser) UntilText(text string) {
	b.t.Helper()
	b.Until(fmt.Sprintf("%q on the page", text), fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

// Press presses keys, such as kb.Tab.
func (b *Browser) Press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.Do(chromedp.KeyEvent(key))
	}
}

// TabTo presses the tab key until an expression is true, some hundred times at most.
func (b *Browser) TabTo(what, expression string) {
	b.t.Helper()
	for range 100 {
		if Eval[bool](b, "Boolean("+expression+")") {
			return
		}
		b.Press(kb.Tab)
	}
	b.t.Fatalf("%s can't be reached by the tab key; the focus is on %s", what, Eval[string](b, "document.activeElement.outerHTML.slice(0, 300)"))
}

// Scheme has the page be dark or light.
func (b *Browser) Scheme(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// Size has the window be so large, in CSS pixels.
func (b *Browser) Size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

// Shot takes a picture into a file.
func (b *Browser) Shot(file string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(file, png, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
