package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// The doctor, held against faults that are made for real: what it says of each, on both sides.

// diagnosis is what `wimcast --json doctor` says.
type diagnosis struct {
	Side     string    `json:"side"`
	Findings []finding `json:"findings"`
	code     int
}

type finding struct {
	State, Check, Text, Next, Fault string
}

func (f finding) String() string {
	return fmt.Sprintf("%s %s: %s; next: %s (%s)", f.State, f.Check, f.Text, f.Next, f.Fault)
}

func (d *diagnosis) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, exit code %d:\n", d.Side, d.code)
	for _, f := range d.Findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

// of returns the worst finding of a check.
func (d *diagnosis) of(check string) (worst finding) {
	order := map[string]int{"": 0, "skip": 1, "ok": 2, "warn": 3, "fail": 4}
	for _, f := range d.Findings {
		if f.Check == check && order[f.State] > order[worst.State] {
			worst = f
		}
	}
	return worst
}

// holds that a check's worst finding has a state, a fault, and words.
func (d *diagnosis) holds(t *testing.T, check, state, fault, words string) {
	t.Helper()
	f := d.of(check)
	if f.State != state || f.Fault != fault || !regexp.MustCompile(words).MatchString(f.Text+"; next: "+f.Next) {
		t.Errorf("%s: %q, want %s, %s, %q; all of it:\n%s", check, f, state, fault, words, d)
	}
	if (state == "fail" || state == "warn") && f.Next == "" && f.Fault != "refused" {
		t.Errorf("%s: nothing is said of what to do: %s", check, f)
	}
}

// sound holds that nothing failed and nothing is warned of, but what may be.
func (d *diagnosis) sound(t *testing.T, but ...string) {
	t.Helper()
	for _, f := range d.Findings {
		if (f.State == "fail" || f.State == "warn") && !strings.Contains(" "+strings.Join(but, " ")+" ", " "+f.Fault+" ") {
			t.Errorf("%s\nall of it:\n%s", f, d)
		}
	}
}

// consult runs the doctor as a client, at a place.
func (s *stage) consult(place rig.Place, args ...string) *diagnosis {
	s.t.Helper()
	return s.diagnose(place.Command(s.ctx, s.programs.Client, append([]string{"--json", "--bundle", s.daemon.Bundle(), "doctor"}, args...)...))
}

// consultServer runs the doctor on the server.
func (s *stage) consultServer() *diagnosis {
	s.t.Helper()
	return s.diagnose(exec.CommandContext(s.ctx, s.programs.Client, "--json", "--socket", filepath.Join(s.daemon.Dir, "admin.sock"), "doctor"))
}

func (s *stage) diagnose(cmd *exec.Cmd) *diagnosis {
	s.t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		s.t.Fatal(err)
	}
	d := &diagnosis{code: cmd.ProcessState.ExitCode()}
	if err := json.Unmarshal(out.Bytes(), d); err != nil {
		s.t.Fatalf("%v: %s%s", err, out.Bytes(), errOut.Bytes())
	}
	failed := false
	for _, f := range d.Findings {
		failed = failed || f.State == "fail"
	}
	if (d.code == 1) != failed || d.code > 1 {
		s.t.Errorf("exit code %d\n%s", d.code, d)
	}
	return d
}

// asking is how often the switch of these rooms asks for members: so that the daemon hears it soon.
const asking = time.Second

// clinic is a room whose switch asks often, and a daemon that has heard it.
func clinic(t *testing.T, clients int) *stage {
	t.Helper()
	s := inRoom(t, clients, rig.Config{Multicast: `ceiling = "40 MB/s"`})
	if err := s.room.SetQuerier(s.ctx, asking); err != nil {
		t.Fatal(err)
	}
	s.eventually("a querier is heard", func() bool { return s.consultServer().of("querier").State == "ok" })
	return s
}

// eventually waits until something is so.
func (s *stage) eventually(what string, is func() bool) {
	s.t.Helper()
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waiting until %s: %v", what, context.Cause(s.ctx))
		}
	}
}

// fresh starts the daemon anew, so that the network may have another probe burst.
func (s *stage) fresh() {
	s.t.Helper()
	if err := s.daemon.Stop(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		s.t.Fatal(err)
	}
}

// TestDoctorHealthy: in a room where all is well the doctor says so, on both sides.
func TestDoctorHealthy(t *testing.T) {
	s := clinic(t, 1)
	d := s.consult(s.room.Client(0), "--output", s.dir)
	t.Logf("%s", d)
	d.sound(t, "disk_slow")
	if d.Side != "client" {
		t.Errorf("side %s", d.Side)
	}
	for check, words := range map[string]string{
		"control": `10\.77\.0\.1:7600 answers on UDP`, "certificate": "takes this bundle", "unicast": "answers on TCP", "clock": "as the server's", "bundle": "good until",
		"role": "winpe", "interface": "eth0, 10.77.0.11, MTU 1500", "igmp": "IGMPv3", "receive buffer": "4096 KiB", "group": `(\d+) of \d+ packets of 239.* arrived at \d\.\d MB/s`,
		"size": "up to 1500 bytes arrive; sessions send 1476", "loss": "first half 0.0 %, second half 0.0 %", "join": "for the source alone", "querier": "heard one on this network [0-9] s ago",
	} {
		d.holds(t, check, "ok", "", words)
	}
	if f := d.of("disk"); f.State != "ok" && f.Fault != "disk_slow" || !strings.Contains(f.Text, "MB/s") {
		t.Errorf("disk: %s", f)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".wimcast-doctor-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d = s.consultServer()
	t.Logf("%s", d)
	d.sound(t, "disk_slow", "space")
	if d.Side != "server" {
		t.Errorf("side %s", d.Side)
	}
	for check, words := range map[string]string{
		"interface": "eth0 is up: 10.77.0.1, MTU 1500", "igmp": "IGMPv3", "querier": `10\.77\.0\.254 asked on eth0 [0-9] s ago \(IGMPv3\)`, "groups": "no two groups share a MAC address",
		"other servers": "no other machine", "ttl": `groups stay on 10\.77\.0\.0/24`, "certificates": "bundles are good", "probe": "one a minute",
	} {
		d.holds(t, check, "ok", "", words)
	}
	// One burst a minute: the second client is told when it may ask.
	s.consult(s.room.Client(0)).holds(t, "group", "skip", "", `10\.77\.0\.0/24 had a probe burst lately.*try again in \d+s`)
}

// TestDoctorGroup: whatever keeps the group from a client is told apart.
func TestDoctorGroup(t *testing.T) {
	s := clinic(t, 1)
	pc := s.room.Client(0)
	for _, tc := range []struct {
		name               string
		fault, mend        func() error
		check, state, kind string
		words              string
		args               []string
	}{
		{
			"pruned port", func() error { return pc.SetPruned(s.ctx, true) }, func() error { return pc.SetPruned(s.ctx, false) },
			"group", "fail", "pruned", "the switch delivers nothing of group .* to eth0, although this machine has joined it; next: look at IGMP snooping", nil,
		},
		{
			"firewall", func() error { return pc.SetFirewall(s.ctx, "ip daddr 239.0.0.0/8 meta l4proto udp") }, func() error { return pc.SetFirewall(s.ctx, "") },
			"group", "fail", "firewall", `\d+ packets came in at eth0 .* none got to wimcast: this machine's firewall drops them; next: let UDP port 63\d+ .*wpeutil DisableFirewall`, nil,
		},
		{
			"loss", func() error { return pc.SetLoss(s.ctx, 8) }, func() error { return pc.SetLoss(s.ctx, 0) },
			"loss", "warn", "loss", `(6|7|8|9|10)\.\d % of the group's packets get lost on the way .*; first half \d+\.\d %, second half \d+\.\d %; next: look at the cable`, nil,
		},
		{
			"heavy loss", func() error { return pc.SetLoss(s.ctx, 40) }, func() error { return pc.SetLoss(s.ctx, 0) },
			"loss", "fail", "loss", `(3|4)\d\.\d % of the group's packets get lost`, nil,
		},
		{
			"small MTU on the path", func() error { return pc.SetMaxPacket(s.ctx, 1450) }, func() error { return pc.SetMaxPacket(s.ctx, 0) },
			"size", "fail", "too_large", `packets of 1476 bytes don't arrive, 1400 is the largest size that does; next: on the server: set multicast.mtu = 1400`, nil,
		},
		{
			"MTU that sessions fit", func() error { return pc.SetMaxPacket(s.ctx, 1480) }, func() error { return pc.SetMaxPacket(s.ctx, 0) },
			"size", "warn", "too_large", `packets of 1500 bytes don't arrive, 1476 is the largest`, nil,
		},
		{
			"a switch of IGMPv2", func() error { return pc.SetDeafToSources(s.ctx, true) }, func() error { return pc.SetDeafToSources(s.ctx, false) },
			"group", "fail", "source_join", `group .* arrives only when it is joined for any source, not for 10\.77\.0\.1 alone \(IGMPv3\); next: turn IGMPv3 on`, nil,
		},
		{
			"wrong clock", func() error { return nil }, func() error { return nil },
			"clock", "warn", "clock", "this machine's clock is 1095 days behind the server's",
			[]string{"--clock-off=-26280h"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.fault(); err != nil {
				t.Fatal(err)
			}
			s.consult(pc, tc.args...).holds(t, tc.check, tc.state, tc.kind, tc.words)
			if err := tc.mend(); err != nil {
				t.Fatal(err)
			}
		})
		s.fresh()
	}
	t.Run("mended", func(t *testing.T) { s.consult(pc).sound(t) })
}

// TestDoctorControl: why a server isn't reached is told apart.
func TestDoctorControl(t *testing.T) {
	t.Parallel()
	s := clinic(t, 1)
	pc, server := s.room.Client(0), s.room.Server()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(server.SetFirewall(s.ctx, "udp dport 7600"))
	s.consult(pc).holds(t, "control", "fail", "udp_blocked", `10\.77\.0\.1 answers on TCP port 7600, but not on UDP port 7600: a firewall between drops it; next: let UDP port 7600`)
	must(server.SetFirewall(s.ctx, "tcp dport 7600"))
	d := s.consult(pc)
	d.holds(t, "unicast", "warn", "tcp_blocked", "TCP port 7600 of 10.77.0.1 doesn't answer")
	d.holds(t, "group", "ok", "", "arrived")
	must(server.SetFirewall(s.ctx, ""))

	must(server.SetLink(s.ctx, false))
	s.consult(pc).holds(t, "control", "fail", "host_silent", `nothing answers at 10\.77\.0\.1, neither on UDP nor on TCP port 7600; next: check the address`)
	must(server.SetLink(s.ctx, true))
	if _, err := pc.Run(s.ctx, "ip", "route", "flush", "table", "main"); err != nil {
		t.Fatal(err)
	}
	s.consult(pc).holds(t, "control", "fail", "no_route", `there is no route to distribution point 10\.77\.0\.1:7600`)
	if _, err := pc.Run(s.ctx, "ip", "route", "add", "10.77.0.0/24", "dev", "eth0"); err != nil {
		t.Fatal(err)
	}
	must(s.daemon.Stop())
	s.consult(pc).holds(t, "control", "fail", "not_running", `10\.77\.0\.1 is there, but nothing listens on port 7600; next: start wimcastd`)
	if d := s.consultServer(); d.of("daemon").Fault != "no_daemon" {
		t.Errorf("the server without its daemon: %s", d)
	}
	must(s.daemon.Start(s.ctx))
	s.consult(pc, "--interface", "eth7").holds(t, "interface", "fail", "join", `there is no interface "eth7"`)
}

// TestDoctorCredentials: who refuses whom, and when a bundle ends.
func TestDoctorCredentials(t *testing.T) {
	s := clinic(t, 1)
	pc := s.room.Client(0)
	at := func(bundle string) *diagnosis {
		return s.diagnose(pc.Command(s.ctx, s.programs.Client, "--json", "--bundle", filepath.Join(s.dir, bundle), "doctor"))
	}
	s.cli("bundle", "create", "soon", "--lifetime", "48h", "--output", filepath.Join(s.dir, "soon.join"))
	at("soon.join").holds(t, "bundle", "warn", "expires", `bundle soon ends in (2 days|4\d hours)`)
	s.cli("bundle", "create", "other", "--role", "client", "--output", filepath.Join(s.dir, "other.join"))
	at("other.join").holds(t, "role", "warn", "role", "the bundle's role is client; multicast is for Windows PE only")
	s.cli("bundle", "create", "gone", "--output", filepath.Join(s.dir, "gone.join"))
	s.cli("bundle", "revoke", "gone")
	at("gone.join").holds(t, "certificate", "fail", "refused", "refused by the other side: revoked: .*; write a new bundle")
}

// TestDoctorSmallBuffer: the system grants less than a cast wants.
func TestDoctorSmallBuffer(t *testing.T) {
	s := clinic(t, 1)
	// net.core.rmem_max is the whole machine's, so what is asked for is raised above it; without root it counts.
	out, err := exec.Command("sysctl", "-n", "net.core.rmem_max").Output()
	if err != nil {
		t.Skipf("net.core.rmem_max isn't told: %v", err)
	}
	var most int
	if _, err := fmt.Sscan(string(out), &most); err != nil {
		t.Fatal(err)
	}
	bundle, program := s.readable()
	d := s.diagnose(s.room.Client(0).Command(s.ctx, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		program, "--json", "--bundle", bundle, "doctor", "--read-buffer", fmt.Sprint(4*most)))
	d.holds(t, "receive buffer", "warn", "receive_buffer", fmt.Sprintf(`the receive buffer is %d KiB instead of %d; next: run sysctl -w net.core.rmem_max=%d`, most>>10, 4*most>>10, 4*most))
	d.holds(t, "group", "ok", "", "arrived") // an ordinary user may
}

// readable puts bundle and program where everybody can read them.
func (s *stage) readable() (bundle, program string) {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "wimcast-test-") // the test's own are for root only
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // for others, that is what it is for
		s.t.Fatal(err)
	}
	bundle, program = filepath.Join(dir, "room.join"), filepath.Join(dir, "wimcast")
	for to, from := range map[string]string{bundle: s.daemon.Bundle(), program: s.programs.Client} {
		if out, err := exec.Command("install", "-m", "0755", from, to).CombinedOutput(); err != nil {
			s.t.Fatalf("%v: %s", err, out)
		}
	}
	return bundle, program
}

// TestDoctorOtherNetwork: a client that TTL 1 doesn't get to.
func TestDoctorOtherNetwork(t *testing.T) {
	s := clinic(t, 1)
	// A second network on the server's other interface, which the daemon doesn't cast on: what a router in between comes to.
	beside, err := lab.New(s.ctx, lab.Config{Clients: 1, Beside: s.room})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	d := s.diagnose(beside.Client(0).Command(s.ctx, s.programs.Client, "--json", "--bundle", s.daemon.Bundle(), "--server", beside.Server().Addr().String(), "doctor"))
	d.holds(t, "group", "fail", "out_of_reach", `10\.77\.1\.11 is not on the network of group .*, which TTL 1 doesn't leave; next: use a distribution point on your network`)
	d.holds(t, "control", "ok", "", "answers on UDP")
}

// TestDoctorForbidden: the operator may forbid bursts, while the daemon runs.
func TestDoctorForbidden(t *testing.T) {
	s := clinic(t, 1)
	if err := s.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Configure(rig.Config{Top: "[doctor]\nprobe = false"}); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	d := s.consult(s.room.Client(0))
	d.holds(t, "group", "skip", "", "no probe burst: the operator forbids probe bursts: doctor.probe = false")
	d.holds(t, "control", "ok", "", "answers")
	s.consultServer().holds(t, "probe", "skip", "", "forbidden")
}

// TestDoctorNoQuerier: a network without a querier is told of once one would have asked, on both sides.
func TestDoctorNoQuerier(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "40 MB/s"`})
	if err := s.room.SetQuerier(s.ctx, 0); err != nil {
		t.Fatal(err)
	}
	s.fresh() // what was heard before doesn't count
	s.consultServer().holds(t, "querier", "skip", "", `none heard on eth0 yet, in \d+ s of listening; it takes 125 s to know`)
	s.eventually("the time is over", func() bool { return s.consultServer().of("querier").State != "skip" })
	s.consultServer().holds(t, "querier", "fail", "no_querier", `none heard on eth0 in 1[2-9]\d s; flow will stop after about 260 s; next: turn an IGMP querier on at the switch`)
	d := s.consult(s.room.Client(0))
	d.holds(t, "querier", "fail", "no_querier", `none heard on this network in 1[2-9]\d s; flow will stop`)
	d.holds(t, "group", "ok", "", "arrived") // this switch sends groups everywhere meanwhile
}

// nobody is a host on which programs run as an ordinary user with the one capability that the unit lends.
type nobody struct{ *lab.Host }

// Command implements rig.Place.
func (n nobody) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return n.Host.Command(ctx, "setpriv", append([]string{
		"--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw", "--bounding-set", "-all,+net_raw", "--no-new-privs", name,
	}, args...)...)
}

// TestDoctorUnprivileged: as the unit runs it, the daemon hears queriers, and has no capability left.
func TestDoctorUnprivileged(t *testing.T) {
	s := inRoom(t, 1, rig.Config{})
	if err := s.room.SetQuerier(s.ctx, asking); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	bundle, program := s.readable()
	dir, daemon := filepath.Join(filepath.Dir(bundle), "state"), filepath.Join(filepath.Dir(bundle), "wimcastd")
	for _, args := range [][]string{{"install", "-d", "-o", "65534", dir}, {"install", "-m", "0755", s.programs.Daemon, daemon}} {
		if out, err := exec.CommandContext(s.ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	d, err := rig.StartDaemon(s.ctx, ownConfig{nobody{s.room.Server()}, dir}, rig.Programs{Daemon: daemon, Client: program}, dir, rig.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.daemon = d
	t.Cleanup(d.Kill)
	s.eventually("a querier is heard", func() bool { return s.consultServer().of("querier").State == "ok" })
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.Cmd().Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			if !regexp.MustCompile(`(?m)^` + set + `:\s+0+$`).Match(status) {
				t.Errorf("%s: %s isn't empty:\n%s", task, set, status)
			}
		}
	}
}

// ownConfig gives the configuration that is written before the program starts to its user.
type ownConfig struct {
	nobody
	dir string
}

// Command implements rig.Place.
func (o ownConfig) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	_ = exec.CommandContext(ctx, "chown", "-R", "65534:65534", o.dir).Run() // what fails shows as a daemon that can't read it
	return o.nobody.Command(ctx, name, args...)
}
