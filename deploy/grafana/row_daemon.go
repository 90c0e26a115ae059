package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func daemon() section {
	return section{title: "Daemon", closed: true, lines: []line{
		{6, []place{
			{6, figure("Version", units.NoUnit,
				"The version of each daemon. Different ones understand each other within what docs/protocol.md says.",
				now("max by (instance, version) ("+metric("wimcast_build_info", ofInstance)+")", "{{version}} ({{instance}})")).
				TextMode(common.BigValueTextModeName).ColorMode(common.BigValueColorModeNone)},
			{6, figure("Certificates end in", units.Seconds,
				"Time until the daemon's certificate, its CA, bundles and points' credentials end. Red below 30 days: the runbook says how each is renewed; boot images hold bundles.",
				now("min by (instance, kind, name) ("+metric("wimcast_credential_expiry_timestamp_seconds", ofInstance)+") - time()", "{{kind}} {{name}}")).
				Orientation(common.VizOrientationHorizontal).TextMode(common.BigValueTextModeValueAndName).
				Thresholds(thresholds(everything(red), begins(credentialsDays*day, yellow), begins(3*credentialsDays*day, green))).
				Links(runbook("WimcastCredentialEnding"))},
			{6, figure("Latest reload", units.Short,
				"Whether the latest reload of the configuration was good. Bad: nothing changed, the daemon goes on with the old one; wimcastd --check names the key and the line.",
				now("min by (instance) ("+metric("wimcast_config_last_reload_successful", ofInstance)+")", "{{instance}}")).
				Mappings(means(state{"0", "bad", red}, state{"1", "good", green})).
				Thresholds(thresholds(everything(red), begins(1, green))).
				Links(runbook("WimcastConfigurationBad"))},
			{6, figure("Configuration read", units.DateTimeFromNow,
				"When the configuration in use was read. Later than the file was changed: wimcastd took the change; else reload it (systemctl reload wimcastd).",
				now("1000 * max by (instance) ("+metric("wimcast_config_last_reload_success_timestamp_seconds", ofInstance)+")", "{{instance}}")).
				ColorMode(common.BigValueColorModeNone)},
		}},
		{8, []place{
			{8, bars(graph("Handshakes, by result", units.Short,
				"Handshakes on the control channel, for unicast and for the admin API. ok is good. untrusted, wrong_role: a machine with another site's bundle. expired, not_yet_valid: certificates, or clocks. revoked: a bundle that was withdrawn. timed_out in numbers: packets get lost, or a flood.",
				series(happened("channel, result", metric("wimcast_handshakes_total", ofInstance))+" > 0", "{{channel}} {{result}}"))).
				Overrides([]special{matching(` ok$`, property("color", colour(green)))})},
			{8, bars(graph("PINs, by result", units.Short,
				"PINs that clients showed. wrong that grows is somebody who guesses: wimcast pin list says where. limited: not looked at, as too many were tried.",
				series(happened("result", metric("wimcast_pin_attempts_total", ofInstance))+" > 0", "{{result}}"))).
				Decimals(0).NoValue("none").
				Overrides(coloured("right", "wrong", "limited", "closed", "pass"))},
			{8, bars(graph("Logs of clients", units.Short,
				"Logs that clients sent after a failure. stored is good: wimcast client log shows them. full: the disk; limited, too_large, malformed: somebody sends what he shouldn't.",
				series(happened("result", metric("wimcast_client_logs_total", ofInstance))+" > 0", "{{result}}"))).
				Decimals(0).NoValue("none").
				Overrides(coloured("stored"))},
		}},
		{8, []place{
			{12, bars(graph("Links to the web page, by result", units.Short,
				"Links that were followed. refused: used already, older than five minutes, or made up; many of these, or any limited, is somebody who tries: the log says from where (page login refused).",
				series(happened("result", metric("wimcast_page_logins_total", ofInstance))+" > 0", "{{result}}"))).
				Decimals(0).NoValue("none").
				Overrides(coloured("accepted", "refused", "limited"))},
			{12, graph("Who watches a session", units.Short,
				"Streams of a session's live state that are open, 32 at most. Clients of those sessions tell their maps meanwhile.",
				series("sum by (instance) ("+metric("wimcast_live_viewers", ofInstance)+")", "{{instance}}")).
				Decimals(0)},
		}},
		{8, []place{
			{6, graph("Records of the history", units.Short,
				"What the record holds. It is cut by age; wimcast history list reads it.",
				series("sum by (instance, kind) ("+metric("wimcast_history_records", ofInstance)+")", "{{kind}} ({{instance}})")).
				NoValue("no history kept")},
			{6, bars(graph("History: lost and not written", units.Short,
				"Records that were lost, and writes that failed (each is tried again after a second). Not 0: the disk is full or broken; the log says which. Casts go on.",
				series(happened("instance", metric("wimcast_history_dropped_total", ofInstance)), "lost ({{instance}})"),
				series(happened("instance", metric("wimcast_history_write_failures_total", ofInstance)), "not written ({{instance}})"))).
				Decimals(0).
				ColorScheme(fixed(red)).
				Links(runbook("WimcastHistoryUnwritten"))},
			{6, figure("The record goes back to", units.DateTimeFromNow,
				"Start of the oldest session in the history.",
				now("1000 * min by (instance) ("+metric("wimcast_history_oldest_timestamp_seconds", ofInstance)+")", "{{instance}}")).
				NoValue("empty").
				ColorMode(common.BigValueColorModeNone)},
			{6, graph("Open files", units.Short,
				"File descriptors of the daemon, and how many it may have (dashed). A line that only grows is a fault: wimcast support, and report it.",
				series("max by (instance) ("+metric("process_open_fds", ofJob)+")", "{{instance}}"),
				series("max by (instance) ("+metric("process_max_fds", ofJob)+")", "{{instance}} limit")).
				ScaleDistribution(logarithmic()).Min(1).
				Overrides([]special{matching(` limit$`, property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}), property("custom.fillOpacity", 0))})},
		}},
		{8, []place{
			{8, graph("CPU", units.PercentUnit,
				"Processor time of the daemon; 100 % is one core. Near the number of cores while the rate is below its target: the machine is what limits.",
				series(each("instance", metric("process_cpu_seconds_total", ofJob)), "{{instance}}"))},
			{8, graph("Memory", units.BytesIEC,
				"Memory of the daemon, and what of it is Go's heap. It doesn't depend on the image's size: a line that only grows is a fault.",
				series("max by (instance) ("+metric("process_resident_memory_bytes", ofJob)+")", "{{instance}}"),
				series("max by (instance) ("+metric("go_memstats_heap_inuse_bytes", ofJob)+")", "{{instance}} heap"))},
			{8, graph("Goroutines", units.Short,
				"Threads of work in the daemon: a few for each client, and back again after the cast.",
				series("max by (instance) ("+metric("go_goroutines", ofJob)+")", "{{instance}}"))},
		}},
	}}
}
