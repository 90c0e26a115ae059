package test

import (
	"os"
	"testing"
	"time"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// The firewalls of Debian with the packages' profiles, each begun closed: what docs/install.md says opens them.

// firewall is one that a machine may have, and what opens it for a server and for a client.
type firewall struct {
	name           string
	start, end     [][]string
	server, client [][]string
}

var firewalls = []firewall{
	{
		"firewalld",
		[][]string{{"systemctl", "start", "firewalld"}, {"firewall-cmd", "--state"}},
		[][]string{{"systemctl", "stop", "firewalld"}},
		[][]string{{"firewall-cmd", "--permanent", "--add-service=wimcastd"}, {"firewall-cmd", "--reload"}},
		[][]string{{"firewall-cmd", "--permanent", "--add-service=wimcast"}, {"firewall-cmd", "--reload"}},
	},
	{
		"ufw",
		[][]string{{"ufw", "--force", "enable"}},
		[][]string{{"ufw", "disable"}},
		[][]string{{"ufw", "allow", "wimcastd"}, {"ufw", "allow", "proto", "igmp", "from", "any"}},
		[][]string{{"ufw", "allow", "wimcast"}, {"ufw", "allow", "proto", "igmp", "from", "any"}},
	},
}

// all runs commands in the system, one after the other.
func (m *machine) all(commands [][]string) {
	m.t.Helper()
	for _, words := range commands {
		m.run(words...)
	}
}

// carryPackages brings this checkout's packages to a machine, and says where they are to be.
func carryPackages(into *[]string) func(m *machine) {
	return func(m *machine) {
		r, err := fromCheckout()
		m.must(err)
		*into, err = carry(m.disk, r.debs)
		m.must(err)
	}
}

// doctor runs the doctor of the machine's server.
func (m *machine) doctor() *diagnosis {
	m.t.Helper()
	return m.diagnose(m.system.Command(m.ctx, "wimcast", "--json", "doctor"))
}

// TestOperationsBootedFirewall: a server behind a firewall. Closed, no client reaches it and it hears no querier; opened, both.
func TestOperationsBootedFirewall(t *testing.T) {
	t.Parallel()
	var debs []string
	m := onMachine(t, carryPackages(&debs))
	m.must(m.room.SetQuerier(m.ctx, time.Second))
	m.run(append([]string{"apt", "--yes", "install"}, debs...)...)
	m.ceiling("10 MB/s")
	m.reload(reloaded)
	m.deploy()
	var list []step
	for _, f := range firewalls {
		list = append(list, step{f.name, func(m *machine) {
			m.run("systemctl", "stop", unit)
			m.all(f.start)
			m.run("systemctl", "start", unit)
			d := m.diagnose(m.room.Client(0).Command(m.ctx, m.programs.Client, "--json", "--bundle", m.bundle, "doctor"))
			d.holds(m.t, "control", "fail", "host_silent", "that firewalls pass port 7600, UDP and TCP")
			m.doctor().holds(m.t, "querier", "skip", "", "none heard on")

			m.all(f.server)
			m.casts()
			m.eventually("the querier is heard", func() bool { return m.doctor().of("querier").State == "ok" })
			m.all(f.end)
		}})
	}
	m.steps(list)
}

// TestOperationsBootedFirewallOfClient: a Linux machine that receives behind a firewall. Closed, the group doesn't get in and
// the doctor says why; opened, all comes by the group, in one go, from a switch that forgets who doesn't answer its querier.
func TestOperationsBootedFirewallOfClient(t *testing.T) {
	t.Parallel()
	var debs []string
	m := onMachineAt(t, func(r *lab.Room) *lab.Host { return r.Client(0) }, carryPackages(&debs))
	m.run(append([]string{"apt", "--yes", "install"}, debs[0])...)
	m.must(m.room.WaitSnooping(m.ctx))
	m.must(m.room.SetQuerier(m.ctx, time.Second))
	m.must(m.room.SetMemory(m.ctx, 3*time.Second)) // as the RFC derives it: two questions and the time for answers
	m.start(m.room.Server(), rig.Config{Multicast: `ceiling = "3 MB/s"`})
	comes := func(m *machine, multicast, unicast int64) {
		m.t.Helper()
		_, totals := m.proven(m.get(0))
		if totals.Multicast != multicast || totals.Unicast != unicast {
			m.t.Errorf("%d bytes by multicast and %d by unicast, want %d and %d", totals.Multicast, totals.Unicast, multicast, unicast)
		}
		if multicast > 0 && totals.Rejoins > 1 { // a server that had no processor for 2 s is possible here
			m.t.Errorf("the switch forgot the client, which joined again, %d times", totals.Rejoins)
		}
		m.must(os.Remove(m.file(m.room.Client(0).Name())))
	}
	var list []step
	for i, f := range firewalls {
		list = append(list, step{f.name, func(m *machine) {
			m.all(f.start)
			if i == 0 { // the server gives a network one burst a minute
				m.consult(m.room.Client(0)).holds(m.t, "group", "fail", "firewall", "this machine's firewall drops them")
			}
			comes(m, 0, m.size)
			m.all(f.client)
			comes(m, m.size, 0)
			m.all(f.end)
		}})
	}
	m.steps(list)
}
