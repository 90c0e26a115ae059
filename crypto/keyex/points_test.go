package keyex

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func rows(t *testing.T, texts ...string) []PointAt {
	t.Helper()
	var out []PointAt
	for _, s := range texts {
		p, err := ParsePointAt(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestParsePointAt(t *testing.T) {
	for _, s := range []string{"10.1.0.0/16 10.1.0.5:7600", "0.0.0.0/0 a:1", "10.1.2.3/32 [2001:db8::1]:7600", "2001:db8::/32 point.example:7600"} {
		p, err := ParsePointAt(s)
		if err != nil || p.String() != s {
			t.Errorf("%q: %v, %v", s, p, err)
		}
		if q, err := ParsePointAt(strings.Replace(s, " ", "=", 1)); err != nil || p != q {
			t.Errorf("%q with an equals sign: %v, %v", s, q, err)
		}
	}
	for s, says := range map[string]string{
		"":                               "want a prefix and a server",
		"10.1.0.0/16":                    "want a prefix and a server",
		"10.1.0.0 10.1.0.5:7600":         "isn't a prefix",
		"10.1.0.0/33 10.1.0.5:7600":      "isn't a prefix",
		"10.1.0.5/16 10.1.0.5:7600":      "want 10.1.0.0/16",
		"::ffff:10.1.0.0/112 10.1.0.5:1": "as IPv4",
		"fe80::%eth0/64 10.1.0.5:1":      "isn't a prefix",
		"10.1.0.0/16 10.1.0.5":           "want host:port",
		"10.1.0.0/16 10.1.0.5:0":         "want host:port",
		"10.1.0.0/16  10.1.0.5:7600":     "want host:port",
		"10.1.0.0/16 \x1b[2J:7600":       "want host:port",
	} {
		if p, err := ParsePointAt(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, %v, want %q", s, p, err, says)
		}
	}
}

// TestPointsFor: the table of a machine is what fits its addresses, the most exact first, and otherwise as it stands.
func TestPointsFor(t *testing.T) {
	table := rows(t, "0.0.0.0/0 far:1", "10.0.0.0/8 land:1", "10.1.0.0/16 site:1", "10.1.2.0/24 floor-a:1", "10.1.2.0/24 floor-b:1", "2001:db8::/32 six:1", "192.168.0.0/16 lab:1")
	for own, want := range map[string]string{
		"10.1.2.7":             "floor-a:1 floor-b:1 site:1 land:1 far:1",
		"10.1.3.7":             "site:1 land:1 far:1",
		"::ffff:10.9.0.1":      "land:1 far:1",
		"172.16.0.1":           "far:1",
		"2001:db8::7":          "six:1",
		"fe80::1%eth0":         "",
		"10.1.2.7 192.168.4.4": "floor-a:1 floor-b:1 site:1 lab:1 land:1 far:1",
		"":                     "",
	} {
		var addrs []netip.Addr
		for s := range strings.FieldsSeq(own) {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		var got []string
		for _, p := range PointsFor(table, addrs) {
			got = append(got, p.Server)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", own, got, want)
		}
	}
}

func TestBundlePoints(t *testing.T) {
	a := openTestAuthority(t, newClock())
	table := rows(t, "10.1.0.0/16 10.1.0.5:7600", "10.2.0.0/16 10.2.0.5:7600")
	b, err := a.Issue(Request{Name: "lab12", Role: WinPE, Servers: []string{"10.0.0.1:7600"}, Points: table})
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseBundle(text)
	if err != nil || !slices.Equal(got.Points, table) {
		t.Fatalf("%v, %v", got, err)
	}
	if again, err := got.Marshal(); err != nil || string(again) != string(text) {
		t.Errorf("it doesn't round trip: %v", err)
	}
	var many strings.Builder
	for i := range maxPoints + 1 {
		fmt.Fprintf(&many, "point: 10.%d.0.0/16 10.1.0.5:7600\n", i)
	}
	const row = "point: 10.1.0.0/16 10.1.0.5:7600\n"
	for name, tc := range map[string]struct{ text, says string }{
		"a bad prefix":         {strings.Replace(string(text), row, "point: 10.1.0.1/16 10.1.0.5:7600\n", 1), "want 10.1.0.0/16"},
		"a bad server":         {strings.Replace(string(text), row, "point: 10.1.0.0/16 10.1.0.5\n", 1), "host:port"},
		"a row twice":          {strings.Replace(string(text), row, row+row, 1), "twice"},
		"too many":             {strings.Replace(string(text), row, many.String(), 1), "more than 64"},
		"no serial":            {strings.Replace(string(text), row, row+"refused-server: xyz\n", 1), "not a serial"},
		"too many refused":     {strings.Replace(string(text), row, strings.Repeat("refused-server: 1\n", maxRefused+1), 1), "more than 256"},
		"a serial in capitals": {strings.Replace(string(text), row, row+"refused-server: 5D1F0000000000000000000000000000\n", 1), "not a serial"},
	} {
		if _, err := ParseBundle([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
	for _, role := range []Role{Viewer, Worker, Point} {
		if _, err := a.Issue(Request{Name: "x", Role: role, Servers: []string{"10.0.0.1:7600"}, Points: table}); err == nil || !strings.Contains(err.Error(), "table of points") {
			t.Errorf("%s with a table: %v", role, err)
		}
	}
	if n := len(a.Issued()); n != 1 {
		t.Errorf("%d credentials are listed, want 1", n)
	}
}
