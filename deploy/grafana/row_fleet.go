package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func fleet() section {
	return section{title: "Fleet: site and points", closed: true, lines: []line{
		{8, []place{
			{8, steps(stacked(graph("Packages at points, by state", units.Short,
				"At a site: packages of all points as they last said. Good: green alone. Red failed at a point: wimcast fleet status says where and why. grey (not_told): the point hasn't answered yet.",
				series("sum by (state) ("+metric("wimcast_distribution_packages", ofInstance)+")", "{{state}}")))).
				Decimals(0).NoValue("no site").
				Overrides(coloured("not_told", "waiting", "in_progress", "success", "failed", "leaving")).
				Links(runbook("WimcastPackageFailing"))},
			{8, figure("Not there yet, by point", units.Short,
				"At a site: packages that a point shall have and hasn't, and those that failed there. Green 0 everywhere is good.",
				now(`sum by (point) (`+metric("wimcast_distribution_packages", ofInstance, `state=~"not_told|waiting|in_progress"`)+`)`, "{{point}}: to come"),
				now(`sum by (point) (`+metric("wimcast_distribution_packages", ofInstance, `state="failed"`)+`)`, "{{point}}: failed")).
				NoValue("no site").
				Thresholds(thresholds(everything(green), begins(1, blue))).
				Overrides([]special{matching(`: failed$`, property("thresholds", stepsOf(everything(green), begins(1, red))))})},
			{8, limit(graph("Age of points' reports", units.Seconds,
				"At a site: time since each point last said how it is. It does so every 30 s. From 300 s on (dashed) it is out of reach: its daemon, its link, its certificate. It goes on casting what it has.",
				series("time() - max by (instance, point) ("+metric("wimcast_point_last_report_timestamp_seconds", ofInstance)+")", "{{point}}")),
				everything(green), begins(reportLate, red)).
				NoValue("no site").
				Links(runbook("WimcastPointOutOfReach"))},
		}},
		{8, []place{
			{12, graph("Pulled from the registry", units.BytesPerSecondSI,
				"At points: what comes from the registry, and the limit that the hours set (dashed); 0 while they are closed.",
				series(each("instance", metric("wimcast_pull_bytes_total", ofInstance)), "{{instance}}"),
				series("max by (instance) ("+metric("wimcast_pull_limit_bytes_per_second", ofInstance)+")", "{{instance}} limit")).
				Overrides([]special{matching(` limit$`, property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}), property("custom.fillOpacity", 0))})},
			{12, bars(graph("Pulls that failed", units.Short,
				"At points: failures of asking the site and of pulling. unavailable: registry or link down, it goes on by itself. unauthorized: its credentials. wrong_bytes, origin, replayed: refused, somebody should look. disk_full: make room. "+
					"wimcast fleet status has the words of each.",
				series(happened("instance, reason", metric("wimcast_pull_failures_total", ofInstance))+" > 0", "{{reason}} ({{instance}})"))).
				Decimals(0).NoValue("none")},
		}},
	}}
}
