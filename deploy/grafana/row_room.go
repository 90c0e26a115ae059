package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// Where alerts begin: the numbers of deploy/prometheus/wimcast.rules.yml, held by a test.
const (
	stalledAfter    = 60.0  // s without progress
	overdueAfter    = 120.0 // s beyond the deadline
	fallbackStorm   = 3.5   // clients in 10 min that hear nothing; Prometheus has parts of one
	failedShare     = 0.05  // of the clients that ended
	repairHigh      = 0.10  // parity by source
	blocksBad       = 10.0  // blocks in 15 min that failed their hash
	querierSilent   = 300.0 // s
	reportLate      = 300.0 // s
	credentialsDays = 30.0
	day             = 86400.0
)

// room answers: is the room going well?
func room() section {
	slowest := figure("Slowest client", units.PercentUnit,
		"Share of the image that the slowest client has proven, over all sessions shown. Rises until it is 100 %: the room is done. "+
			"Stands still while others rise: one machine is slow; wimcast session show ID --slow says which and why.",
		series("min("+session("wimcast_session_progress_ratio", `stat="min"`)+")", "")).
		Min(0).Max(1).NoValue(noSession).
		Thresholds(thresholds(everything(blue), begins(1, green))).
		GraphMode(common.BigValueGraphModeArea)

	return section{title: "Is the room going well?", lines: []line{
		{4, []place{
			{4, figure("Daemons down", units.Short,
				"Distribution points that Prometheus doesn't reach. Not 0: nobody casts from there. On the machine: systemctl status wimcastd, then journalctl -u wimcastd.",
				now(`count(`+metric("up", ofJob)+` == 0) or vector(0)`, "")).
				Mappings(means(state{"0", "all up", green})).
				Thresholds(thresholds(everything(green), begins(1, red))).
				Links(runbook("WimcastDown"))},
			{4, figure("Alerts", units.Short,
				"Alerts that fire now, of the rules that come with wimcast. Each has a runbook (above). Red lines in the graphs show when they began.",
				now("count("+firing+") or vector(0)", "")).
				Mappings(means(state{"0", "none", green})).
				Thresholds(thresholds(everything(green), begins(1, red)))},
			{4, slowest},
			{4, figure("Longest without progress", units.Seconds,
				"Seconds since a client of a session last proved a block, while clients receive. Red from 60 s: the session stands still; wimcast session show ID --slow has what the machines say, then wimcast doctor, on the server and in the room.",
				now("max("+standing+")", "")).
				NoValue("nobody receives").
				Thresholds(thresholds(everything(green), begins(stalledAfter/2, yellow), begins(stalledAfter, red))).
				Links(runbook("WimcastStalled"))},
			{4, figure("Failed, last 30 min", units.PercentUnit,
				"Of the clients that ended in the last 30 minutes, the share that failed or was lost (off, unplugged), of the package that is worst off. Red from 5 %: wimcast session show ID (of one that is over: wimcast history show) names them, with reasons.",
				now("max("+failed+" / ("+ended+" > 0))", "")).
				NoValue("nobody ended").
				Thresholds(thresholds(everything(green), begins(failedShare/2, yellow), begins(failedShare, red))).
				Links(runbook("WimcastClientsFailing"))},
			{4, figure("Latest IGMP query", units.Seconds,
				"Age of the latest query of an IGMP querier, on the interface where it is longest ago. Switches that snoop forget their members 260 s after it, and casts stop. "+
					"Red from 300 s: turn a querier on at the switch. None yet: none was heard since the start, or the daemon has no CAP_NET_RAW.",
				series("max(time() - "+metric("wimcast_igmp_querier_last_seen_timestamp_seconds", ofInstance)+")", "")).
				NoValue("none heard").
				Thresholds(thresholds(everything(green), begins(querierSilent/2, yellow), begins(querierSilent, red))).
				GraphMode(common.BigValueGraphModeArea).
				Links(runbook("WimcastQuerierLost"))},
		}},
		{8, []place{
			{8, steps(stacked(graph("Clients by state", units.Short,
				"Clients of the sessions shown. Good: yellow (waiting) turns blue (receiving), then green (proven). Red failed, orange was sent to a slower session, purple fetches by unicast. "+
					"Sessions stay here for 10 minutes after their end.",
				series("sum by (state) ("+session("wimcast_session_clients")+")", "{{state}}")))).
				NoValue(noSession).Decimals(0).Legend(legend("lastNotNull")).
				Overrides(coloured("waiting", "receiving", "demoted", "unicast", "proven", "failed"))},
			{8, graph("Progress", units.PercentUnit,
				"Share of the image proven: by the slowest client, the one in the middle, the fastest. Good: the three lie close together and rise evenly. A low orange line alone is one slow machine; "+
					"all three flat is the network or the server.",
				series(session("wimcast_session_progress_ratio"), "{{session}} {{stat}} ({{instance}})")).
				NoValue(noSession).Max(1).Legend(legend("lastNotNull")).
				Overrides([]special{
					matching(` median \(`, property("color", colour(colours["median"])), property("custom.lineWidth", 2)),
					matching(` min \(`, property("color", colour(colours["min"]))),
					matching(` max \(`, property("color", colour(colours["max"]))),
				})},
			{8, graph("Rate against target", units.BytesPerSecondSI,
				"What goes out to groups, and what the rate law wants (dashed); UDP payload. Good: both lie together, near the ceiling. Far below the target: the server can't send or read so fast (CPU, disk, interface). "+
					"A low target has its reason in the band below. What was sent counts all sessions of a package.",
				series(each("instance, package", metric("wimcast_sent_bytes_total", ofPackage)), "{{package}} sent ({{instance}})"),
				series("sum by (instance, package) ("+metric("wimcast_session_rate_target_bytes_per_second", ofSession)+" * on (instance, session) group_left (package) "+sessionInfo+")",
					"{{package}} target ({{instance}})")).
				NoValue(noSession).
				Overrides([]special{matching(` target \(`,
					property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}),
					property("custom.fillOpacity", 0), property("custom.lineWidth", 2))})},
		}},
		{7, []place{
			{8, stacked(graph("Packets lost, by where", units.PacketsPerSecond,
				"Packets that clients lost, of all clients together. network: on the way (cable, switch, access point). receive_buffer: the machine was too busy to take them. disk: its disk was too late to write them. "+
					"Repair makes up for it; it matters while the rate stays low because of it.",
				series(each("cause", metric("wimcast_client_lost_packets_total", ofPackage)), "{{cause}}"))).
				Overrides(coloured("network", "receive_buffer", "disk"))},
			{8, limit(steps(stacked(graph("Went unicast in 10 min, by reason", units.Short,
				"Clients that went unicast in the last 10 minutes, and why. More than 3 that say group_silent (dashed) is an alert: they hear nothing of the group; IGMP querier, snooping, TTL or a firewall. "+
					"too_slow, costly: single machines with bad cables or disks. out_of_reach: in another VLAN, with TTL 1.",
				series(within("reason", metric("wimcast_unicast_fallbacks_total", ofPackage)), "{{reason}}")))),
				everything(green), begins(fallbackStorm, red)).
				Legend(legend("lastNotNull", "max")).
				Links(runbook("WimcastFallbackStorm")).
				Overrides(coloured("group_silent", "out_of_reach", "join_failed", "costly", "operator", "too_slow", "overflow", "unicast_only"))},
			{8, band("What decides the rate",
				"For each session, what limits its rate now. ceiling is good: it sends as much as it may. probing: it finds out how much more goes. loss, delay: the network is full or lossy. receive_buffer: machines are too slow. "+
					"To give it more: wimcast session set ID --ceiling.",
				rateReasons(), series(reasonCode(), "{{session}} ({{instance}})")).
				NoValue(noSession)},
		}},
	}}
}

// Clients that didn't get it in the last half hour, and all that ended. Applying comes after proof: it isn't another client.
var (
	failed = "sum by (instance, package) (increase(" + metric("wimcast_client_results_total", ofPackage, `result=~"failed|lost"`) + "[30m]))"
	ended  = "sum by (instance, package) (increase(" + metric("wimcast_client_results_total", ofPackage, `result!~"applied|apply_failed"`) + "[30m]))"
)

// standing is the time without progress of sessions that somebody still receives in.
var standing = "time() - (" + session("wimcast_session_last_progress_timestamp_seconds") + ") and on (instance, session) " +
	"sum by (instance, session) (" + metric("wimcast_session_clients", ofSession, `state=~"receiving|unicast"`) + ") > 0"

// reasons of the rate law, in the order of their numbers in the band: a band shows one value a row.
var reasons = []state{
	{"0", "not casting", grey},
	{"1", "starting", lightBlue},
	{"2", "probing", blue},
	{"3", "ceiling", green},
	{"4", "loss", red},
	{"5", "receive_buffer", orange},
	{"6", "delay", yellow},
}

func rateReasons() []dashboard.ValueMapping { return means(reasons...) }

// reasonCode makes one number of the series of each reason, of which one at most is 1.
func reasonCode() string {
	code := ""
	for _, r := range reasons[1:] {
		if code != "" {
			code += " or "
		}
		code += r.value + " * " + metric("wimcast_session_rate_limit_reason", ofSession, `reason="`+r.text+`"`)
	}
	return "max by (instance, session) (" + code + ") and on (instance, session) " + sessionInfo
}
