package route

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wimcast/crypto/keyex"
)

func table(t *testing.T, rows ...string) []keyex.PointAt {
	t.Helper()
	var out []keyex.PointAt
	for _, s := range rows {
		p, err := keyex.ParsePointAt(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// TestOrder: the table first, by the longest prefix; then what is near; then the rest; nothing twice.
func TestOrder(t *testing.T) {
	points := table(t, "10.0.0.0/8 10.0.0.5:7600", "10.1.0.0/16 10.1.0.5:7600", "10.2.0.0/16 10.2.0.5:7600", "169.254.0.0/16 9.9.9.9:1", "127.0.0.0/8 9.9.9.9:2")
	servers := []string{"192.0.2.1:7600", "10.1.0.9:7600", "site.example:7600", "10.1.0.5:7600"}
	for _, tc := range []struct {
		own  string
		want string
	}{
		{"10.1.2.3/16", "10.1.0.5:7600 table, 10.0.0.5:7600 table, 10.1.0.9:7600 near, 192.0.2.1:7600 list, site.example:7600 list"},
		{"10.2.2.3/24", "10.2.0.5:7600 table, 10.0.0.5:7600 table, 192.0.2.1:7600 list, 10.1.0.9:7600 list, site.example:7600 list, 10.1.0.5:7600 list"},
		{"192.0.2.7/24 127.0.0.1/8 169.254.3.3/16", "192.0.2.1:7600 near, 10.1.0.9:7600 list, site.example:7600 list, 10.1.0.5:7600 list"},
		{"172.16.0.1/12", "192.0.2.1:7600 list, 10.1.0.9:7600 list, site.example:7600 list, 10.1.0.5:7600 list"},
		{"", "192.0.2.1:7600 list, 10.1.0.9:7600 list, site.example:7600 list, 10.1.0.5:7600 list"},
		{"10.1.2.3/16 10.2.2.3/16", "10.1.0.5:7600 table, 10.2.0.5:7600 table, 10.0.0.5:7600 table, 10.1.0.9:7600 near, 192.0.2.1:7600 list, site.example:7600 list"},
	} {
		var own []netip.Prefix
		for s := range strings.FieldsSeq(tc.own) {
			own = append(own, netip.MustParsePrefix(s))
		}
		var got []string
		for _, w := range Order(points, servers, own) {
			word := map[bool]string{true: "table"}[strings.HasPrefix(w.Why, "the bundle's point for ")]
			switch w.Why {
			case "on this machine's own network":
				word = "near"
			case "in the bundle's list":
				word = "list"
			}
			got = append(got, w.Server+" "+word)
		}
		if strings.Join(got, ", ") != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.own, strings.Join(got, ", "), tc.want)
		}
	}
}

// drive plays a client: each server does what its script says, in turn, until one takes it or there is nothing left to ask. It returns what
// happened, in order.
func drive(t *testing.T, r *Route, scripts map[string]string) string {
	t.Helper()
	var log []string
	for range 50 {
		i, ok := r.Next()
		if !ok {
			return strings.Join(append(log, "over"), " ")
		}
		name := r.Way(i).Server
		act, rest, _ := strings.Cut(scripts[name], " ")
		if rest != "" {
			scripts[name] = rest
		}
		log = append(log, name+"-"+act)
		if act == "down" {
			r.Unanswered(i, "no answer", false)
			continue
		}
		if act == "bad" {
			r.Unanswered(i, "certificate refused", true)
			continue
		}
		serial, act, _ := strings.Cut(act, "=")
		if act == "" {
			serial, act = name, serial
		}
		if r.Met(i, serial, "") {
			log = append(log, "met")
			continue
		}
		left := Stay
		switch act {
		case "takes":
			r.Taken(i)
			return strings.Join(log, " ")
		case "stops":
			r.Stops(i, "it stops")
			continue
		case "full":
			left = r.Full(i, "it is full")
		case "lacks":
			left = r.Refused(i, "no package")
		default:
			t.Fatalf("the script says %q", act)
		}
		if left == Now {
			continue
		}
		return strings.Join(append(log, map[Left]string{Stay: "stay", Later: "later"}[left]), " ")
	}
	t.Fatalf("it goes round and round: %v", log)
	return ""
}

// TestRoute: rounds of three servers.
func TestRoute(t *testing.T) {
	for _, tc := range []struct{ a, b, c, last, want string }{
		{"takes", "", "", "", "a-takes"},
		{"down", "takes", "", "", "a-down b-takes"},
		{"lacks", "takes", "", "", "a-lacks b-takes"},
		{"full", "takes", "", "", "a-full b-takes"},
		{"stops", "takes", "", "", "a-stops b-takes"},
		{"bad", "takes", "", "", "a-bad b-takes"},
		{"down", "down", "down", "", "a-down b-down c-down over"},
		{"lacks", "lacks", "lacks", "", "a-lacks b-lacks c-lacks stay"},
		{"lacks", "down", "bad", "", "a-lacks b-down c-bad over"},
		{"full full", "full", "full", "", "a-full b-full c-full a-full stay"},
		{"full takes", "lacks", "down", "", "a-full b-lacks c-down a-takes"},
		{"lacks", "full full", "lacks", "", "a-lacks b-full c-lacks b-full stay"},
		{"full down", "full full", "lacks", "", "a-full b-full c-lacks a-down b-full stay"},
		{"full lacks", "full full", "down", "", "a-full b-full c-down a-lacks b-full stay"},
		{"full lacks", "lacks", "lacks", "", "a-full b-lacks c-lacks a-lacks stay"},
		{"full down", "down", "down", "", "a-full b-down c-down a-down over"},
		{"S=full S=full", "S=full", "takes", "", "a-S=full b-S=full met c-takes"}, // two addresses of one daemon
		{"S=lacks", "S=lacks", "S=lacks", "", "a-S=lacks b-S=lacks met c-S=lacks met over"},
		{"takes", "takes", "", "b", "b-takes"},
		{"takes", "down", "", "b", "b-down a-takes"},
		{"down", "down", "takes", "b", "b-down a-down c-takes"},
		{"lacks", "down", "lacks", "b", "b-down a-lacks c-lacks later"}, // what it has in part may come back
		{"lacks", "stops", "lacks", "b", "b-stops a-lacks c-lacks later"},
		{"lacks", "down", "lacks", "", "a-lacks b-down c-lacks stay"},
		{"lacks", "lacks", "lacks", "b", "b-lacks a-lacks c-lacks stay"},
	} {
		r := New([]Way{{"a", ""}, {"b", ""}, {"c", ""}})
		if tc.last != "" {
			r.Taken(slices.Index([]string{"a", "b", "c"}, tc.last))
		}
		if got := drive(t, r, map[string]string{"a": tc.a, "b": tc.b, "c": tc.c}); got != tc.want {
			t.Errorf("a %s, b %s, c %s, last %q:\n got %s\nwant %s", tc.a, tc.b, tc.c, tc.last, got, tc.want)
		}
	}
}

// TestRouteRounds: a round that is over begins anew, with all servers, and is counted until one takes the client.
func TestRouteRounds(t *testing.T) {
	r := New([]Way{{"a", ""}, {"b", ""}})
	for round := range 3 {
		if r.Failed() != round || r.Begun() {
			t.Errorf("round %d: %d failed, begun %v", round, r.Failed(), r.Begun())
		}
		if got := drive(t, r, map[string]string{"a": "down", "b": "down"}); got != "a-down b-down over" {
			t.Errorf("round %d: %s", round, got)
		}
	}
	if got := drive(t, r, map[string]string{"a": "down", "b": "takes"}); got != "a-down b-takes" || r.Failed() != 0 || !r.Begun() {
		t.Errorf("%s, %d failed, begun %v", got, r.Failed(), r.Begun())
	}
}

// TestRouteNames: who a server is stays known when it is gone.
func TestRouteNames(t *testing.T) {
	r := New([]Way{{"a", ""}, {"b", ""}})
	r.Met(0, "1", "point berlin")
	r.Taken(0)
	i, _ := r.Next()
	r.Unanswered(i, "nothing answers", false)
	if got := r.Passed(); got != "point berlin (a): nothing answers" {
		t.Errorf("%s", got)
	}
}

// TestRouteFinal: who was never taken needn't try again once somebody said no; who was waits for those that are away.
func TestRouteFinal(t *testing.T) {
	for _, tc := range []struct {
		a, b  string
		taken bool
		want  bool
	}{
		{"down", "down", false, false},
		{"bad", "down", false, true},
		{"bad", "bad", false, true},
		{"down", "down", true, false},
		{"bad", "down", true, false},
		{"bad", "bad", true, true},
	} {
		r := New([]Way{{"a", ""}, {"b", ""}})
		if tc.taken {
			r.Taken(0)
		}
		for _, act := range []string{tc.a, tc.b} {
			i, _ := r.Next()
			r.Unanswered(i, act, act == "bad")
		}
		if r.Final() != tc.want {
			t.Errorf("%+v: final %v", tc, r.Final())
		}
		if got, want := r.Passed(), fmt.Sprintf("a: %s; b: %s", tc.a, tc.b); got != want {
			t.Errorf("passed over: %s, want %s", got, want)
		}
	}
}
