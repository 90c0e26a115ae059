package fault

import (
	"fmt"
	"net/netip"
	"strings"
)

// The troubles between a machine and its distribution point, from the machine outwards.
const (
	KindNoAdapter  Kind = "no_adapter"  // no network adapter, and nothing that could be one
	KindNoDriver   Kind = "no_driver"   // a network controller without driver, and no adapter
	KindAdapterOff Kind = "adapter_off" // every adapter is turned off
	KindNoLink     Kind = "no_link"     // no cable, or a dead port
	KindNoAddress  Kind = "no_address"  // no DHCP
	KindNoName     Kind = "no_name"     // the server's name has no address
	KindNoRoute    Kind = "no_route"    // no way from the machine's network to the server's
	KindNoServer   Kind = "no_server"   // nothing answers
	KindRoomClosed Kind = "room_closed" // the distribution point wants a PIN that nobody has set
)

// MissingAdapter says that there is no network adapter, nor a controller that lacks a driver.
func MissingAdapter() Fault {
	return Fault{KindNoAdapter, "no network adapter was found in this machine", "plug one in, or turn it on in the firmware's setup"}
}

// MissingDriver says which network controllers have no driver, there being no adapter. devices are such as
// "VEN_8086&DEV_15F3", at least one.
func MissingDriver(devices []string) Fault {
	return Fault{KindNoDriver, "no driver for PCI " + strings.Join(devices, ", PCI "), "put its driver into the boot image, wimcast winpe inject boot.wim --drivers DIR, and boot again"}
}

// AdaptersOff names adapters that are turned off, there being no others.
func AdaptersOff(adapters []string) Fault {
	return Fault{KindAdapterOff, fmt.Sprintf("network adapter %s is turned off", strings.Join(adapters, ", ")), "turn it on"}
}

// MissingLink names adapters without link, there being none with one. driverless are network controllers that might be the one
// which is plugged in, see MissingDriver; none as a rule.
func MissingLink(adapters, driverless []string) Fault {
	f := Fault{KindNoLink, fmt.Sprintf("network adapter %s has no link", strings.Join(adapters, ", ")), "plug the cable in, or try another port of the switch"}
	if len(driverless) > 0 {
		f.Text += ", and there is no driver for PCI " + strings.Join(driverless, ", PCI ")
		f.Next += "; if the cable is in the other one, put its driver into the boot image"
	}
	return f
}

// MissingAddress names adapters with a link that have no address. self is one that a machine gave itself, 169.254.0.0/16; the zero
// Addr for none.
func MissingAddress(adapters []string, self netip.Addr) Fault {
	f := Fault{KindNoAddress, fmt.Sprintf("network adapter %s has no address from DHCP", strings.Join(adapters, ", ")), "wait a minute; then see that a DHCP server serves this network, and that the switch's port lets traffic through (802.1X, VLAN)"}
	if self.IsValid() {
		f.Text += fmt.Sprintf(", only %v, which it gave itself", self)
	}
	return f
}

// UnknownName says that names of distribution points have no address; local is the machine's.
func UnknownName(servers []string, local netip.Addr) Fault {
	return Fault{KindNoName, fmt.Sprintf("the name of distribution point %s can't be resolved%s", strings.Join(servers, ", "), from(local)), "see that DHCP names a DNS server which knows it, or make a bundle with its address"}
}

// NoRoute says that there is no way to any distribution point; local is the machine's address.
func NoRoute(servers []string, local netip.Addr) Fault {
	return Fault{KindNoRoute, fmt.Sprintf("there is no route to distribution point %s%s", strings.Join(servers, ", "), from(local)), "see that DHCP names a router, or that the machine is on the right network"}
}

// SilentServer says that no distribution point answers; local is the machine's address.
func SilentServer(servers []string, local netip.Addr) Fault {
	return Fault{KindNoServer, fmt.Sprintf("distribution point %s doesn't answer%s", strings.Join(servers, ", "), from(local)), "see that wimcastd runs there, and that firewalls and routers pass its UDP port"}
}

func from(local netip.Addr) string {
	if !local.IsValid() {
		return ""
	}
	return fmt.Sprintf(" from here (%v)", local)
}

// RoomClosed says that nobody has opened the room of a bundle that wants a PIN, or that too many PINs are being tried; reason is the
// distribution point's word.
func RoomClosed(reason string) Fault {
	text, next, _ := strings.Cut(reason, "; next")
	return Fault{KindRoomClosed, text, strings.TrimLeft(next, ",: ")}
}
