// Package lab builds a room in network namespaces: a server, clients, and a
// switch between them, for whole-system tests, benchmarks and the demo.
//
//	server 10.77.0.1 ──┐
//	pc01  10.77.0.11 ──┤
//	pc02  10.77.0.12 ──┼── switch (bridge, IGMP snooping, querier and gateway 10.77.0.254)
//	 …                 │
//
// Every host is a namespace with one cable, eth0; a server may have a second, eth1, into a room beside the first ([Config].Beside),
// and a client one into a room that lies behind it ([Config].Behind).
// The switch is a bridge in a
// namespace of its own; it delivers a group to the ports whose IGMP reports it
// heard and to no other. Addresses exist inside the namespaces only; nothing
// of the machine's own network is touched.
//
// # What it can do to a host
//
// Lose packets on its cable ([Host.SetLoss], [Host.SetBursts],
// [Host.SetUplinkLoss]), limit the cable's speed with a queue of known length
// ([Host.SetRate]), make the switch deaf to its IGMP so that no group reaches it
// ([Host.SetPruned]), drop large packets ([Host.SetMaxPacket]), hear no joins for one source ([Host.SetDeafToSources]), have a firewall ([Host.SetFirewall]), swallow everything ([Host.SetBlackhole]), pull the plug ([Host.SetLink]). Programs
// run on a host with [Host.Command], Go code with [Host.Do]; [Host.Stats]
// counts frames and drops. [Room.SetQuerier] says how often the switch asks for members, or takes its querier away; [Room.SetMemory],
// how long it remembers one that doesn't answer.
//
// # Frames
//
// A sender that uses segmentation offload hands the kernel 44 packets as one
// frame of 64 KB, and a veth pair carries that frame uncut. Two honest ways of
// measuring follow from that ([Frames]). Loss is honest in both: a frame is cut
// before the place where it can be dropped, so one drop is one packet.
//
// # Life cycle
//
// The namespaces have no names: they live as long as a process or a file
// descriptor holds them. [Room.Close] ends every process in them. When the
// owner dies without closing, even by SIGKILL, a reaper process that holds a
// pipe from it does the same; should the reaper be killed too, the next New
// ends what dead owners left behind. With the last holder the kernel removes
// namespaces, cables, queues and rules.
//
// It needs Linux, root, and the tools that [Supported] names; iproute2,
// nftables, ethtool, util-linux and findutils are their Debian packages.
package lab
