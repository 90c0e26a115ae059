package main

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// Selectors of what was chosen at the top of the dashboard.
const (
	ofInstance = `instance=~"$instance"`
	ofPackage  = `instance=~"$instance", package=~"$package"`
	ofSession  = `instance=~"$instance", session=~"$session"`
	ofJob      = `job="wimcast", instance=~"$instance"` // of metrics that other programs have too

	// firing is what the rules of deploy/prometheus say now.
	firing = `ALERTS{alertname=~"Wimcast.+", alertstate="firing", instance=~"$instance"}`

	// sessionInfo has a series for each session of the chosen packages: gauges of sessions don't carry the package.
	sessionInfo = `wimcast_session_info{instance=~"$instance", session=~"$session", package=~"$package"}`
)

// metric is a metric of the chosen points; further matchers follow.
func metric(name, selector string, more ...string) string {
	return name + "{" + strings.Join(append([]string{selector}, more...), ", ") + "}"
}

// session is a gauge of the chosen sessions, of the chosen packages alone.
func session(name string, more ...string) string {
	return metric(name, ofSession, more...) + " and on (instance, session) " + sessionInfo
}

// each is a rate of counters, by a label.
func each(by, counter string) string {
	return "sum by (" + by + ") (rate(" + counter + "[$__rate_interval]))"
}

// happened is how much counters grew in the time of a bar, by a label.
func happened(by, counter string) string {
	return "sum by (" + by + ") (increase(" + counter + "[$__interval]))"
}

// within is how much counters grew in 10 minutes, by a label. Few and far between, they are seen better so than
// as rates, and the alerts count the same way.
func within(by, counter string) string {
	return "sum by (" + by + ") (increase(" + counter + "[10m]))"
}

// series asks for a line or more over the time shown.
func series(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(source()).EditorMode(prometheus.QueryEditorModeCode).
		Expr(expr).LegendFormat(legend).Format(prometheus.PromQueryFormatTimeSeries).Range()
}

// now asks for the latest value.
func now(expr, legend string) *prometheus.DataqueryBuilder {
	return series(expr, legend).Instant()
}

// column asks for a column of a table.
func column(ref, expr string) *prometheus.DataqueryBuilder {
	return now(expr, "").RefId(ref).Format(prometheus.PromQueryFormatTable)
}

// buckets asks for a heatmap of a histogram: how many fell into each of its buckets, at each time.
func buckets(histogram string) *prometheus.DataqueryBuilder {
	return series("sum by (le) (increase("+histogram+"[$__rate_interval]))", "{{le}}").Format(prometheus.PromQueryFormatHeatmap)
}

func lower(s string) string { return strings.ToLower(s) }
