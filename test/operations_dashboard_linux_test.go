package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wimcast/test/prometheus"
	"wimcast/test/registry"
	"wimcast/test/rig"
)

// mayBeEmpty are panels that need not have an answer in the cast of TestOperationsDashboardQueries, with the reason. All others have one.
var mayBeEmpty = map[string]string{
	"The record goes back to":          "the record is counted once a minute, and was empty at the start",
	"Send errors":                      "a bridge takes everything",
	"PINs, by result":                  "no PIN is set there",
	"Links to the web page, by result": "nobody opens the page",
	"Logs of clients":                  "nobody fails, so nobody sends a log",
	"Pulls that failed":                "the registry is there",
	"Validations":                      "the schedule's first look is a day away",
}

// mayBeMissing are metrics that need not be served in that cast, with the reason.
var mayBeMissing = map[string]string{
	"ALERTS": "Prometheus' own, there while something fires",
	"wimcast_history_oldest_timestamp_seconds": "the record is counted once a minute, and was empty at the start",
}

// choice is what somebody chose at the top of the dashboard.
type choice struct{ instance, pkg, session string }

// everything is what is chosen when the dashboard opens.
var everything = choice{".*", ".*", ".*"}

// displayed is the dashboard before a Prometheus, which scrapes daemons since a time.
type displayed struct {
	*stage
	grafanaBoard
	*prometheus.Server
	since time.Time

	latest map[string][]answer // of the latest look, by panel and query
	all    map[string][]answer // of all looks
	served map[string]bool     // metrics that were there at one of them
}

// answer is a line of a panel: its labels and what it was.
type answer struct {
	labels map[string]string
	values []float64
}

// replaced is an expression as Grafana sends it. The times are those of a server that scrapes each second.
func (w *displayed) replaced(expr, interval string, c choice) string {
	if interval == "" {
		interval = "1s"
	}
	return strings.NewReplacer(
		"$__rate_interval", "5s",
		"$__interval", interval,
		"$__range", fmt.Sprintf("%ds", 1+int(time.Since(w.since).Seconds())),
		"$instance", c.instance, "$package", c.pkg, "$session", c.session,
	).Replace(expr)
}

// ask asks as a panel does; what is no number isn't there.
func (w *displayed) ask(p grafanaPanel, q grafanaTarget, c choice) (answers []answer) {
	w.t.Helper()
	expr := w.replaced(q.Expr, p.Interval, c)
	add := func(labels map[string]string, values ...prometheus.Value) {
		a := answer{labels: labels}
		for _, v := range values {
			if !math.IsNaN(v.Value) {
				a.values = append(a.values, v.Value)
			}
		}
		if len(a.values) > 0 {
			answers = append(answers, a)
		}
	}
	if q.Instant {
		samples, err := w.Query(w.ctx, expr)
		if err != nil {
			w.t.Errorf("%s %s: %v", p.Title, q.Ref, err)
		}
		for _, s := range samples {
			add(s.Labels, s.Value)
		}
		return answers
	}
	series, err := w.QueryRange(w.ctx, expr, w.since, time.Now().Add(time.Second), time.Second) // the last step isn't before now
	if err != nil {
		w.t.Errorf("%s %s: %v", p.Title, q.Ref, err)
	}
	for _, s := range series {
		add(s.Labels, s.Values...)
	}
	return answers
}

// look asks everything as it is when the dashboard opens, and keeps what was answered.
func (w *displayed) look() {
	w.t.Helper()
	w.latest = w.answers(everything)
	for key, answers := range w.latest {
		w.all[key] = append(w.all[key], answers...)
	}
	names, err := w.Query(w.ctx, `count by (__name__) ({__name__=~".+", job="wimcast"})`)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		w.served[name.Labels["__name__"]] = true
	}
}

// answers asks all, and returns what had an answer.
func (w *displayed) answers(c choice) map[string][]answer {
	w.t.Helper()
	all := map[string][]answer{}
	for _, p := range w.panels() {
		for _, q := range p.Targets {
			if answers := w.ask(p, q, c); len(answers) > 0 {
				all[p.Title+" "+q.Ref] = answers
			}
		}
	}
	return all
}

// TestOperationsDashboardQueries asks a real Prometheus everything that the dashboard asks. It scrapes a room with lossy cables in which a package
// is cast, waited for, and sent to one client by unicast, and a site with a point that pulls it.
func TestOperationsDashboardQueries(t *testing.T) {
	t.Parallel()
	server := prometheus.ForTest(t, prometheus.Options{Rules: []string{"../deploy/prometheus/wimcast.rules.yml"}})
	repository := registry.ForTest(t, registry.Options{})
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "2 MB/s"`, Top: together(3)})
	w := &displayed{stage: s, grafanaBoard: readDashboard(t), Server: server, since: time.Now(), all: map[string][]answer{}, served: map[string]bool{}}
	room := prometheus.Target{URL: s.daemon.Metrics(), Instance: "room", At: s.daemon.Place}
	if err := s.room.SetQuerier(w.ctx, time.Second); err != nil { // else it may have asked nothing yet
		t.Fatal(err)
	}
	site, point := w.fleet(repository)
	if err := w.SetTargets(room, site, point); err != nil {
		t.Fatal(err)
	}
	if err := w.AwaitUp(w.ctx, "room", "site", "north"); err != nil {
		t.Fatal(err)
	}

	// The room: two wait, the third begins it, one is sent to unicast.
	for _, host := range s.room.Clients() {
		if err := host.SetLoss(w.ctx, 5); err != nil {
			t.Fatal(err)
		}
	}
	w.seen(`wimcast_igmp_querier_last_seen_timestamp_seconds{instance="room"}`)
	gets := []*rig.Get{s.get(0), s.get(1)}
	w.seen(`wimcast_session_start_deadline_timestamp_seconds{instance="room"}`)
	w.seen(`wimcast_session_clients{instance="room", state="waiting"} == 2`)
	w.look()
	gets = append(gets, s.get(2))
	for _, g := range gets {
		if err := g.AwaitProven(w.ctx, 0.1); err != nil {
			t.Fatal(err)
		}
	}
	w.seen(`wimcast_session_clients{instance="room", state="receiving"} >= 2`)
	s.cli("client", "unicast", gets[2].Place.Name())
	w.seen(`wimcast_unicast_fallbacks_total{instance="room", reason="operator"} == 1`)
	w.seen(`wimcast_nacks_total{instance="room", result="served"} > 0 and on (instance) wimcast_client_lost_packets_total{instance="room", cause="network"} > 0`)
	w.look()
	during := maps.Clone(w.latest)
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`, Top: together(3)})
	for _, g := range gets {
		s.proven(g)
	}
	w.seen(`sum(wimcast_client_results_total{instance="room", result="proven"}) == 3`)
	w.seen(`wimcast_distribution_packages{instance="site", point="north", state="success"} == 1`)

	w.look()
	t.Run("parsed", w.parsed)
	t.Run("scraped", w.scraped)
	t.Run("answered", func(t *testing.T) {
		for _, p := range w.panels() {
			for _, q := range p.Targets {
				key := p.Title + " " + q.Ref
				answers := w.all[key]
				if len(answers) == 0 && mayBeEmpty[p.Title] == "" {
					t.Errorf("%s has nothing: %s", key, q.Expr)
				}
				for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.Legend, -1) {
					for _, a := range answers {
						if a.labels[label[1]] == "" {
							t.Errorf("%s is named by %s, which %v lack", key, label[1], a.labels)
						}
					}
				}
			}
		}
	})
	t.Run("right", func(t *testing.T) { w.right(t, during, w.latest) })
	t.Run("chosen", w.chosen)
	t.Run("variables", w.variables)
	t.Run("alerts", w.alerts)
	t.Run("commands", w.commands)
}

// seen waits until Prometheus has an answer.
func (w *displayed) seen(expr string) {
	w.t.Helper()
	if _, err := w.AwaitQuery(w.ctx, expr); err != nil {
		w.t.Fatal(err)
	}
}

// fleet starts a site and a point of it on loopback, which cast nothing, and has the point pull a package within its hours.
func (w *displayed) fleet(server *registry.Server) (site, point prometheus.Target) {
	w.t.Helper()
	r := &reporting{stage: prepare(w.t), tables: fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\n", server.Repository("wimcast"))}
	r.start(rig.Loopback("site"), rig.Config{Admin: fmt.Sprintf("listen = \"127.0.0.1:%s\"\n%s", freePort(w.t), r.tables)})
	r.cli("point", "add", "north", "-o", filepath.Join(r.dir, "north.point"))
	r.cli("image", "distribute", "w11", "--all")
	state := filepath.Join(r.dir, "north")
	if err := os.Mkdir(state, 0o700); err != nil {
		w.t.Fatal(err)
	}
	const hours = "[[point.hours]]\ndays = \"all\"\nfrom = \"00:00\"\nto = \"24:00\"\nallow = \"all\"\nlimit = \"50 MB/s\"\n"
	north, err := rig.StartDaemon(r.ctx, rig.Loopback("north"), r.programs, state, r.config(hours))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		north.Kill()
		if w.t.Failed() {
			w.t.Logf("point's log:\n%s", north.Log())
		}
	})
	return prometheus.Target{URL: r.daemon.Metrics(), Instance: "site"}, prometheus.Target{URL: north.Metrics(), Instance: "north"}
}

// parsed has Prometheus read every expression, with Grafana's variables in it.
func (w *displayed) parsed(t *testing.T) {
	n := 0
	w.everyExpression(func(where, expr string) {
		n++
		answer, err := http.Get(w.URL + "/api/v1/format_query?" + url.Values{"query": {w.replaced(expr, "1m", everything)}}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var read struct{ Status, Error, Data string }
		if err := json.NewDecoder(answer.Body).Decode(&read); err != nil || read.Status != "success" {
			t.Errorf("%s: %s %v: %s", where, read.Error, err, expr)
		}
	})
	t.Logf("%d expressions", n)
}

// scraped finds every metric that is asked for in what the daemons serve.
func (w *displayed) scraped(t *testing.T) {
	asked := map[string]bool{}
	w.everyExpression(func(where, expr string) {
		for _, s := range selectorsOf(t, where, expr) {
			asked[s.metric] = true
			if !w.served[s.metric] && mayBeMissing[s.metric] == "" {
				t.Errorf("%s: no daemon serves %s", where, s.metric)
			}
		}
	})
	t.Logf("%d metrics asked for, of %d that are served", len(asked), len(w.served))
}

// right holds that the first row, and the table below it, say what was the case.
func (w *displayed) right(t *testing.T, during, after map[string][]answer) {
	// line is the values of the line with these labels.
	line := func(answers []answer, labels ...string) []float64 {
		for _, a := range answers {
			is := true
			for i := 0; i < len(labels); i += 2 {
				is = is && a.labels[labels[i]] == labels[i+1]
			}
			if is {
				return a.values
			}
		}
		return nil
	}
	last := func(values []float64) float64 {
		if len(values) == 0 {
			return math.NaN()
		}
		return values[len(values)-1]
	}
	for _, want := range []struct {
		what string
		got  float64
		is   func(float64) bool
	}{
		{"daemons down", last(line(after["Daemons down A"])), func(v float64) bool { return v == 0 }},
		{"alerts", last(line(after["Alerts A"])), func(v float64) bool { return v == 0 }},
		{"the slowest, in the middle", last(line(during["Slowest client A"])), func(v float64) bool { return v > 0 && v < 1 }},
		{"the slowest, at the end", last(line(after["Slowest client A"])), func(v float64) bool { return v == 1 }},
		{"time without progress", last(line(during["Longest without progress A"])), func(v float64) bool { return v >= 0 && v < 60 }},
		{"failed", last(line(after["Failed, last 30 min A"])), func(v float64) bool { return v == 0 }},
		{"age of a query", last(line(after["Latest IGMP query A"])), func(v float64) bool { return v >= 0 && v < 300 }},
		{"waiting, at first", most(line(after["Clients by state A"], "state", "waiting")), func(v float64) bool { return v >= 2 }},
		{"receiving, in the middle", most(line(after["Clients by state A"], "state", "receiving")), func(v float64) bool { return v >= 2 }},
		{"proven, at the end", last(line(after["Clients by state A"], "state", "proven")), func(v float64) bool { return v == 3 }},
		{"progress", last(line(after["Progress A"], "stat", "median", "session", "s1")), func(v float64) bool { return v == 1 }},
		{"sent", most(line(after["Rate against target A"], "package", "w11@1", "instance", "room")), func(v float64) bool { return v > 1e5 }},
		{"target", most(line(after["Rate against target B"], "package", "w11@1", "instance", "room")), func(v float64) bool { return v > 1e5 }},
		{"lost on the way", most(line(after["Packets lost, by where A"], "cause", "network")), func(v float64) bool { return v > 0 }},
		{"sent to unicast", most(line(after["Went unicast in 10 min, by reason A"], "reason", "operator")), func(v float64) bool { return v > 0.9 }},
		{"the reason", most(line(after["What decides the rate A"], "session", "s1")), func(v float64) bool { return v >= 1 && v <= 6 && v == math.Trunc(v) }},
		{"parity by source", most(line(after["Parity by source A"], "package", "w11@1")), func(v float64) bool { return v > 0 }},
	} {
		if !want.is(want.got) {
			t.Errorf("%s: %v", want.what, want.got)
		}
	}
	table := slices.IndexFunc(w.panels(), func(p grafanaPanel) bool { return p.Type == "table" })
	for _, q := range w.panels()[table].Targets {
		for _, a := range append(during["Sessions "+q.Ref], after["Sessions "+q.Ref]...) {
			want := []string{"instance", "session"} // what the columns are merged by
			if q.Ref == "A" {
				want = []string{"deployment", "instance", "mode", "package", "session"}
			}
			if got := slices.Sorted(maps.Keys(a.labels)); !slices.Equal(got, want) {
				t.Errorf("column %s has the labels %v, want %v", q.Ref, got, want)
			}
		}
	}
}

// chosen holds that what is chosen at the top counts everywhere.
func (w *displayed) chosen(t *testing.T) {
	here := w.answers(choice{"room", "w11@1", "s1"})
	for _, p := range w.rows()[0].within {
		for _, q := range p.Targets {
			if key := p.Title + " " + q.Ref; len(here[key]) == 0 && !strings.Contains(q.Expr, `state=~"receiving|unicast"`) {
				t.Errorf("%s has nothing of the session that there was", key)
			}
		}
	}
	for key, answers := range w.answers(choice{"nowhere", ".*", ".*"}) {
		if len(answers) != 1 || len(answers[0].labels) != 0 || most(answers[0].values) != 0 {
			t.Errorf("%s has something of a point that there isn't: %v", key, answers)
		}
	}
	for _, none := range []choice{{".*", "none@1", ".*"}, {".*", ".*", "none"}} {
		for key, answers := range w.answers(none) {
			for _, a := range answers {
				if a.labels["package"] != "" && none.pkg != ".*" || a.labels["session"] != "" {
					t.Errorf("%s has something of %+v: %v", key, none, a.labels)
				}
			}
		}
	}
}

func most(values []float64) float64 { return slices.Max(append([]float64{math.Inf(-1)}, values...)) }

// variables holds that each has values: those of the label that it names.
func (w *displayed) variables(t *testing.T) {
	want := map[string][]string{"instance": {"north", "room", "site"}, "package": {"w11@1"}, "session": {"s1"}}
	for _, v := range w.Templating.List {
		query := variableQuery(v.Query)
		if query == "" {
			continue
		}
		inner := strings.TrimSuffix(strings.TrimPrefix(query, "label_values("), ")")
		at := strings.LastIndex(inner, ", ")
		values := map[string]bool{}
		samples, err := w.Query(w.ctx, w.replaced(inner[:at], "", everything))
		if err != nil {
			t.Error(err)
		}
		for _, s := range samples {
			values[s.Labels[inner[at+2:]]] = true
		}
		if got := slices.Sorted(maps.Keys(values)); !slices.Equal(got, want[v.Name]) {
			t.Errorf("variable %s has %v, want %v", v.Name, got, want[v.Name])
		}
	}
}

// commands holds that what the texts tell to type is there.
func (w *displayed) commands(t *testing.T) {
	named := map[string]bool{}
	command := regexp.MustCompile(`\bwimcast ((?:[a-z]+ ?){1,3})`)
	for _, p := range w.panels() {
		for _, m := range command.FindAllStringSubmatch(p.Description, -1) {
			named[strings.TrimSpace(m[1])] = true
		}
	}
	if len(named) < 5 {
		t.Errorf("commands found: %v", slices.Sorted(maps.Keys(named)))
	}
	for _, words := range slices.Sorted(maps.Keys(named)) {
		// The sentence goes on behind the command, which refuses words that are none.
		args, usage := strings.Fields(words), ""
		for ; usage == "" && len(args) > 0; args = args[:len(args)-1] {
			out, err := exec.CommandContext(w.ctx, w.programs.Client, append(slices.Clone(args), "--help")...).Output()
			if err == nil {
				usage, _, _ = strings.Cut(string(out), "\n")
			}
		}
		if usage == "" || strings.Contains(usage, "<command>") {
			t.Errorf("there is no command wimcast %s: %s", words, usage)
		}
	}
}

// alerts holds that each alert has a panel that leads to its runbook, and that the panel is red from the alert's number on.
func (w *displayed) alerts(t *testing.T) {
	rules, err := w.Rules(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`[<>=]=? (\d+(?:\.\d+)?)(?: \* (\d+))?`)
	limits := map[string][]float64{} // by the alert in lower case
	names := map[string]string{}
	for _, rule := range rules {
		anchor := strings.ToLower(rule.Name)
		names[anchor] = rule.Name
		for _, m := range number.FindAllStringSubmatch(rule.Query, -1) {
			limit, _ := strconv.ParseFloat(m[1], 64)
			if m[2] != "" {
				factor, _ := strconv.ParseFloat(m[2], 64)
				limit *= factor
			}
			limits[anchor] = append(limits[anchor], limit)
		}
	}
	linked := map[string]bool{}
	for _, p := range w.panels() {
		var numbers []float64
		for _, link := range p.Links {
			_, anchor, is := strings.Cut(link.URL, "monitoring.md#wimcast")
			if anchor = "wimcast" + anchor; !is || names[anchor] == "" {
				t.Errorf("%s leads to %s: there is no such alert", p.Title, link.URL)
				continue
			}
			linked[anchor] = true
			numbers = append(numbers, limits[anchor]...)
		}
		steps := p.Fields.Defaults.Thresholds.Steps
		for i, step := range steps {
			if step.Color != "red" || len(p.Links) == 0 {
				continue
			}
			// Red from a number on, or below the number where it isn't any more. 1 of what is counted is more than none.
			red := 0.0
			switch {
			case step.Value != nil:
				red = *step.Value
			case i+1 < len(steps):
				red = *steps[i+1].Value
			}
			if !slices.Contains(numbers, red) && (red != 1 || !slices.Contains(numbers, 0)) {
				t.Errorf("%s is red from %v on, its alerts have %v", p.Title, red, numbers)
			}
		}
	}
	for anchor, name := range names {
		if !linked[anchor] {
			t.Errorf("no panel leads to what to do about %s", name)
		}
	}
}
