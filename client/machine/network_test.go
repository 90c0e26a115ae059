package machine

import (
	"net/netip"
	"testing"

	"wimcast/multicast/fault"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestNetworkFault(t *testing.T) {
	server := addrs("10.77.0.1")
	on := func(name string, link bool, list ...string) Adapter { return Adapter{name, true, link, addrs(list...)} }
	intel := []string{"VEN_8086&DEV_15F3"}
	for _, tc := range []struct {
		name    string
		network Network
		servers []netip.Addr
		kind    fault.Kind // "": none
		text    string
	}{
		{"nothing", Network{}, server, fault.KindNoAdapter, "no network adapter was found in this machine"},
		{"no driver", Network{Driverless: intel}, server, fault.KindNoDriver, "no driver for PCI VEN_8086&DEV_15F3"},
		{"no driver for two", Network{Driverless: append(intel, "VEN_14E4&DEV_1657")}, server, fault.KindNoDriver, "no driver for PCI VEN_8086&DEV_15F3, PCI VEN_14E4&DEV_1657"},
		{"turned off", Network{Adapters: []Adapter{{"eth0", false, false, nil}}, Driverless: intel}, server, fault.KindAdapterOff, "network adapter eth0 is turned off"},
		{"no link", Network{Adapters: []Adapter{on("eth0", false)}}, server, fault.KindNoLink, "network adapter eth0 has no link"},
		{"no link, an old address", Network{Adapters: []Adapter{on("eth0", false, "10.77.0.11")}}, server, fault.KindNoLink, "network adapter eth0 has no link"},
		{"no link, no driver for another", Network{Adapters: []Adapter{on("wlan0", false), on("eth0", false)}, Driverless: intel}, server, fault.KindNoLink, "network adapter wlan0, eth0 has no link, and there is no driver for PCI VEN_8086&DEV_15F3"},
		{"no address", Network{Adapters: []Adapter{on("eth0", true), on("eth1", false)}}, server, fault.KindNoAddress, "network adapter eth0 has no address from DHCP"},
		{"its own address", Network{Adapters: []Adapter{on("Ethernet", true, "fe80::1", "169.254.7.9")}}, server, fault.KindNoAddress, "network adapter Ethernet has no address from DHCP, only 169.254.7.9, which it gave itself"},
		{"of another family", Network{Adapters: []Adapter{on("eth0", true, "2001:db8::7")}}, server, fault.KindNoAddress, "network adapter eth0 has no address from DHCP"},
		{"an address", Network{Adapters: []Adapter{on("eth1", false), on("eth0", true, "10.77.0.11")}, Driverless: intel}, server, "", ""},
		{"any address for a name", Network{Adapters: []Adapter{on("eth0", true, "2001:db8::7")}}, nil, "", ""},
		{"itself", Network{}, addrs("127.0.0.1"), "", ""},
		{"itself by its address", Network{Adapters: []Adapter{on("eth0", false, "10.77.0.1")}}, server, "", ""},
	} {
		f, is := tc.network.Fault(tc.servers)
		if is != (tc.kind != "") || f.Kind != tc.kind || f.Text != tc.text || is && f.Next == "" {
			t.Errorf("%s: %v %+v", tc.name, is, f)
		}
	}
}

func TestNetworkAddress(t *testing.T) {
	n := Network{Adapters: []Adapter{
		{"eth1", true, false, addrs("10.1.0.1")}, {"eth0", true, true, addrs("fe80::1", "2001:db8::7", "169.254.7.9", "10.77.0.11")},
	}}
	for server, want := range map[string]string{"10.77.0.1": "10.77.0.11", "2001:db8::1": "2001:db8::7", "127.0.0.1": "invalid IP", "10.77.0.11": "invalid IP"} {
		if got := n.Address(addrs(server)); got.String() != want {
			t.Errorf("towards %s: %v, want %s", server, got, want)
		}
	}
}

func TestHardware(t *testing.T) {
	for id, want := range map[string]string{
		`PCI\VEN_8086&DEV_15F3&SUBSYS_00008086&REV_03`: "VEN_8086&DEV_15F3",
		`pci\ven_10ec&dev_8168`:                        "VEN_10EC&DEV_8168",
		`PCI\VEN_8086`:                                 "",
		`PCI\VEN_8086&DEV_15`:                          "",
		`PCI\VEN_\x1b[2J&DEV_1234`:                     "",
		`USB\VID_0B95&PID_1790`:                        "",
		"":                                             "",
	} {
		if got := hardware(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
	for _, tc := range []struct {
		ids  []string
		want bool
	}{
		{[]string{`PCI\VEN_8086&DEV_15F3&REV_03`, `PCI\VEN_8086&DEV_15F3&CC_020000`}, true},
		{[]string{`PCI\CC_0280`}, true},
		{[]string{`PCI\VEN_8086&DEV_15F3&CC_010601`, `PCI\CC_0106`}, false},
		{nil, false},
	} {
		if got := isNetwork(tc.ids); got != tc.want {
			t.Errorf("%v: %v", tc.ids, got)
		}
	}
}
