package multicast

import (
	"net/netip"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	group, group6 := netip.MustParseAddr("239.195.16.1"), netip.MustParseAddr("ff15::1")
	prefix := netip.MustParsePrefix
	lo := &Interface{Name: "lo", Index: 1, Loopback: true, up: true, running: true, Prefixes: []netip.Prefix{prefix("127.0.0.1/8")}}
	down := &Interface{Name: "down0", Index: 2, capable: true, Prefixes: []netip.Prefix{prefix("10.0.0.1/24")}}
	dark := &Interface{Name: "dark0", Index: 3, capable: true, up: true, Prefixes: []netip.Prefix{prefix("10.0.1.1/24")}}
	bare := &Interface{Name: "bare0", Index: 4, capable: true, up: true, running: true}
	six := &Interface{Name: "six0", Index: 5, capable: true, up: true, running: true, Prefixes: []netip.Prefix{prefix("2001:db8::1/64"), prefix("fe80::1/64")}}
	eth := &Interface{Name: "eth0", Index: 6, capable: true, up: true, running: true, Prefixes: []netip.Prefix{prefix("10.0.2.1/24")}}
	eth1 := &Interface{Name: "eth1", Index: 7, capable: true, up: true, running: true, Prefixes: []netip.Prefix{prefix("10.0.3.1/24")}}
	tun := &Interface{Name: "tun0", Index: 8, up: true, running: true, Prefixes: []netip.Prefix{prefix("10.0.4.1/24")}}
	all := []*Interface{lo, down, dark, bare, six, eth, eth1, tun}
	for _, c := range []struct {
		name  string
		all   []*Interface
		which string
		group netip.Addr
		want  *Interface
		err   string
	}{
		{"automatic", all, "", group, eth, ""},
		{"automatic, IPv6", all, "", group6, six, ""},
		{"no carrier but nothing better", []*Interface{lo, down, dark}, "", group, dark, ""},
		{"by name", all, "eth1", group, eth1, ""},
		{"by address", all, "10.0.3.1", group, eth1, ""},
		{"loopback by name", all, "lo", group, lo, ""},
		{"loopback by address", all, "127.0.0.1", group, lo, ""},
		{"none", []*Interface{lo, down}, "", group, nil, "no interface can reach group 239.195.16.1: name one with interface = ...: it has lo, down0 (down)"},
		{"no such name", all, "eth9", group, nil, `there is no interface "eth9"`},
		{"no such address", all, "10.9.9.9", group, nil, `there is no interface "10.9.9.9"`},
		{"down", all, "down0", group, nil, "down0 is down: bring it up"},
		{"not capable", all, "tun0", group, nil, "tun0 can't do multicast"},
		{"no address", all, "bare0", group, nil, "bare0 has no address of the family"},
		{"other family", all, "six0", group, nil, "six0 has no address of the family"},
		{"not a group", all, "", netip.MustParseAddr("10.0.0.1"), nil, "10.0.0.1 is not a multicast group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := choose(c.all, c.which, c.group)
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got error %v, want %q", err, c.err)
			}
		})
	}
}

func TestReaches(t *testing.T) {
	ifc := &Interface{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("2001:db8::5/64")}}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "10.1.2.200": true, "10.1.3.1": false, "::ffff:10.1.2.9": true, "127.0.0.1": false,
		"2001:db8::9": true, "2001:db8:0:1::9": false, "2001:db8::9%eth0": true,
	} {
		if got := ifc.Reaches(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Reaches(%s) = %t", addr, got)
		}
	}
	if ifc.Reaches(netip.Addr{}) {
		t.Error("reaches nowhere")
	}
}

func TestFindLoopback(t *testing.T) {
	ifc := loopback(t)
	if !ifc.Loopback || ifc.Index == 0 || ifc.MTU == 0 || !ifc.Reaches(netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("got %+v", ifc)
	}
}

// loopback returns the interface that has 127.0.0.1.
func loopback(t testing.TB) *Interface {
	t.Helper()
	ifc, err := FindInterface("127.0.0.1", netip.MustParseAddr("239.195.16.1"))
	if err != nil {
		t.Fatal(err)
	}
	return ifc
}
