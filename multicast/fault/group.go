package fault

import (
	"fmt"
	"net/netip"
	"time"
)

// Troubles of the way from the distribution point to a machine's socket.
const (
	KindGroupSilent  Kind = "group_silent"  // nothing of a group arrives, the cause isn't known
	KindManySilent   Kind = "many_silent"   // that, on several machines at a time
	KindForgotten    Kind = "forgotten"     // the switch forgets a member of a group, again and again
	KindPruned       Kind = "pruned"        // the switch doesn't deliver a group that was joined
	KindFirewall     Kind = "firewall"      // packets reach the card and not the program
	KindOutOfReach   Kind = "out_of_reach"  // TTL doesn't get there
	KindTooLarge     Kind = "too_large"     // packets of the session's size don't get through
	KindLoss         Kind = "loss"          // packets get lost on the way
	KindSourceJoin   Kind = "source_join"   // the network doesn't serve source-specific joins
	KindNoQuerier    Kind = "no_querier"    // no IGMP querier is heard
	KindOldIGMP      Kind = "old_igmp"      // IGMP before version 3 is spoken
	KindSecondServer Kind = "second_server" // another machine sends to a group
	KindNothingSent  Kind = "nothing_sent"  // the server couldn't send
	KindSharedMAC    Kind = "shared_mac"    // groups that have one MAC address
)

// flowStops is how long a switch remembers a member without a querier: the group membership interval of RFC 3376, section 8.4.
const flowStops = 260 * time.Second

// GroupSilent says that a machine hears nothing of a group, and that nothing is known of the cause. silent is how long.
func GroupSilent(group netip.AddrPort, silent time.Duration) Fault {
	return Fault{
		KindGroupSilent, fmt.Sprintf("nothing of group %v arrived for %v", group, silent.Round(time.Second)),
		"check IGMP snooping and querier on the switch, TTL, and the firewall of this machine",
	}
}

// ManySilent says that so many clients hear nothing of a group within a time; before says that most of them heard it earlier.
func ManySilent(clients int, within time.Duration, group netip.AddrPort, before bool) Fault {
	f := Fault{Kind: KindManySilent, Text: fmt.Sprintf("%d clients within %v hear nothing of group %v, and most never heard anything of it", clients, within, group)}
	f.Next = "look at the firewall of these machines, at IGMP snooping without a querier in their VLAN, and whether TTL 1 gets there"
	if before {
		f.Text = fmt.Sprintf("%d clients within %v hear nothing of group %v; they heard it before, so the switch most likely stopped forwarding it, as it does without an IGMP querier", clients, within, group)
		f.Next = "turn one on in their VLAN; then look at TTL and firewalls"
	}
	return f
}

// Forgotten says that a group stopped at a machine so many times, and came back as soon as the machine joined anew: the switch hears none of its answers
// to the querier, or has no querier.
func Forgotten(group netip.AddrPort, times int) Fault {
	return Fault{
		KindForgotten, fmt.Sprintf("the switch stopped sending group %v to this machine %d times, and began again as soon as it joined anew", group, times),
		"look for an IGMP querier in this VLAN; where there is one, let IGMP in at this machine's firewall",
	}
}

// Pruned says that a machine has joined a group, is on the server's network, and that the switch delivers nothing of it.
func Pruned(group netip.AddrPort, interfaceName string) Fault {
	return Fault{
		KindPruned, fmt.Sprintf("the switch delivers nothing of group %v to %s, although this machine has joined it", group, interfaceName),
		"look at IGMP snooping on this switch port, and turn an IGMP querier on in this VLAN",
	}
}

// Firewall says that packets of a group reach the card and not the program. arrived are packets at the card, of sent.
func Firewall(group netip.AddrPort, interfaceName string, arrived, sent uint64) Fault {
	return Fault{
		KindFirewall, fmt.Sprintf("%d packets came in at %s while %d of group %v were sent, and none got to wimcast: this machine's firewall drops them", arrived, interfaceName, sent, group),
		fmt.Sprintf("let UDP port %d to multicast groups in; in Windows PE: wpeutil DisableFirewall", group.Port()),
	}
}

// OutOfReach says that a group's packets don't get to a machine on another network.
func OutOfReach(client netip.Addr, group netip.AddrPort) Fault {
	return Fault{
		KindOutOfReach, fmt.Sprintf("%v is not on the network of group %v, which TTL 1 doesn't leave", client, group),
		"use a distribution point on your network, or raise ttl and route multicast",
	}
}

// PacketsTooLarge says that a session's packets don't fit a machine's network. Both are bytes of UDP payload.
func PacketsTooLarge(need, takes int) Fault {
	return Fault{
		KindTooLarge, fmt.Sprintf("the session's packets carry %d bytes, this machine's network takes %d", need, takes), "on the server: lower multicast.mtu",
	}
}

// LargePacketsLost says that small packets arrive and large ones don't. All are bytes of IP.
func LargePacketsLost(lost, arrives int) Fault {
	f := Fault{KindTooLarge, fmt.Sprintf("packets of %d bytes don't arrive, %d is the largest size that does", lost, arrives), fmt.Sprintf("on the server: set multicast.mtu = %d, or mend the MTU of the switches between", arrives)}
	return f
}

// Loss says that a share of the packets, 0 to 1, got lost on the way to a machine.
func Loss(share float64, lost, sent uint64) Fault {
	return Fault{
		KindLoss, fmt.Sprintf("%.1f %% of the group's packets get lost on the way (%d of %d)", 100*share, lost, sent),
		"look at the cable and at the error counters of the switch port; wimcast repairs loss, but it takes time",
	}
}

// SourceJoin says that packets come only to who joins for any source.
func SourceJoin(group netip.AddrPort, source netip.Addr) Fault {
	return Fault{
		KindSourceJoin, fmt.Sprintf("group %v arrives only when it is joined for any source, not for %v alone (IGMPv3)", group, source),
		"turn IGMPv3 on at the switch, or IGMP snooping that knows version 3",
	}
}

// NoQuerier says that no IGMP querier was heard on an interface for that long.
func NoQuerier(interfaceName string, within time.Duration) Fault {
	return Fault{
		KindNoQuerier, fmt.Sprintf("none heard on %s in %.0f s; flow will stop after about %.0f s", interfaceName, within.Seconds(), flowStops.Seconds()),
		"turn an IGMP querier on at the switch, in this VLAN; where it has one, let IGMP in at this machine's firewall",
	}
}

// OldIGMP says that an interface speaks an IGMP version without source-specific joins, as a querier of that version makes it.
func OldIGMP(interfaceName string, version int) Fault {
	return Fault{
		KindOldIGMP, fmt.Sprintf("%s speaks IGMPv%d, so that joins for one source alone aren't told to the switch", interfaceName, version),
		"have the querier of this VLAN speak IGMPv3",
	}
}

// SecondServer says that another machine sends to a group of ours.
func SecondServer(group netip.AddrPort, other netip.Addr) Fault {
	return Fault{
		KindSecondServer, fmt.Sprintf("%v sends to group %v too: two distribution points use the same groups", other, group),
		"give one of them other groups: multicast.groups",
	}
}

// SharedMAC says that the pool's groups share a MAC address; why is what the check found.
func SharedMAC(why string) Fault {
	return Fault{KindSharedMAC, why, "set multicast.groups"}
}

// NothingSent says that a distribution point granted a probe burst and couldn't send it.
func NothingSent() Fault {
	return Fault{KindNothingSent, "the distribution point couldn't send anything to the group", "wimcast doctor on the server, and its log"}
}
