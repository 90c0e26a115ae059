package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

func repair() section {
	sent := func(kind string) string {
		return each("instance, package", metric("wimcast_sent_packets_total", ofPackage, `kind="`+kind+`"`))
	}
	return section{title: "Repair", closed: true, lines: []line{
		{8, []place{
			{8, limit(graph("Parity by source", units.PercentUnit,
				"Repair packets for each packet of content: what loss costs. A few per cent is good. From 10 % on (dashed) for minutes: find the lossy link; wimcast session show ID --slow names the machines that ask for most.",
				series(sent("parity")+" / "+sent("source")+" and "+sent("source")+" > 0", "{{package}} ({{instance}})")),
				everything(green), begins(repairHigh, red)).
				AxisSoftMax(0.15).
				Links(runbook("WimcastRepairHigh"))},
			{8, stacked(graph("Packets sent, by kind", units.PacketsPerSecond,
				"source is content (blocks sent again for latecomers too), parity is repair, manifest are the hashes, control is signed status.",
				series(each("kind", metric("wimcast_sent_packets_total", ofPackage)), "{{kind}}"))).
				Overrides(coloured("source", "parity", "manifest", "control"))},
			{8, stacked(graph("NACKs, by result", "reqps",
				"Requests for repair. served led to repair, merged were covered already (good: one repair serves many), limited were put off: a client beyond 50 a second, or one whose cable needs more than its share.",
				series(each("result", metric("wimcast_nacks_total", ofPackage)), "{{result}}"))).
				Overrides(coloured("served", "merged", "limited"))},
		}},
		{8, []place{
			{8, limit(graph("Blocks rejected in 15 min", units.Short,
				"Blocks that failed their hash at clients in the last 15 minutes and were fetched again. Always 0 in a healthy network. One is no trouble; more than 10 (dashed) are an alert: a machine with bad memory, or a member of the group that sends forgeries; wimcast session show ID says who reports it.",
				series("sum by (instance, package) (increase("+metric("wimcast_blocks_rejected_total", ofPackage)+"[15m]))", "{{package}} ({{instance}})")),
				everything(green), begins(blocksBad, red)).
				Decimals(0).AxisSoftMax(blocksBad).
				Links(append(runbook("WimcastContentBad"), runbook("WimcastBlocksRejected")...))},
			{8, heat("Loss of clients", units.PercentUnit,
				"Share of the group's packets that a client lost over its whole time, when it ended. Low is good; a band at 1 % and more is a part of the network, single cells are single machines.",
				buckets(metric("wimcast_client_loss_ratio_bucket", ofPackage)))},
			{8, levels("Loss, over the time shown", units.PercentUnit,
				"Of the clients that ended in the time shown: half lost no more than the first figure, 95 of 100 no more than the second, of each package.",
				now("histogram_quantile(0.5, sum by (le, package) (increase("+metric("wimcast_client_loss_ratio_bucket", ofPackage)+"[$__range])))", "{{package}}, half"),
				now("histogram_quantile(0.95, sum by (le, package) (increase("+metric("wimcast_client_loss_ratio_bucket", ofPackage)+"[$__range])))", "{{package}}, 95 %")).
				Decimals(2).
				Thresholds(thresholds(everything(green), begins(0.01, yellow), begins(0.05, red)))},
		}},
	}}
}
