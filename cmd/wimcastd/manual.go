package main

import "wimcast/cmd/usage"

// manual is what wimcastd(8) has beyond the flags.
func manual() usage.Manual {
	return usage.Manual{
		Section: 8,
		Description: []string{
			"wimcastd is a multicast distribution point: it holds Windows images (WIM) and casts them to rooms of machines, each image sent once for everyone, encrypted, repaired and proven by hash. Machines that can't hear the group get the same image by unicast.",
			"Without a configuration it runs on defaults: clients come in at port 7600, UDP and TCP; the first start makes a CA and a join bundle, room.join, in the state directory. It is steered by wimcast(1).",
			"Nothing that it does needs root. One capability, CAP_NET_RAW, lets it hear the IGMP queriers of its networks; it gives it up at once.",
		},
		Files: [][2]string{
			{"/etc/wimcast/wimcastd.toml", "The configuration: wimcastd.toml(5)."},
			{"/var/lib/wimcast", "Images, CA and server key, history. The CA can't be made again: join bundles are good for it alone."},
			{"/var/lib/wimcast/room.join", "The first join bundle."},
			{"/run/wimcast/admin.sock", "The admin socket, for root and the group wimcast."},
		},
		Signals: [][2]string{
			{"SIGHUP", "Reads the configuration again. The log says which keys were applied and which want a restart."},
			{"SIGTERM", "Lets running sessions end, for the time of the key drain, and stops. A second one cuts that short."},
		},
		Exit: [][2]string{
			{"0", "Stopped by a signal."},
			{"1", "Couldn't start or go on; the last line of the log says why."},
			{"2", "A flag or the configuration is wrong."},
		},
		See: map[string]int{"wimcast": 1, "wimcastd.toml": 5},
	}
}
