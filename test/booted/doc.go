// Package booted runs a whole Debian system under its own systemd on a host of the lab: what installing a package does, and how a
// service fares, is seen on a machine that booted.
//
//	tree    Debian's packages, unpacked once by debootstrap and kept in the cache ([Tree])
//	layer   what one test changes of it, an overlay file system that is gone with the test
//	system  systemd-nspawn on tree and layer, in the network namespace of a host of the lab
//
// A [Machine] is tree and layer: its programs can be run without booting ([Machine.Chroot]), it is booted ([Machine.Boot]), powered off
// ([System.PowerOff]) and booted again. Nothing in it needs or reaches a network outside of the room.
//
// # Life cycle
//
// The overlay is mounted in a mount namespace that one process holds, which ends when its owner does; the system's processes are in the
// namespace of the room, whose reaper ends them when the owner is killed. So no mount and no process outlives a test, however it ends; each boot
// has a control group of its own, so that systems can run side by side.
//
// It needs Linux, root, and the tools that [Supported] names: debootstrap, systemd-container and util-linux are their Debian packages.
package booted
