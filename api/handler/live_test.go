package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"wimcast/api"
	"wimcast/api/live"
	"wimcast/crypto/keyex"
)

// askLive asks for the streams of sessions, in good and in bad: s1 runs, no other is there.
func (p *point) askLive(j *judge) {
	p.t.Helper()
	const operation = "GET /v1/sessions/{id}/live"
	viewer := p.over(keyex.Viewer)
	answer, _ := viewer.ask(http.MethodHead, "/v1/sessions/s1/live", "")
	if answer.StatusCode != http.StatusOK {
		p.t.Errorf("HEAD: %s", answer.Status)
	}
	j.check(operation, answer, nil)
	answer, text := viewer.ask(http.MethodGet, "/v1/sessions/s99/live", "")
	if answer.StatusCode != http.StatusNotFound || !bytes.Contains(text, []byte("wimcast session list")) {
		p.t.Errorf("of no session: %s %s", answer.Status, text)
	}
	j.check(operation, answer, text)
	all := p.fill()
	answer, text = viewer.ask(http.MethodGet, "/v1/sessions/s1/live", "")
	if answer.StatusCode != http.StatusServiceUnavailable {
		p.t.Errorf("one too many: %s %s", answer.Status, text)
	}
	j.check(operation, answer, text)
	for _, v := range all {
		v.Close()
	}
	// What is streamed fits its schema.
	enough := errors.New("enough")
	seen := 0
	err := p.remoteClient(keyex.Viewer).Live(p.t.Context(), "s1", func(kind string, l api.Live) error {
		text, err := json.Marshal(l)
		if err != nil {
			p.t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			p.t.Fatal(err)
		}
		if err := j.doc.Components.Schemas["Live"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			p.t.Errorf("%s: %s: %v", kind, text, err)
		}
		if seen++; seen == 1 && kind != api.LiveSnapshot || seen > 1 && kind != api.LiveChange {
			p.t.Errorf("event %d is a %s", seen, kind)
		}
		if seen == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		p.t.Errorf("after %d events: %v", seen, err)
	}
}

// fill opens as many viewers of session s1 as there may be.
func (p *point) fill() (all []*live.Viewer) {
	p.t.Helper()
	for from := time.Now(); p.live.Viewers() > 0; runtime.Gosched() { // a HEAD is answered before its end is counted
		if time.Since(from) > 10*time.Second {
			p.t.Fatal("a viewer is left")
		}
	}
	for {
		v, err := p.live.Open("s1")
		if errors.Is(err, live.ErrFull) {
			return all
		}
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, v)
	}
}

// TestLiveEndsWithTheSession: who watches sees the clients, then the end, and who comes later sees how it ended.
func TestLiveEndsWithTheSession(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(300_000, 1, "Windows 11"), "w11", "1")
	p.join("pc01", "w11")
	client := p.remoteClient(keyex.Viewer)
	var kinds []string
	err := client.Live(t.Context(), "s1", func(kind string, l api.Live) error {
		kinds = append(kinds, kind)
		if l.Session.ID != "s1" || len(l.Session.Clients) != 0 || l.Cells != l.Session.Blocks {
			t.Errorf("%+v", l)
		}
		if kind == api.LiveSnapshot {
			if len(l.Clients) != 1 || l.Clients[0].Name != "pc01" || l.Clients[0].State != "receiving" || l.Clients[0].Path != "multicast" {
				t.Errorf("%+v", l.Clients)
			}
			return p.sessions.Stop("s1", "stopped by the operator")
		}
		return nil
	})
	if err != nil || kinds[0] != api.LiveSnapshot || kinds[len(kinds)-1] != api.LiveChange {
		t.Errorf("%v, %v", kinds, err)
	}
	var last api.Live
	if err := client.Live(t.Context(), "s1", func(_ string, l api.Live) error { last = l; return nil }); err != nil {
		t.Error(err)
	}
	if last.Session.Ended.IsZero() || last.Session.Reason != "stopped by the operator" || len(last.Clients) != 1 || last.Clients[0].State != "left" {
		t.Errorf("%+v", last)
	}
	if err := client.Live(t.Context(), "s2", func(string, api.Live) error { return nil }); err == nil || !strings.Contains(err.Error(), "no such session") {
		t.Errorf("%v", err)
	}
}

// TestWhoCannotFollowGetsASnapshot: one who watches and takes each change gets changes, one who misses some all of it; nobody waits for the other.
func TestWhoCannotFollowGetsASnapshot(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(300_000, 1, "Windows 11"), "w11", "1")
	p.join("pc01", "w11")
	open := func() *live.Viewer {
		v, err := p.live.Open("s1")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		return v
	}
	next := func(v *live.Viewer) live.Frame {
		for {
			frame, more := v.Next()
			if frame.Data != nil {
				return frame
			}
			<-more
		}
	}
	quick, slow := open(), open()
	first, also := next(quick), next(slow)
	if first.Kind != api.LiveSnapshot || also.Kind != api.LiveSnapshot || &first.Data[0] != &also.Data[0] {
		t.Errorf("%s and %s, or not the same bytes", first.Kind, also.Kind)
	}
	for range 2 {
		if frame := next(quick); frame.Kind != api.LiveChange || bytes.Contains(frame.Data, []byte("pc01")) {
			t.Errorf("a %s, or of clients of which nothing changed: %s", frame.Kind, frame.Data)
		}
	}
	if frame, _ := slow.Next(); frame.Kind != api.LiveSnapshot || !bytes.Contains(frame.Data, []byte("pc01")) {
		t.Errorf("two behind: a %s: %s", frame.Kind, frame.Data)
	}
	if frame, _ := slow.Next(); frame.Data != nil {
		t.Errorf("and again: %s", frame.Data)
	}
	quick.Close()
	slow.Close()
	slow.Close()
	if n := p.live.Viewers(); n != 0 {
		t.Errorf("%d watch, and all have gone", n)
	}
}
