//go:build linux

package prometheus

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wimcast/test/rig"
)

// elsewhere is a place whose network is this machine's.
type elsewhere struct {
	rig.Loopback
	asked *atomic.Int32
}

func (e elsewhere) Do(fn func() error) error {
	e.asked.Add(1)
	return fn()
}

var (
	_ rig.Place = elsewhere{}
	_ inside    = elsewhere{}
)

const rules = `groups:
  - name: test
    rules:
      - alert: TooMuch
        expr: test_level > 5
        labels: {severity: page}
        annotations: {summary: "{{ $labels.instance }} has {{ $value }}"}
`

// TestServer has a server scrape two pages, one of them by a forward, follow their numbers, and raise an alert.
func TestServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var level atomic.Int64
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/level" {
			_, _ = fmt.Fprintf(w, "test_level %d\n", level.Load())
		}
	}))
	defer page.Close()
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	s := ForTest(t, Options{Every: 200 * time.Millisecond, Rules: []string{file}})
	place := elsewhere{"pc01", new(atomic.Int32)}
	if err := s.SetTargets(Target{URL: page.URL + "/level"}, Target{URL: page.URL + "/level", Instance: "room", At: place, Labels: map[string]string{"site": "north"}}); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(page.URL, "http://")
	if err := s.AwaitUp(ctx, host, "room"); err != nil {
		t.Fatal(err)
	}
	if place.asked.Load() == 0 {
		t.Error("the place was never asked to connect")
	}
	if list, err := s.Rules(ctx); err != nil || len(list) != 1 || list[0].Name != "TooMuch" || list[0].Type != "alerting" {
		t.Errorf("rules: %+v, %v", list, err)
	}
	if alerts, err := s.Alerts(ctx); err != nil || len(alerts) != 0 {
		t.Errorf("alerts: %+v, %v", alerts, err)
	}
	level.Store(7)
	samples, err := s.AwaitQuery(ctx, `test_level{site="north"} == 7`)
	if err != nil {
		t.Fatal(err)
	}
	if l := samples[0].Labels; len(samples) != 1 || l["instance"] != "room" || l["job"] != Job || samples[0].Value.Value != 7 {
		t.Errorf("samples: %+v", samples)
	}
	if err := s.Await(ctx, "two alerts", func() (bool, error) {
		alerts, err := s.Alerts(ctx)
		for _, a := range alerts {
			if want := a.Labels["instance"] + " has 7"; a.State != "firing" || a.Annotations["summary"] != want {
				t.Errorf("alert %+v, want %q", a, want)
			}
		}
		return len(alerts) == 2, err
	}); err != nil {
		t.Fatal(err)
	}
	series, err := s.QueryRange(ctx, `test_level{instance="room"}`, time.Now().Add(-time.Minute), time.Now(), 200*time.Millisecond)
	if err != nil || len(series) != 1 || len(series[0].Values) == 0 || series[0].Values[len(series[0].Values)-1].Value != 7 {
		t.Errorf("series: %+v, %v", series, err)
	}
	page.Close()
	if _, err := s.AwaitQuery(ctx, `count(up == 0) == 2`); err != nil { // the forward's target is down like the other
		t.Error(err)
	}
	if samples, err := s.Query(ctx, "1 + 1"); err != nil || len(samples) != 1 || samples[0].Value.Value != 2 {
		t.Errorf("scalar: %+v, %v", samples, err)
	}
	if _, err := s.Query(ctx, "sum("); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("an expression that is none: %v", err)
	}
}

// TestWrongFiles: what can't be right is said at the start.
func TestWrongFiles(t *testing.T) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(ErrMissing)
	}
	if _, err := Start(t.Context(), t.TempDir(), Options{Rules: []string{"missing.yml"}}); err == nil {
		t.Error("rules that aren't there were taken")
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(strings.Replace(rules, "test_level >", "test_level > >", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), t.TempDir(), Options{Rules: []string{file}}); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("rules that are none: %v", err)
	}
	if out, err := Promtool(t.Context(), nil, "check", "rules", file); err == nil || !strings.Contains(out, "parse error") {
		t.Errorf("promtool: %v", err)
	}
}
