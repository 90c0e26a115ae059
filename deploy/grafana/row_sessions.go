package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func sessions() section {
	return section{title: "Sessions", lines: []line{
		{9, []place{{24, sessionTable()}}},
		{8, []place{
			{8, limit(graph("Seconds without progress", units.Seconds,
				"Time since a client last proved a block. Saw teeth of a few seconds are normal; from 60 s on (dashed), with clients receiving, the session stalls.",
				series(standing, "{{session}} ({{instance}})")),
				everything(green), begins(stalledAfter, red)).
				NoValue("nobody receives").
				Links(runbook("WimcastStalled"))},
			{8, limit(graph("Beyond the deadline", units.Seconds,
				"Time since a session should have begun to cast at the latest, while clients wait. Below 0: still to go. From 120 s on (dashed) something holds it back: wimcast session show ID says what, wimcast session start ID starts it.",
				series("time() - ("+session("wimcast_session_start_deadline_timestamp_seconds")+")", "{{session}} ({{instance}})")),
				everything(green), begins(overdueAfter, red)).
				AxisSoftMax(overdueAfter).NoValue("no session waits").
				Links(runbook("WimcastWaitingTooLong"))},
			{8, steps(stacked(graph("Waiting for a place", units.Short,
				"Clients that wait for a place in a session, by the limit that is full. wimcast queue has their names; the limits are in wimcastd.toml.",
				series("sum by (limit) ("+metric("wimcast_queue_clients", ofInstance)+")", "{{limit}}")))).
				Decimals(0)},
		}},
		{8, []place{
			{8, heat("Time to receive", units.Seconds,
				"How long clients that proved the image took for it, from the start of receiving. One band is good; a second one above it is a group of slow machines.",
				buckets(metric("wimcast_client_phase_duration_seconds_bucket", ofPackage, `phase="receive"`)))},
			{8, levels("Phases, over the time shown", units.Seconds,
				"Of the clients that ended in the time shown: half took no longer than the first figure, 95 of 100 no longer than the second. wait: from the join to the start; receive: until proven; apply: until Windows was on the disk. "+
					"A long wait is the start rule of the session, not the network.",
				now(quantile("0.5", "phase"), "{{phase}}, half"),
				now(quantile("0.95", "phase"), "{{phase}}, 95 %")).
				Thresholds(thresholds(everything(blue)))},
			{8, bars(graph("Clients that ended", units.Short,
				"Clients that ended, by result. Red failed; light red was lost (off, unplugged); orange was dropped as too slow, by policy. Dark green applied the image.",
				series(happened("result", metric("wimcast_client_results_total", ofPackage)), "{{result}}"))).
				Decimals(0).
				Overrides(coloured("proven", "failed", "left", "lost", "evicted", "dropped", "applied", "apply_failed")).
				Links(runbook("WimcastApplyFailing"))},
		}},
	}}
}

// quantile is one of the phases' durations, over the time shown.
func quantile(q, by string) string {
	return "histogram_quantile(" + q + ", sum by (le, " + by + ") (increase(" + metric("wimcast_client_phase_duration_seconds_bucket", ofPackage) + "[$__range])))"
}

// sessionTable has a line for each session. Its columns come from a query each, merged by what they have in common: instance and session.
func sessionTable() *table.PanelBuilder {
	bySession := func(expr string) string { return "max by (instance, session) (" + expr + ")" }
	clients := func(states string) string {
		return "sum by (instance, session) (" + session("wimcast_session_clients", `state=~"`+states+`"`) + ")"
	}
	columns := []struct {
		ref, title, expr string
		special          []dashboard.DynamicConfigValue
	}{
		{"A", "", "max by (instance, session, package, deployment, mode) (" + sessionInfo + ")", nil},
		{"B", "Waiting", clients("waiting"), count(yellow)},
		{"C", "Receiving", clients("receiving"), count(blue)},
		{"D", "Unicast", clients("unicast"), count(purple)},
		{"E", "Demoted", clients("demoted"), count(orange)},
		{"F", "Proven", clients("proven"), count(green)},
		{"G", "Failed", clients("failed"), count(red)},
		{"H", "Slowest", bySession(session("wimcast_session_progress_ratio", `stat="min"`)), progress()},
		{"I", "Median", bySession(session("wimcast_session_progress_ratio", `stat="median"`)), progress()},
		{"J", "Target", bySession(session("wimcast_session_rate_target_bytes_per_second")), []dashboard.DynamicConfigValue{property("unit", units.BytesPerSecondSI)}},
		{"K", "Latest progress", bySession("1000 * (" + session("wimcast_session_last_progress_timestamp_seconds") + ")"), []dashboard.DynamicConfigValue{property("unit", units.DateTimeFromNow)}},
		{"L", "Starts at the latest", bySession("1000 * (" + session("wimcast_session_start_deadline_timestamp_seconds") + ")"), []dashboard.DynamicConfigValue{property("unit", units.DateTimeFromNow)}},
	}
	titles := map[string]string{"session": "Session", "package": "Package", "deployment": "Deployment", "mode": "Mode", "instance": "Point"}
	order := map[string]int{"session": 0, "package": 1, "deployment": 2, "mode": 3}
	var queries []*prometheus.DataqueryBuilder
	var specials []special
	for i, c := range columns {
		queries = append(queries, column(c.ref, c.expr))
		if c.title == "" {
			continue
		}
		value := "Value #" + c.ref
		titles[value], order[value] = c.title, i+len(order)
		specials = append(specials, named(c.title, c.special...))
	}
	order["instance"] = len(order)
	return table.NewPanelBuilder().
		Title("Sessions").
		Description("One line for each session that runs, or ended in the last 10 minutes. Package and deployment say whose room it is. For one machine: wimcast session show ID.").
		Datasource(source()).Targets(targets(queries)).
		NoValue("").
		CellHeight(common.TableCellHeightSm).
		Transformations([]dashboard.DataTransformerConfig{
			{Id: "merge", Options: map[string]any{}},
			{Id: "organize", Options: map[string]any{
				"excludeByName": map[string]bool{"Time": true, "Value #A": true},
				"indexByName":   order,
				"renameByName":  titles,
			}},
		}).
		SortBy([]sorted{common.NewTableSortByFieldStateBuilder().DisplayName("Session").Desc(true)}).
		Overrides(specials)
}

// count is a cell in the colour of its state, unless it is 0.
func count(name string) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{
		property("custom.cellOptions", map[string]any{"type": "color-text"}),
		property("thresholds", dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{everything(grey), begins(1, name)}}),
		property("custom.width", 95),
	}
}

// progress is a cell with a bar.
func progress() []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{
		property("unit", units.PercentUnit), property("min", 0), property("max", 1),
		property("custom.cellOptions", map[string]any{"type": "gauge", "mode": "basic"}),
		property("thresholds", dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: []dashboard.Threshold{everything(blue), begins(1, green)}}),
	}
}
