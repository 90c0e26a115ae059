package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"wimcast/test/browser"
	"wimcast/test/rig"
)

// relay carries connections from this machine's loopback to the loopback of the room's server, as ssh -L does, and returns the address of its end
// here. The browser is here, the web page is on the server alone.
func (s *stage) relay(to string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			var far net.Conn
			err = s.room.Server().Do(func() (err error) {
				far, err = new(net.Dialer).DialContext(s.ctx, "tcp", to)
				return err
			})
			if err != nil {
				_ = near.Close()
				continue
			}
			context.AfterFunc(s.ctx, func() { _ = near.Close(); _ = far.Close() })
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

// link has wimcast page print a link, and returns it, and where the page is.
func (s *stage) link() (link, at string) {
	s.t.Helper()
	out := strings.TrimSpace(s.cli("page"))
	u, err := url.Parse(out)
	if err != nil || u.Scheme != "http" || !strings.HasPrefix(u.Fragment, "token=") {
		s.t.Fatalf("wimcast page prints %q, %v", out, err)
	}
	return out, u.Host
}

// TestOperationsPage: a cast with loss to four clients, one of them behind a slow cable, watched in a real browser: login by a link, the room that waits,
// strips that fill up, the rate with its reason, who is slow and why, and afterwards images, fleet and history.
//
//	server ── switch ──┬─ pc01, pc02, pc03: 2 % loss
//	                   └─ 8 Mbit/s, 20 ms ── pc04
func TestOperationsPage(t *testing.T) {
	s := inRoom(t, 4, rig.Config{Multicast: slowCeiling, Top: together(4)})
	for i, c := range s.room.Clients() {
		var err error
		if i < 3 {
			err = c.SetLoss(s.ctx, 2)
		} else {
			err = c.SetRate(s.ctx, slowCable, 20*time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	link, at := s.link()
	near := s.relay(at)
	link = strings.Replace(link, at, near, 1)
	origin := "http://" + near
	b := inBrowser(t, origin)

	b.Open(origin)
	b.UntilText("This page wants a link")
	b.Open(link)
	b.UntilText("No room is casting")
	if got := browser.Eval[string](b, "location.href"); strings.Contains(got, "token") {
		t.Errorf("the token stays in the address: %s", got)
	}
	if got := browser.Eval[string](b, "document.cookie"); got != "" {
		t.Errorf("scripts can read the cookie: %s", got)
	}
	b.TabTo("the button to sign out", "document.activeElement.id === 'leave'")
	b.Press(browser.Enter)
	b.UntilText("You have signed out")
	b.Open(link)
	b.UntilText("this link was used already")
	again, _ := s.link()
	b.Open(strings.Replace(again, at, near, 1))
	b.UntilText("wimcast get w11 --bundle room.join")

	var gets []*rig.Get
	for i := range 3 {
		gets = append(gets, s.get(i))
	}
	b.UntilText("3 of 4 clients")
	b.UntilText("waits for its start")
	s.cli("session", "set", "s1", "--floor", slowFloor, "--grace", "1s", "--slow", "demote")
	b.TabTo("the room's card", "document.activeElement.matches('.card a')")
	b.Press(browser.Enter)
	b.Until("the session's clients", "document.querySelectorAll('.clients tbody tr').length === 3")
	gets = append(gets, s.get(3)) // which starts the cast

	const strips = "[...document.querySelectorAll('.clients tbody tr')].filter((r) => r.querySelector('canvas').dataset.full !== undefined)"
	b.Until("strips that fill up", strips+".some((r) => { const c = r.querySelector('canvas'); return Number(c.dataset.full) > 0 && Number(c.dataset.full) < c.width; })")
	b.Until("the rate and its target", "/ [0-9.]+ [kM]B\\/s of [0-9.]+ [kM]B\\/s, (starting|probing|ceiling|loss|delay|receive buffer); repair /.test(document.querySelector('.pace-chart .readout').textContent)")
	b.Until("why the rate is what it is", "/held back|nothing holds|ceiling|starting/.test(document.querySelector('.facts').innerText)")
	b.Until("who is slow, and why", "/pc04[^]*(network|receive|floor|disk)/.test(document.querySelector('.slow').innerText)")
	b.Until("the slow one moved to a slower session", "[...document.querySelectorAll('.clients tbody tr')].some((r) => r.innerText.startsWith('pc04') && r.innerText.includes('demoted'))")
	t.Logf("slow: %s", strings.Join(strings.Fields(b.Text(".slow")), " "))
	if err := s.room.Client(3).SetRate(s.ctx, 3*slowCable, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	b.Until("three strips that are full", strips+".filter((r) => r.innerText.includes('proven') && Number(r.querySelector('canvas').dataset.full) === r.querySelector('canvas').width).length === 3")
	for _, g := range gets {
		s.proven(g)
	}

	b.Open(origin + "/#/rooms")
	b.UntilText("ENDED LATELY")
	b.Open(origin + "/#/images")
	b.Until("the image", "/w11 1[^]*in service[^]*encrypted[^]*w11/.test(document.querySelector('main tbody')?.innerText ?? '')")
	b.Open(origin + "/#/fleet")
	b.UntilText("wimcast point add NAME")
	b.Open(origin + "/#/history")
	b.Until("the sessions", "[...document.querySelectorAll('main tbody tr')].some((r) => /w11@1/.test(r.innerText))")
	browser.Eval[bool](b, "(() => { document.getElementById('f-ref').value = 'w11'; document.getElementById('f-machines').value = 'pc*'; document.querySelector('form[aria-label=Proof]').requestSubmit(); return true; })()")
	b.UntilText("4 have it, 0 don’t.")
	b.TabTo("a session in the history", "document.activeElement.matches('section[aria-label=Sessions] tbody tr')")
	b.Press(browser.End, browser.Enter) // the first that was cast
	b.Until("its clients", "['pc01', 'pc02', 'pc03', 'pc04'].every((name) => [...document.querySelectorAll('main tbody tr')].some((r) => r.innerText.startsWith(name)))")
	unblamed(t, b)
	_, token, _ := strings.Cut(link, "token=")
	if log := s.daemon.Log(); !strings.Contains(log, `"msg":"page login"`) || strings.Contains(log, token) {
		t.Errorf("the log tells of no login, or has the token:\n%s", fmt.Sprintf("%.2000s", log))
	}
}
