package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// upOrDown is what 1 and 0 mean of an interface.
var upOrDown = []state{{"0", "down", red}, {"1", "up", green}}

func network() section {
	return section{title: "Network", lines: []line{
		{8, []place{
			{8, graph("Sent, by interface", units.BytesPerSecondSI,
				"UDP payload that goes out to groups. With several interfaces each carries all of it. One that carries less has send errors (beside).",
				series(each("instance, interface", metric("wimcast_interface_sent_bytes_total", ofInstance)), "{{interface}} ({{instance}})"))},
			{8, bars(graph("Send errors", units.Short,
				"Sends to groups that failed. no_buffer: the device's queue was full, each try counts, lost gives them up: lower the ceiling. too_large: lower multicast.mtu. network: link down, or forbidden. "+
					"retried and offload are harmless, once or twice.",
				series(happened("instance, interface, reason", metric("wimcast_send_errors_total", ofInstance))+" > 0", "{{interface}} {{reason}} ({{instance}})"))).
				NoValue("none").Decimals(0)},
			{8, band("Interfaces",
				"1 while an interface that groups go out on is up and has a carrier. Red: a cable, a switch port, or somebody who took it down; nothing goes out there.",
				means(upOrDown...),
				series("max by (instance, interface) ("+metric("wimcast_interface_up", ofInstance)+")", "{{interface}} ({{instance}})")).
				Links(runbook("WimcastInterfaceDown"))},
		}},
		{8, []place{
			{8, limit(graph("Age of the latest IGMP query", units.Seconds,
				"Time since a querier was heard. A querier asks about every 125 s: saw teeth up to there are good. A line that climbs: it is gone; casts stop 260 s after the last query. Turn one on at the switch.",
				series("time() - max by (instance, interface) ("+metric("wimcast_igmp_querier_last_seen_timestamp_seconds", ofInstance)+")", "{{interface}} ({{instance}})")),
				everything(green), begins(querierSilent, red)).
				NoValue("none heard").
				Links(runbook("WimcastQuerierLost"))},
			{8, graph("Packets thrown away, by reason", units.PacketsPerSecond,
				"What the daemon refused. A little is normal: control_cookie is the first hello of every client. Much of control_hello_rate, control_full or control_unproven: somebody floods it with hellos. "+
					"mailbox_full: sessions can't keep up (CPU). kernel, control (red): what clients say got lost in a full receive buffer; net.core.rmem_max, or too little processor time. docs/metrics.md has the words.",
				series(each("reason", metric("wimcast_dropped_packets_total", ofInstance))+" > 0", "{{reason}}"),
				series(each("socket", metric("wimcast_kernel_dropped_packets_total", ofInstance)), "kernel, {{socket}}")).
				Overrides([]special{matching(`^kernel, control$`, property("color", colour(red)))}).
				Legend(legend("lastNotNull", "max"))},
			{8, graph("Rejoins of a silent group", units.Short,
				"Times in the last 10 minutes that clients heard nothing for 2 s, left the group and joined it again. It revives a switch that forgot them. Many at once: the server paused, or snooping fails; look at the querier.",
				series(within("package", metric("wimcast_group_rejoins_total", ofPackage)), "{{package}}"),
				series(within("package", metric("wimcast_group_silent_alarms_total", ofPackage)), "{{package}} alarms")).
				Overrides([]special{matching(` alarms$`, property("color", colour(red)))})},
		}},
	}}
}
