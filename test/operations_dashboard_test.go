package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// What Grafana is given, as far as the tests judge it. (Package deploy/grafana holds that the file is what it makes.)
type (
	grafanaBoard struct {
		UID         string         `json:"uid"`
		Tags        []string       `json:"tags"`
		Crosshair   int            `json:"graphTooltip"`
		Panels      []grafanaPanel `json:"panels"`
		Links       []grafanaLink  `json:"links"`
		Annotations struct {
			List []struct {
				Name       string        `json:"name"`
				Datasource grafanaSource `json:"datasource"`
				Expr       string        `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
		Templating struct {
			List []struct {
				Type       string          `json:"type"`
				Name       string          `json:"name"`
				Query      json.RawMessage `json:"query"` // a text, or an object with one
				Datasource grafanaSource   `json:"datasource"`
				AllValue   string          `json:"allValue"`
			} `json:"list"`
		} `json:"templating"`
	}

	grafanaSource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}

	grafanaPanel struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Place       struct {
			X, Y, W, H int
		} `json:"gridPos"`
		Datasource grafanaSource   `json:"datasource"`
		Interval   string          `json:"interval"`
		Targets    []grafanaTarget `json:"targets"`
		Links      []grafanaLink   `json:"links"`
		Options    struct {
			Legend struct {
				Calcs []string `json:"calcs"`
			} `json:"legend"`
			YAxis struct {
				Unit string `json:"unit"`
			} `json:"yAxis"`
		} `json:"options"`
		Fields struct {
			Defaults struct {
				Unit     string  `json:"unit"`
				NoValue  *string `json:"noValue"`
				Mappings []struct {
					Options map[string]struct{ Text, Color string } `json:"options"`
				} `json:"mappings"`
				Thresholds struct {
					Steps []struct {
						Value *float64 `json:"value"`
						Color string   `json:"color"`
					} `json:"steps"`
				} `json:"thresholds"`
				Custom struct {
					SpanNulls any `json:"spanNulls"`
				} `json:"custom"`
			} `json:"defaults"`
			Overrides []struct {
				Matcher struct {
					ID      string `json:"id"`
					Options string `json:"options"`
				} `json:"matcher"`
				Properties []struct {
					ID    string          `json:"id"`
					Value json.RawMessage `json:"value"`
				} `json:"properties"`
			} `json:"overrides"`
		} `json:"fieldConfig"`
		Collapsed bool           `json:"collapsed"`
		Panels    []grafanaPanel `json:"panels"` // of a row that is closed
	}

	grafanaTarget struct {
		Ref        string        `json:"refId"`
		Expr       string        `json:"expr"`
		Legend     string        `json:"legendFormat"`
		Format     string        `json:"format"`
		Instant    bool          `json:"instant"`
		Datasource grafanaSource `json:"datasource"`
	}

	grafanaLink struct {
		Title string `json:"title"`
		URL   string `json:"url"`
	}

	// grafanaRow is a row with what is in it, wherever the file has that.
	grafanaRow struct {
		grafanaPanel
		within []grafanaPanel
	}
)

const dashboardFile = "../deploy/grafana/wimcast.json"

func readDashboard(t *testing.T) (d grafanaBoard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	return d
}

// rows are the dashboard's, from the top down.
func (d *grafanaBoard) rows() (rows []grafanaRow) {
	for _, p := range d.Panels {
		switch {
		case p.Type == "row":
			rows = append(rows, grafanaRow{p, p.Panels})
		case len(rows) == 0:
			rows = append(rows, grafanaRow{within: []grafanaPanel{p}}) // above any row: a fault that TestOperationsDashboardLayout names
		default:
			rows[len(rows)-1].within = append(rows[len(rows)-1].within, p)
		}
	}
	return rows
}

// panels are all that ask for something.
func (d *grafanaBoard) panels() (all []grafanaPanel) {
	for _, row := range d.rows() {
		all = append(all, row.within...)
	}
	return all
}

// variableQuery is what a variable asks, "" where it asks nothing.
func variableQuery(raw json.RawMessage) string {
	var asked struct {
		Query string `json:"query"`
	}
	if json.Unmarshal(raw, &asked) != nil {
		return ""
	}
	return asked.Query
}

// TestOperationsDashboardLayout: rows follow each other, panels fill them without gaps and without lying upon each other, and no number is there twice.
func TestOperationsDashboardLayout(t *testing.T) {
	const columns = 24 // Grafana's
	d := readDashboard(t)
	ids := map[int]string{}
	y := 0
	for _, row := range d.rows() {
		if row.Type != "row" {
			t.Fatalf("%s stands above the first row", row.within[0].Title)
		}
		if row.Place.X != 0 || row.Place.W != columns || row.Place.H != 1 || row.Place.Y != y {
			t.Errorf("row %s is at %+v, want line %d", row.Title, row.Place, y)
		}
		if row.Collapsed != (len(row.Panels) > 0) {
			t.Errorf("row %s: closed %v, with %d panels inside of it", row.Title, row.Collapsed, len(row.Panels))
		}
		y++
		covered := map[[2]int]string{}
		bottom := y
		for _, p := range append([]grafanaPanel{row.grafanaPanel}, row.within...) {
			if other, twice := ids[p.ID]; twice || p.ID == 0 {
				t.Errorf("%s has the number %d, as %q", p.Title, p.ID, other)
			}
			ids[p.ID] = p.Title
			if p.Type == "row" {
				continue
			}
			for x := p.Place.X; x < p.Place.X+p.Place.W; x++ {
				for line := p.Place.Y; line < p.Place.Y+p.Place.H; line++ {
					if other, is := covered[[2]int{x, line}]; is {
						t.Fatalf("%s lies upon %s at column %d, line %d", p.Title, other, x, line)
					}
					covered[[2]int{x, line}] = p.Title
				}
			}
			bottom = max(bottom, p.Place.Y+p.Place.H)
		}
		for line := y; line < bottom; line++ {
			for x := range columns {
				if covered[[2]int{x, line}] == "" {
					t.Fatalf("row %s has a gap at column %d, line %d", row.Title, x, line)
				}
			}
		}
		if want := (bottom - y) * columns; len(covered) != want {
			t.Errorf("row %s: panels cover %d places, want %d", row.Title, len(covered), want)
		}
		if !row.Collapsed {
			y = bottom
		}
	}
}

// TestOperationsDashboardReadable: whoever opens it at night finds a unit, a word for nothing, and what to do at every panel, and one colour for one state everywhere.
func TestOperationsDashboardReadable(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "wimcast" || !slices.Contains(d.Tags, "wimcast") || d.Crosshair != 1 {
		t.Errorf("uid %q, tags %v, crosshair %d", d.UID, d.Tags, d.Crosshair)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type == "query" && (v.Datasource.UID != "${datasource}" || v.AllValue != ".*") {
			t.Errorf("variable %s: %+v", v.Name, v)
		}
	}
	if want := []string{"datasource", "instance", "package", "session", "docs"}; !slices.Equal(names, want) {
		t.Errorf("variables %v, want %v", names, want)
	}
	titles := map[string]bool{}
	colours := map[string]string{} // by the word
	is := func(where, word, colour string) {
		if colours[word] == "" {
			colours[word] = colour
		}
		if colours[word] != colour {
			t.Errorf("%s: %s is %s, elsewhere %s", where, word, colour, colours[word])
		}
	}
	for _, p := range d.panels() {
		f := p.Fields.Defaults
		if titles[p.Title] || p.Title == "" {
			t.Errorf("the title %q is there twice, or missing", p.Title)
		}
		titles[p.Title] = true
		if len(p.Description) < 40 || !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%s doesn't say what it is and what to do: %q", p.Title, p.Description)
		}
		if f.Unit == "" && p.Options.YAxis.Unit == "" && p.Type != "table" && len(f.Mappings) == 0 {
			t.Errorf("%s has no unit", p.Title)
		}
		if f.NoValue == nil {
			t.Errorf("%s shows nothing where there is nothing", p.Title)
		}
		if p.Type == "timeseries" && (len(p.Options.Legend.Calcs) == 0 || f.Custom.SpanNulls != false) {
			t.Errorf("%s: legend %v, gaps spanned %v", p.Title, p.Options.Legend.Calcs, f.Custom.SpanNulls)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.Ref] || q.Ref == "" || q.Expr == "" || q.Datasource != p.Datasource {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			refs[q.Ref] = true
		}
		if want := (grafanaSource{"prometheus", "${datasource}"}); p.Datasource != want || len(p.Targets) == 0 {
			t.Errorf("%s asks %+v, %d queries", p.Title, p.Datasource, len(p.Targets))
		}
		for _, o := range p.Fields.Overrides {
			for _, property := range o.Properties {
				var colour struct{ FixedColor string }
				if property.ID == "color" && o.Matcher.ID == "byName" && json.Unmarshal(property.Value, &colour) == nil {
					is(p.Title, o.Matcher.Options, colour.FixedColor)
				}
			}
		}
		for _, mapping := range f.Mappings {
			for _, state := range mapping.Options {
				is(p.Title, state.Text, state.Color)
			}
		}
	}
	for word, want := range map[string]string{"proven": "green", "failed": "red", "receiving": "blue", "waiting": "yellow", "unicast": "purple", "up": "green", "down": "red"} {
		is("what is settled", word, want)
	}
}

// documented is a metric as docs/metrics.md has it.
type documented struct {
	kind   string
	labels map[string][]string // and their values, where these are listed
}

// documentedMetrics reads the table of docs/metrics.md.
func documentedMetrics(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile("^\\| `(wimcast_[a-z_]+)` \\| (\\w+) \\| (.*?) \\|")
	label := regexp.MustCompile("`([a-z_]+)`(?: \\(([^)]*)\\))?")
	all := map[string]documented{}
	for l := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		one := documented{kind: m[2], labels: map[string][]string{"instance": nil, "job": nil}}
		for _, of := range label.FindAllStringSubmatch(m[3], -1) {
			one.labels[of[1]] = nil
			if of[2] != "" {
				one.labels[of[1]] = strings.Split(of[2], ", ")
			}
		}
		if one.kind == "histogram" {
			one.labels["le"] = nil
		}
		all[m[1]] = one
	}
	if len(all) < 40 {
		t.Fatalf("docs/metrics.md: %d metrics found: the reading is broken", len(all))
	}
	return all
}

// selector is a metric with its matchers, as it stands in an expression.
type selector struct {
	metric   string
	matchers [][3]string // label, operator, value
}

var (
	selectors = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)
	matcher   = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	ourNames  = regexp.MustCompile(`\b(?:wimcast|go|process)_[a-z_]+\b`)
)

// selectorsOf takes an expression's selectors out of it. Each has braces: that is held.
func selectorsOf(t *testing.T, where, expr string) (all []selector) {
	t.Helper()
	for _, m := range selectors.FindAllStringSubmatch(expr, -1) {
		s := selector{metric: m[1]}
		for _, of := range matcher.FindAllStringSubmatch(m[2], -1) {
			s.matchers = append(s.matchers, [3]string(of[1:]))
		}
		all = append(all, s)
	}
	if bare := ourNames.FindAllString(selectors.ReplaceAllString(expr, ""), -1); len(bare) > 0 || len(all) == 0 {
		t.Errorf("%s: %v without a selector of what was chosen above: %s", where, bare, expr)
	}
	return all
}

// histogramOf is the metric of a histogram's series.
func histogramOf(name string) string { return strings.TrimSuffix(name, "_bucket") }

// everyExpression goes over all that the dashboard asks for.
func (d *grafanaBoard) everyExpression(each func(where, expr string)) {
	for _, p := range d.panels() {
		for _, q := range p.Targets {
			each(p.Title+" "+q.Ref, q.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		each("annotation "+a.Name, a.Expr)
	}
	for _, v := range d.Templating.List {
		query := variableQuery(v.Query)
		if inner, is := strings.CutPrefix(query, "label_values("); is {
			expr, _, _ := strings.Cut(inner, "}")
			each("variable "+v.Name, expr+"}")
		} else if query != "" {
			each("variable "+v.Name, query)
		}
	}
}

// notShown are metrics that the dashboard leaves out, each with the reason.
var notShown = map[string]string{}

// TestOperationsDashboardMetrics: what the dashboard asks for is in docs/metrics.md, labels and their values too, and what is there is on the dashboard.
func TestOperationsDashboardMetrics(t *testing.T) {
	d := readDashboard(t)
	known := documentedMetrics(t)
	shown := map[string]bool{}
	d.everyExpression(func(where, expr string) {
		for _, s := range selectorsOf(t, where, expr) {
			name := histogramOf(s.metric)
			var chosen []string // by the variables at the top
			for _, m := range s.matchers {
				if strings.HasPrefix(m[2], "$") {
					chosen = append(chosen, m[0])
				}
			}
			if !slices.Contains(chosen, "instance") && where != "variable instance" {
				t.Errorf("%s: %s isn't limited to the points that were chosen", where, s.metric)
			}
			if !strings.HasPrefix(name, "wimcast_") {
				if job := [3]string{"job", "=", "wimcast"}; name != "ALERTS" && !slices.Contains(s.matchers, job) {
					t.Errorf("%s: %s is of other programs too", where, name)
				}
				continue
			}
			shown[name] = true
			of, is := known[name]
			if !is || (of.kind == "histogram") != (name != s.metric) {
				t.Errorf("%s: %s is no metric of docs/metrics.md", where, s.metric)
				continue
			}
			for _, m := range s.matchers {
				values, is := of.labels[m[0]]
				if !is {
					t.Errorf("%s: %s has no label %s", where, name, m[0])
				}
				for value := range strings.SplitSeq(m[2], "|") {
					if values != nil && !strings.HasPrefix(value, "$") && !slices.Contains(values, value) {
						t.Errorf("%s: %s has no %s %q, it has %v", where, name, m[0], value, values)
					}
				}
			}
			for _, label := range []string{"package", "session"} { // what can be chosen is
				if _, is := of.labels[label]; is && !slices.Contains(chosen, label) && !strings.HasPrefix(where, "variable ") {
					t.Errorf("%s: %s isn't limited to the %s that was chosen", where, s.metric, label)
				}
			}
		}
		for _, counted := range regexp.MustCompile(`(\w+)\([^()]*?(wimcast_\w+_total)\{`).FindAllStringSubmatch(expr, -1) {
			if counted[1] != "rate" && counted[1] != "increase" {
				t.Errorf("%s: %s is a counter, and is shown as it is", where, counted[2])
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(known)) {
		reason, excused := notShown[name]
		if shown[name] == excused {
			t.Errorf("%s: on the dashboard %v, excused %q", name, shown[name], reason)
		}
	}
}

// TestOperationsDashboardWordsOfStates: what is coloured by a name is a value of the label that names the series.
func TestOperationsDashboardWordsOfStates(t *testing.T) {
	d := readDashboard(t)
	known := documentedMetrics(t)
	legend := regexp.MustCompile(`^\{\{(\w+)\}\}$`)
	for _, p := range d.panels() {
		for _, q := range p.Targets {
			m := legend.FindStringSubmatch(q.Legend)
			if m == nil || len(p.Targets) > 1 {
				continue
			}
			all := selectorsOf(t, p.Title, q.Expr)
			values := known[histogramOf(all[0].metric)].labels[m[1]]
			for _, o := range p.Fields.Overrides {
				if o.Matcher.ID == "byName" && values != nil && !slices.Contains(values, o.Matcher.Options) {
					t.Errorf("%s: %q is coloured, and is no %s of %s: %v", p.Title, o.Matcher.Options, m[1], all[0].metric, values)
				}
			}
		}
	}
	reasons := known["wimcast_session_rate_limit_reason"].labels["reason"]
	var shown []string
	for _, p := range d.panels() {
		if p.Title == "What decides the rate" {
			for i := range len(reasons) {
				shown = append(shown, p.Fields.Defaults.Mappings[0].Options[fmt.Sprint(i+1)].Text)
			}
		}
	}
	if !slices.Equal(shown, reasons) {
		t.Errorf("the band of reasons has %v, the metric %v", shown, reasons)
	}
}

// TestOperationsDashboardDocs: files for provisioning in docs/monitoring.md are what Grafana reads, and every link of the dashboard leads to a heading.
func TestOperationsDashboardDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	// What Grafana's documentation names of these files, as far as it is used.
	var file struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Folder, Type    string
			UpdateIntervalSeconds int `yaml:"updateIntervalSeconds"`
			Options               struct{ Path string }
		}
		Datasources []struct {
			Name, Type, Access, URL string
			JSONData                struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	provided := map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n# (/etc/grafana/[^\n]*)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		file.APIVersion, file.Providers, file.Datasources = 0, nil, nil
		decoder := yaml.NewDecoder(strings.NewReader(block[2]))
		decoder.KnownFields(true)
		if err := decoder.Decode(&file); err != nil || file.APIVersion != 1 {
			t.Errorf("%s: %v", block[1], err)
		}
		for _, p := range file.Providers {
			provided[p.Type] = p.Options.Path
		}
		for _, d := range file.Datasources {
			provided[d.Type] = d.URL
		}
	}
	if want := map[string]string{"file": "/usr/share/wimcast/grafana", "prometheus": "http://127.0.0.1:9090"}; !maps.Equal(provided, want) {
		t.Errorf("provided: %v, want %v", provided, want)
	}

	d := readDashboard(t)
	links := d.Links
	for _, p := range d.panels() {
		links = append(links, p.Links...)
	}
	pages := map[string]bool{}
	for _, link := range links {
		to, is := strings.CutPrefix(link.URL, "${docs:raw}/")
		name, anchor, _ := strings.Cut(to, "#")
		text, err := os.ReadFile(filepath.Join("../docs", name))
		if !is || err != nil {
			t.Errorf("%s leads to %s: %v", link.Title, link.URL, err)
			continue
		}
		pages[name] = true
		found := anchor == ""
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
			found = found || strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-") == anchor
		}
		if !found {
			t.Errorf("%s leads to %s, which has no such heading", link.Title, link.URL)
		}
	}
	if len(pages) < 2 {
		t.Errorf("pages linked: %v", pages)
	}
}
