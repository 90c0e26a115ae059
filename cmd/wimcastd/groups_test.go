package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"wimcast/session"
)

// macOf is a group's MAC address, worked out as RFC 1112 has it, apart from the code under test.
func macOf(a netip.Addr) [6]byte {
	b := a.As4()
	return [6]byte{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
}

// TestGroups: pools whose groups share a MAC address, with each other or with 224.0.0.x, are refused with both addresses.
func TestGroups(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string // of the error; nothing: good
	}{
		{"239.195.16.0/22", nil},
		{"239.195.16.0/22, 239.195.20.0/24", nil},
		{"239.195.16.0/22 239.196.16.0/22", nil},
		{"239.64.0.0/10", nil},
		{"232.1.2.3/32", nil},
		{"239.0.1.0/24", nil},
		{"", []string{"names no prefix"}},
		{" , ", []string{"names no prefix"}},
		{"10.0.0.0/8", []string{"10.0.0.0/8", "isn't a prefix"}},
		{"ff15::/16", []string{"ff15::/16"}},
		{"239.195.16.0", []string{"239.195.16.0"}},
		{"239.0.0.0/24", []string{"239.0.0.0 ", "224.0.0.0"}},
		{"239.128.0.64/26", []string{"239.128.0.64", "224.0.0.64"}},
		{"239.0.0.0/9", []string{"239.0.0.0", "224.0.0.0"}},
		{"239.128.0.7/32", []string{"239.128.0.7", "224.0.0.7"}},
		{"239.0.0.0/8", []string{"239.0.0.0 and 239.128.0.0"}},
		{"224.0.0.0/4", []string{"224.0.0.0 and 224.128.0.0"}},
		{"239.195.16.0/22,239.67.16.0/24", []string{"239.195.16.0 and 239.67.16.0"}},
		{"239.67.17.0/24,239.195.16.0/22", []string{"239.67.17.0 and 239.195.17.0"}},
		{"238.195.18.0/24,239.195.16.0/22", []string{"238.195.18.0 and 239.195.18.0"}},
		{"239.195.16.0/22,239.195.17.0/24", []string{"overlap: 239.195.17.0"}},
		{"239.195.16.0/32", []string{"239.195.16.0/32", "end in 0 or 255"}},
		{"239.195.16.255/32, 239.195.18.0/32", []string{"end in 0 or 255"}},
		{"239.195.16.254/31", nil},
	} {
		pool, err := parseGroups(tc.text)
		if (err != nil) != (tc.want != nil) {
			t.Errorf("%q: %v, %v", tc.text, pool, err)
		}
		for _, want := range tc.want {
			if err != nil && !strings.Contains(strings.ReplaceAll(err.Error(), "is not a", "isn't a"), want) {
				t.Errorf("%q: %v, want %q", tc.text, err, want)
			}
		}
		if err == nil && pool.size() < 1<<12 { // the slow, obvious twin
			seen := map[[6]byte]netip.Addr{}
			for i := range pool.size() {
				a := pool.at(i)
				m := macOf(a)
				if other, twice := seen[m]; twice || m[3] == 0 && m[4] == 0 {
					t.Errorf("%q: %v has the MAC address of %v", tc.text, a, other)
				}
				seen[m] = a
			}
		}
	}
}

// TestGroupPool: no two sessions get the same group while both have it, and a pool that is used up says so.
func TestGroupPool(t *testing.T) {
	p := newGroupPool(&multicastConfig{Groups: "239.195.16.252/30, 239.195.18.0/30", Ports: "63000-63001"})
	seen := map[netip.AddrPort]bool{}
	addrs := map[netip.Addr]bool{}
	for range 6 { // of .252 to .254, and .1 to .3: .255 and .0 are left out
		g, err := p.take()
		if err != nil {
			t.Fatal(err)
		}
		if seen[g] || addrs[g.Addr()] || g.Port() < 63000 || g.Port() > 63001 {
			t.Errorf("%v after %v", g, seen)
		}
		seen[g], addrs[g.Addr()] = true, true
	}
	if g, err := p.take(); !errors.Is(err, session.ErrNoGroup) || !strings.Contains(err.Error(), "multicast.groups") {
		t.Errorf("%v, %v from a pool that is used up", g, err)
	}
	for g := range seen {
		p.giveBack(g)
		if again, err := p.take(); err != nil || again.Addr() != g.Addr() {
			t.Errorf("%v, %v after %v was given back", again, err, g)
		}
		break
	}
}

// TestInterfacesKeys: one interface or several, not both.
func TestInterfacesKeys(t *testing.T) {
	for text, want := range map[string]string{
		"interface = \"eth0\"\ninterfaces = [\"eth1\"]": "multicast.interface: \"eth0\" and interfaces",
		"interfaces = [\"eth0\", \"\"]":                 "multicast.interfaces: has an empty name",
		"groups = \"239.0.0.0/8\"":                      "multicast.groups: 239.0.0.0/8: 239.0.0.0 and 239.128.0.0",
	} {
		if _, err := loadConfig(write(t, "[multicast]\n"+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if c := load(t, write(t, "[multicast]\ninterfaces = [\"eth0\", \"10.1.2.3\"]")); len(c.Multicast.interfaces()) != 2 {
		t.Errorf("%v", c.Multicast.interfaces())
	}
	cfg := load(t, write(t, "[multicast]\ninterfaces = [\"lo\", \"127.0.0.1\"]"))
	if _, err := findNetworks(&cfg.Multicast, nil); err == nil || !strings.Contains(err.Error(), "same interface") {
		t.Errorf("%v", err)
	}
}
