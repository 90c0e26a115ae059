package test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wimcast/multicast/fault"
	"wimcast/test/lab"
	"wimcast/test/rig"
)

// A cast that meets a fault says of it what the doctor says: on the client, and in the server's log.

// says waits until a client was told of something that begins so.
func says(s *stage, g *rig.Get, kind, words string) string {
	s.t.Helper()
	said := ""
	err := g.Await(s.ctx, fmt.Sprintf("%s: %s", kind, words), func(_ rig.Event, events []rig.Event) bool {
		for _, e := range events {
			if e.Event == kind && regexp.MustCompile(words).MatchString(e.Text) {
				said = e.Text
				return true
			}
		}
		return false
	})
	if err != nil {
		s.t.Fatalf("%v; events %v", err, g.Events())
	}
	return said
}

// wrote waits until the daemon has logged something.
func (s *stage) wrote(words string) {
	s.t.Helper()
	s.eventually("the log says "+words, func() bool { return strings.Contains(s.daemon.Log(), words) })
}

var groupIn = regexp.MustCompile(`239\.195\.\d+\.\d+:\d+`)

// TestDoctorWordsSilent: a group that doesn't arrive.
func TestDoctorWordsSilent(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "20 MB/s"`})
	if err := s.room.Client(0).SetPruned(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	g := s.get(0)
	text := says(s, g, "unicast", "nothing of group")
	group, err := netip.ParseAddrPort(groupIn.FindString(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := fault.GroupSilent(group, 10*time.Second).Text; !strings.Contains(text, want) {
		t.Errorf("%q, want %q", text, want)
	}
	s.proven(g)
	// On a multicast-only package there is no other way.
	s.cli("image", "set", "w11", "--multicast-only")
	r, _ := s.ended(s.get(0, "--overwrite"), 5)
	group, err = netip.ParseAddrPort(groupIn.FindString(r.Error))
	if err != nil {
		t.Fatalf("%v: %s", err, r.Error)
	}
	if want := fault.GroupSilent(group, 30*time.Second).String(); !strings.Contains(r.Error, want) {
		t.Errorf("%q, want %q", r.Error, want)
	}
}

// TestDoctorWordsLoss: packets that get lost.
func TestDoctorWordsLoss(t *testing.T) {
	s := clinic(t, 1)
	pc := s.room.Client(0)
	if err := pc.SetLoss(s.ctx, 8); err != nil {
		t.Fatal(err)
	}
	words := `^\d+\.\d % of the group's packets get lost on the way \(\d+ of \d+\)`
	d := s.consult(pc)
	d.holds(t, "loss", "warn", "loss", words)
	s.hurry(rig.Config{Multicast: `ceiling = "4 MB/s"`}) // no receive buffer overflows, however busy the machine: that is another trouble
	g := s.get(0)
	text := says(s, g, "notice", words)
	if next := fault.Loss(0.08, 1, 1).Next; !strings.HasSuffix(text, "; next: "+next) || d.of("loss").Next != next {
		t.Errorf("%q and %q, want %q", text, d.of("loss").Next, next)
	}
	s.proven(g)
}

// TestDoctorWordsForgotten: a machine whose firewall drops the switch's questions, so that the switch forgets it after 3 s.
func TestDoctorWordsForgotten(t *testing.T) {
	t.Parallel()
	s := clinic(t, 1)
	if err := errors.Join(s.room.SetMemory(s.ctx, 3*time.Second), s.room.Client(0).SetFirewall(s.ctx, "ip protocol igmp")); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "2 MB/s"`}) // in so long a cast it is forgotten five times
	g := s.get(0)
	text := says(s, g, "notice", "the switch stopped sending")
	group, err := netip.ParseAddrPort(groupIn.FindString(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := fault.Forgotten(group, 2).String(); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	_, totals := s.proven(g)
	if totals.Multicast != s.size {
		t.Errorf("%d bytes by multicast, want %d", totals.Multicast, s.size)
	}
}

// TestDoctorWordsBuffer: a receive buffer that is smaller than asked for, of a user who may not raise it.
func TestDoctorWordsBuffer(t *testing.T) {
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "20 MB/s"`})
	text, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Skipf("net.core.rmem_max isn't told: %v", err)
	}
	var most int
	if _, err := fmt.Sscan(string(text), &most); err != nil {
		t.Fatal(err)
	}
	bundle, program := s.readable()
	output := filepath.Join(filepath.Dir(bundle), "out")
	if out, err := exec.CommandContext(s.ctx, "install", "-d", "-o", "65534", output).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := s.room.Client(0).Command(s.ctx, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		program, "get", "w11", "--bundle", bundle, "--output", filepath.Join(output, "w11.wim"), "--read-slow", fmt.Sprint(4*most))
	out, err := cmd.CombinedOutput()
	if want := fault.ReceiveBuffer(4*most, most).String(); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s\nwant %q", err, out, want)
	}
}

// TestDoctorWordsReach: machines that the group's packets can't get to: behind TTL 1, or on a network of smaller packets.
func TestDoctorWordsReach(t *testing.T) {
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "20 MB/s"`})
	beside, err := lab.New(s.ctx, lab.Config{Clients: 1, Beside: s.room})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	far := beside.Client(0)
	g := s.getAt(far, "--server", beside.Server().Addr().String())
	text := says(s, g, "notice", "not on the network")
	group, err := netip.ParseAddrPort(groupIn.FindString(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := fault.OutOfReach(far.Addr(), group).String(); text != want {
		t.Errorf("%q, want %q", text, want)
	}
	s.wrote(text)
	s.proven(g)

	pc := s.room.Client(0)
	if _, err := pc.Run(s.ctx, "ip", "link", "set", pc.Interface(), "mtu", "1400"); err != nil {
		t.Fatal(err)
	}
	want := fault.PacketsTooLarge(1448, 1372)
	g = s.get(0)
	if text := says(s, g, "notice", "packets carry"); text != want.String() {
		t.Errorf("%q, want %q", text, want)
	}
	s.wrote(want.String())
	s.proven(g)
	s.consult(pc).holds(t, "size", "fail", string(want.Kind), regexp.QuoteMeta(want.String()))
}

// TestDoctorSecondServer: two distribution points on one group are told of on both, while they cast.
func TestDoctorSecondServer(t *testing.T) {
	t.Parallel()
	const slow = `ceiling = "1 MB/s"`
	s := inRoom(t, 3, rig.Config{Multicast: slow})
	dir := filepath.Join(s.dir, "second")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	host := s.room.Client(1)
	second, err := rig.StartDaemon(s.ctx, host, s.programs, dir, rig.Config{Multicast: slow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Kill)
	if _, err := second.AddImage(s.ctx, s.image, "w11", "--version", "1"); err != nil {
		t.Fatal(err)
	}
	s.consultServer().holds(t, "other servers", "ok", "", "no other machine was heard")
	mine := s.get(0)
	g, err := rig.StartGet(s.ctx, s.room.Client(2), s.programs, "w11", "--bundle", second.Bundle(), "--output", s.file("pc03"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	s.eventually("the other server is heard", func() bool { return s.consultServer().of("other servers").State == "fail" })
	want := fault.SecondServer(netip.MustParseAddrPort("239.195.16.1:63000"), host.Addr())
	s.consultServer().holds(t, "other servers", "fail", string(want.Kind), regexp.QuoteMeta(want.Text)+` \(heard on eth0, last \d+ s ago\); next: `+regexp.QuoteMeta(want.Next))
	s.wrote(want.String())
	other := fault.SecondServer(netip.MustParseAddrPort("239.195.16.1:63000"), s.room.Server().Addr())
	s.eventually("the other one hears this one", func() bool { return strings.Contains(second.Log(), other.String()) })
	// Neither client is led astray: it hears its own server only.
	for _, one := range []*rig.Get{mine, g} {
		if err := one.AwaitProven(s.ctx, 0.2); err != nil {
			t.Error(err)
		}
	}
}
