package test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"wimcast/test/prometheus"
)

// rulesFile is the alert rules as they are shipped.
const rulesFile = "../deploy/prometheus/wimcast.rules.yml"

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestOperationsRules has promtool look at what is shipped, and try the rules on made-up numbers.
func TestOperationsRules(t *testing.T) {
	for _, args := range [][]string{
		{"check", "config", "../deploy/prometheus/wimcast.scrape.yml"}, // and the rules, which it names
		{"check", "rules", rulesFile},
		{"test", "rules", "../deploy/prometheus/wimcast.rules.test.yml"},
	} {
		if _, err := prometheus.Promtool(t.Context(), nil, args...); errors.Is(err, prometheus.ErrMissing) {
			t.Skip(err)
		} else if err != nil {
			t.Error(err)
		}
	}
}

// TestOperationsRunbook: every alert has its section in docs/monitoring.md, an expected case in the rules' tests, and the severity of a closed list.
func TestOperationsRunbook(t *testing.T) {
	rules, docs, tests := readFile(t, rulesFile), readFile(t, "../docs/monitoring.md"), readFile(t, "../deploy/prometheus/wimcast.rules.test.yml")
	alerts := regexp.MustCompile(`(?m)^      - alert: (\w+)$`).FindAllStringSubmatchIndex(rules, -1)
	if len(alerts) < 8 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for i, at := range alerts {
		end := len(rules)
		if i+1 < len(alerts) {
			end = alerts[i+1][0]
		}
		name, rule := rules[at[2]:at[3]], rules[at[0]:end]
		if !strings.Contains(docs, "\n### "+name+"\n") {
			t.Errorf("docs/monitoring.md has no section ### %s", name)
		}
		if !strings.Contains(rule, "\n          runbook_url: docs/monitoring.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s: the runbook isn't its section of docs/monitoring.md", name)
		}
		if !regexp.MustCompile(`\n          severity: (page|warn|ticket)\n`).MatchString(rule) {
			t.Errorf("%s: severity isn't page, warn or ticket", name)
		}
		if !regexp.MustCompile(`alertname: ` + name + `\n +exp_alerts:\n`).MatchString(tests) {
			t.Errorf("%s: no case in which it fires", name)
		}
		if !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts: []\n") {
			t.Errorf("%s: no case in which it stays quiet", name)
		}
	}
	for _, section := range regexp.MustCompile(`(?m)^### (Wimcast\w+)$`).FindAllStringSubmatch(docs, -1) {
		if !strings.Contains(rules, "- alert: "+section[1]+"\n") {
			t.Errorf("docs/monitoring.md has a section for %s, which no rule is", section[1])
		}
	}
}
