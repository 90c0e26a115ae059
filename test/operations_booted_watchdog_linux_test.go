package test

import (
	"os"
	"path/filepath"
)

const (
	dropIn = "/run/systemd/system/wimcastd.service.d/watchdog.conf"
	// shortWatchdog is the watchdog's patience here. The daemon reports three times within it; on a busy machine it gets no
	// processor for a second or two.
	shortWatchdog = "WatchdogSec=10s\n"
)

// guarded runs the service under a shorter watchdog, with more in its drop-in, in the middle of a slow cast; makes it hang; and holds what
// systemd does about that, and that the client has the image in the end.
func (m *machine) guarded(more string, hang func()) {
	m.t.Helper()
	m.ceiling("2 MB/s")
	m.must(os.MkdirAll(m.system.Path(filepath.Dir(dropIn)), 0o755))
	m.must(os.WriteFile(m.system.Path(dropIn), []byte("[Service]\n"+shortWatchdog+more), 0o644))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "reset-failed", unit) // starts of steps before don't count
	m.run("systemctl", "restart", unit)
	m.up()
	g := m.inTheMiddle()
	pid := m.pid()
	m.ceiling("20 MB/s") // from the next start on
	m.since()
	hang()
	m.awaits("Watchdog timeout")
	m.awaits("Failed with result 'watchdog'")
	m.awaits(`Started wimcastd\.service`)
	m.up()
	m.shows(map[string]string{"NRestarts": "1"})
	if m.pid() == pid {
		m.t.Error("the daemon is still the old process")
	}
	m.proven(g)
	if g.Progress().Size == 0 {
		m.t.Error("the client received nothing before")
	}
	m.must(os.Remove(m.system.Path(dropIn)))
	m.run("systemctl", "daemon-reload")
	m.ceiling("10 MB/s")
	m.run("systemctl", "restart", unit)
	m.up()
}

// stoppedByForce stops the daemon as it was installed where it stands.
func (m *machine) stoppedByForce() {
	m.guarded("", func() { m.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", unit) })
}

// hangs has the disk of the image stop answering, so that the session that reads it hangs while all else in the daemon goes on.
func (m *machine) hangs() {
	m.guarded("ExecStart=\nExecStart=/usr/local/bin/wimcastd-stalls\n", func() {
		m.run("systemctl", "kill", "--kill-whom=main", "--signal=USR1", unit)
		m.awaits("hangs from now on")
	})
}
