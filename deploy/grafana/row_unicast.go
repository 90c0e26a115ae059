package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func unicast() section {
	return section{title: "Unicast", closed: true, lines: []line{
		{8, []place{
			{8, steps(stacked(graph("Clients on unicast", units.Short,
				"active hold a slot, queued wait for one (and keep listening to the group). A long queue is harmless if the group works; if it doesn't, mend that first: unicast to a room takes hours.",
				series("sum by (state) ("+metric("wimcast_unicast_clients", ofInstance)+")", "{{state}}")))).
				Decimals(0).
				Overrides(coloured("active", "queued"))},
			{8, stacked(graph("Sent by unicast", units.BytesPerSecondSI,
				"Content that goes out by HTTPS, by package. Its budget is unicast.budget in wimcastd.toml.",
				series(each("package", metric("wimcast_unicast_sent_bytes_total", ofPackage)), "{{package}}")))},
			{8, stacked(graph("Proven in 10 min, by way", units.BytesSI,
				"Bytes of images that the clients which ended in the last 10 minutes proved, by the way they came. seed: they had them from an older version. Much purple: the group doesn't do its work.",
				series(within("path", metric("wimcast_client_proven_bytes_total", ofPackage)), "{{path}}"))).
				Overrides(coloured("multicast", "unicast", "seed"))},
		}},
	}}
}
