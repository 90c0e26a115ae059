package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func library() section {
	return section{title: "Library and servicing", closed: true, lines: []line{
		{8, []place{
			{6, figure("Packages", units.Short,
				"Packages that can be cast, and those out of service: their content no longer matches its hashes, and nobody gets it. wimcast image verify says more; wimcast image list has the state.",
				now("sum by (state) ("+metric("wimcast_library_packages", ofInstance)+")", "{{state}}")).
				Orientation(common.VizOrientationHorizontal).TextMode(common.BigValueTextModeValueAndName).
				Thresholds(thresholds(everything(green))).
				Overrides([]special{named("out_of_service", property("thresholds", stepsOf(everything(green), begins(1, red))))}).
				Links(runbook("WimcastContentBad"))},
			{6, graph("Free where the library lies", units.BytesIEC,
				"Bytes free on the library's disk. An image that is added, pulled or serviced needs its size once more. Low: wimcast image list, and remove old versions.",
				series("min by (instance) ("+metric("wimcast_library_free_bytes", ofInstance)+")", "{{instance}}")).
				Legend(legend("lastNotNull", "min"))},
			{6, bars(graph("Validations", units.Short,
				"Looks at stored content, by the schedule or by hand. matches is good; damaged took a package out of service, refilled mended it from its source, not_mended couldn't, unreadable is a disk that fails.",
				series(happened("result", metric("wimcast_library_validations_total", ofInstance))+" > 0", "{{result}}"))).
				Decimals(0).
				Overrides(coloured("matches", "damaged", "refilled", "not_mended", "unreadable"))},
			{6, figure("Longest without validation", units.Seconds,
				"Age of the content that was validated longest ago. It should stay below the schedule's interval; wimcast image verify validates now.",
				now("max by (instance) (time() - "+metric("wimcast_library_oldest_validation_timestamp_seconds", ofInstance)+")", "{{instance}}")).
				NoValue("nothing stored").
				Thresholds(thresholds(everything(green), begins(8*day, yellow), begins(30*day, red)))},
		}},
		{7, []place{
			{24, steps(stacked(graph("Schedules of servicing", units.Short,
				"Schedules by state. One that recurs waits again after each run, however that ended: wimcast events and the log tell of runs that failed.",
				series("sum by (state) ("+metric("wimcast_servicing_schedules", ofInstance)+")", "{{state}}")))).
				Decimals(0).
				Overrides(coloured("waiting", "in_process", "successful", "failed", "cancelled"))},
		}},
	}}
}
