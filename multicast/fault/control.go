package fault

import (
	"fmt"
	"net/netip"
	"time"
)

// Troubles of the control channel and of credentials.
const (
	KindNotRunning Kind = "not_running" // the host is there, nothing listens
	KindUDPBlocked Kind = "udp_blocked" // its TCP port answers, its UDP port doesn't
	KindHostSilent Kind = "host_silent" // nothing answers at all
	KindTCPBlocked Kind = "tcp_blocked" // UDP works, TCP (unicast) doesn't
	KindRefused    Kind = "refused"     // one side refused the other's certificate
	KindExpired    Kind = "expired"     // a credential has ended
	KindExpires    Kind = "expires"     // a credential ends soon
	KindRole       Kind = "role"        // the certificate's role can't do what is wanted
	KindNoDaemon   Kind = "no_daemon"   // no wimcastd runs on this machine
)

// NotRunning says that a machine is there and that no distribution point listens on it.
func NotRunning(server netip.AddrPort) Fault {
	return Fault{KindNotRunning, fmt.Sprintf("%v is there, but nothing listens on port %d", server.Addr(), server.Port()), "start wimcastd there, or check the address in the bundle"}
}

// UDPBlocked says that a distribution point's TCP port answers and its UDP port doesn't.
func UDPBlocked(server netip.AddrPort) Fault {
	return Fault{
		KindUDPBlocked, fmt.Sprintf("%v answers on TCP port %d, but not on UDP port %d: a firewall between drops it", server.Addr(), server.Port(), server.Port()),
		fmt.Sprintf("let UDP port %d through to the server, and its answers back", server.Port()),
	}
}

// HostSilent says that nothing at all answers at a server's address.
func HostSilent(server netip.AddrPort) Fault {
	return Fault{
		KindHostSilent, fmt.Sprintf("nothing answers at %v, neither on UDP nor on TCP port %d", server.Addr(), server.Port()),
		fmt.Sprintf("check the address, that the server is up, and that firewalls pass port %d, UDP and TCP", server.Port()),
	}
}

// TCPBlocked says that the control channel works and the HTTPS port doesn't.
func TCPBlocked(server netip.AddrPort) Fault {
	return Fault{
		KindTCPBlocked, fmt.Sprintf("TCP port %d of %v doesn't answer: what can't be had by multicast can't be fetched by unicast", server.Port(), server.Addr()),
		fmt.Sprintf("let TCP port %d through to the server", server.Port()),
	}
}

// TCPStalls says that a connection to the HTTPS port opens and nothing comes through it.
func TCPStalls(server netip.AddrPort) Fault {
	return Fault{
		KindTCPBlocked, fmt.Sprintf("TCP port %d of %v opens, but nothing comes through: packets of full size may get lost on the way, or another program has the port", server.Port(), server.Addr()),
		"compare the MTU of both machines and of the switches between",
	}
}

// Refused says that one side refused the other's certificate; why ends in what to do.
func Refused(why error) Fault { return Fault{Kind: KindRefused, Text: why.Error()} }

// Expired says that a credential has ended, that long ago.
func Expired(what string, end time.Time, ago time.Duration) Fault {
	return Fault{KindExpired, fmt.Sprintf("%s ended %s ago, on %s", what, days(ago), end.UTC().Format(time.DateOnly)), "on the server: wimcast bundle create"}
}

// Expires says that a credential ends in that long.
func Expires(what string, end time.Time, in time.Duration) Fault {
	return Fault{KindExpires, fmt.Sprintf("%s ends in %s, on %s", what, days(in), end.UTC().Format(time.DateOnly)), "on the server: wimcast bundle create"}
}

// WrongRole says that a bundle's role doesn't get an image by multicast.
func WrongRole(role string) Fault {
	return Fault{KindRole, fmt.Sprintf("the bundle's role is %s; multicast is for Windows PE only", role), "on the server: wimcast bundle create NAME --role winpe"}
}

// NoDaemon says that no distribution point answers on this machine; why is the system's word.
func NoDaemon(socket string, why error) Fault {
	return Fault{KindNoDaemon, fmt.Sprintf("no wimcastd answers at %s: %v", socket, why), "start it: systemctl start wimcastd, or say where it is with --socket"}
}
