package test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wimcast/api"
)

// TestOperationsBootedDebian is a machine's life with the packages, from the first installation to the purge, and begun anew.
func TestOperationsBootedDebian(t *testing.T) {
	t.Parallel()
	var now, later []string
	m := onMachine(t, func(m *machine) {
		for _, p := range []struct {
			into *[]string
			of   func() (*released, error)
		}{{&now, fromCheckout}, {&later, next}} {
			r, err := p.of()
			m.must(err)
			*p.into, err = carry(m.disk, r.debs)
			m.must(err)
		}
		m.stallingDaemon()
	})
	for _, name := range []string{"alice", "bob"} {
		m.run("useradd", name)
	}
	before, err := files(m.ctx, m.system)
	m.must(err)
	m.steps([]step{
		{"install", func(m *machine) { m.installed(now) }},
		{"hardening", (*machine).hardened},
		{"analyzed", (*machine).analyzed},
		{"reload", (*machine).reloads},
		{"cast", (*machine).casts},
		{"stopped by force", (*machine).stoppedByForce},
		{"hangs", (*machine).hangs},
		{"drains", (*machine).drains},
		{"journal", func(m *machine) { m.must(checkJournal(m.ctx, m.system.Run)) }},
		{"support", (*machine).supports},
		{"upgrade", func(m *machine) { m.upgraded(later) }},
		{"boot", (*machine).bootsAgain},
		{"refused configuration", (*machine).refusedConfiguration},
		{"remove", (*machine).removed},
		{"purge", func(m *machine) { m.purged(before) }},
		{"install again", func(m *machine) { m.installedAgain(now) }},
	})
}

// installed installs the packages on a machine that never had them.
func (m *machine) installed(debs []string) {
	out := m.run(append([]string{"apt", "--yes", "install"}, debs...)...)
	m.t.Logf("apt:\n%s", out)
	m.up()
	m.run("systemctl", "status", unit)
	m.shows(map[string]string{"UnitFileState": "enabled", "NRestarts": "0", "User": "wimcast"})
	if got := m.run("stat", "--format=%U:%G", "/proc/"+m.pid()); got != "wimcast:wimcast" {
		m.t.Errorf("the daemon runs as %s", got)
	}
	m.looks(map[string]string{
		"/usr/bin/wimcastd":                  "-rwxr-xr-x root:root",
		"/usr/bin/wimcast":                   "-rwxr-xr-x root:root",
		"/etc/wimcast":                       "drwxr-xr-x root:root",
		configFile:                           "-rw-r--r-- root:root",
		stateDir:                             "drwx------ wimcast:wimcast",
		stateDir + "/room.join":              "-rw------- wimcast:wimcast",
		"/run/wimcast":                       "drwxr-x--- wimcast:wimcast",
		"/run/wimcast/admin.sock":            "srw-rw---- wimcast:wimcast",
		"/usr/lib/wimcast":                   "drwxr-xr-x root:root",
		"/usr/lib/wimcast/wimcast.exe":       "-rw-r--r-- root:root",
		"/usr/lib/wimcast/wimcast-arm64.exe": "-rw-r--r-- root:root",
	})
	if out := m.run("dpkg", "--verify", "wimcast", "wimcastd"); out != "" {
		m.t.Errorf("dpkg --verify: %s", out)
	}
	// The admin socket is for root, the daemon, and the group.
	m.run("usermod", "--append", "--groups", "wimcast", "alice")
	m.run("runuser", "-u", "alice", "--", "wimcast", "image", "list")
	if out := m.fails("runuser", "-u", "bob", "--", "wimcast", "image", "list"); !strings.Contains(out, "permission denied") || !strings.Contains(out, "usermod -aG wimcast") {
		m.t.Errorf("somebody who isn't in the group is told %q, want why, and what to do", out)
	}
	m.deploy()
}

// pid returns the daemon's process, as it is numbered in the system.
func (m *machine) pid() string {
	m.t.Helper()
	shown, err := m.system.Show(m.ctx, unit, "MainPID")
	m.must(err)
	return shown["MainPID"]
}

// hardened holds what the kernel says of the daemon, once it gave up what it was lent.
func (m *machine) hardened() {
	status, err := os.ReadFile(m.system.Path("/proc/" + m.pid() + "/status"))
	m.must(err)
	is := map[string]string{}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		is[key] = strings.TrimSpace(value)
	}
	const none = "0000000000000000"
	for key, want := range map[string]string{
		"CapEff": none, "CapPrm": none, "CapInh": none, "CapAmb": none,
		"CapBnd":     "0000000000002000", // CAP_NET_RAW alone
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if is[key] != want {
			m.t.Errorf("%s is %s, want %s", key, is[key], want)
		}
	}
	// What the daemon sees, by its own mount namespace, even as root.
	inside := []string{"nsenter", "--target", m.pid(), "--mount", "--"}
	for _, name := range []string{"/etc/wimcast/x", "/etc/x", "/usr/x", "/srv/x", "/var/x"} {
		if out := m.fails(append(inside, "touch", name)...); !strings.Contains(out, "Read-only file system") {
			m.t.Errorf("touch %s: %s", name, out)
		}
	}
	m.run(append(inside, "sh", "-c", "touch /var/lib/wimcast/x /run/wimcast/x && rm /var/lib/wimcast/x /run/wimcast/x")...)
	if out := m.run(append(inside, "sh", "-c", "ls /root /home | wc -w; ls /dev | grep -c -E '^(mem|kmsg|sd|vd|loop)' || true")...); out != "2\n0" {
		m.t.Errorf("it sees of homes and devices: %q", out) // 2: the two names that ls prints
	}
}

// analyzed has the system's own systemd look at the unit.
func (m *machine) analyzed() {
	if out := m.run("systemd-analyze", "verify", "--man=no", unit); out != "" {
		m.t.Errorf("systemd-analyze verify: %s", out)
	}
	out := m.run("systemd-analyze", "security", "--no-pager", "--threshold=20", unit)
	m.t.Log(out[strings.LastIndex(out, "\n")+1:])
}

// reloads changes the configuration, well and badly.
func (m *machine) reloads() {
	pid := m.pid()
	m.ceiling("10 MB/s")
	m.run("wimcastd", "--config", configFile, "--check")
	m.reload(reloaded + `.*multicast\.ceiling`)
	if got := m.status().Ceiling; got != 10e6 {
		m.t.Errorf("the ceiling is %v after the reload", got)
	}
	m.ceiling("fast")
	m.reload(`the configuration is bad; nothing changed.*ceiling`)
	if got := m.status().Ceiling; got != 10e6 {
		m.t.Errorf("the ceiling is %v after a bad configuration", got)
	}
	m.ceiling("10 MB/s")
	m.reload(reloaded)
	m.up()
	if now := m.pid(); now != pid {
		m.t.Errorf("the daemon is another one: %s, was %s", now, pid)
	}
}

// casts lets a client elsewhere have the image.
func (m *machine) casts() {
	before, err := m.room.Client(0).Stats(m.ctx)
	m.must(err)
	_, totals := m.proven(m.receives())
	if totals.Multicast != m.size || totals.Unicast != 0 {
		m.t.Errorf("%d bytes by multicast and %d by unicast, want %d and 0", totals.Multicast, totals.Unicast, m.size)
	}
	after, err := m.room.Client(0).Stats(m.ctx)
	m.must(err)
	if came := after.RxBytes - before.RxBytes; came < uint64(m.size) {
		m.t.Errorf("%d bytes came over the cable, the image has %d", came, m.size)
	}
	if out := m.run("wimcast", "history", "proof", "w11", "--client", "pc01"); !strings.Contains(out, "pc01") {
		m.t.Errorf("history proof: %s", out)
	}
}

// drains stops the service in the middle of a cast.
func (m *machine) drains() {
	m.run("systemctl", "reset-failed", unit)
	m.edit(`#drain = "30s"`, `drain = "5m"`) // on a busy machine
	m.ceiling("4 MB/s")
	m.reload(reloaded)
	g := m.inTheMiddle()
	m.since()
	m.run("systemctl", "stop", unit)
	journal, err := m.system.Journal(m.ctx, unit, m.last)
	m.must(err)
	if !strings.Contains(journal, `"msg":"stopping"`) || strings.Contains(journal, "still running") {
		m.t.Errorf("the journal of the stop: %s", journal)
	}
	m.proven(g)
	m.shows(map[string]string{"ActiveState": "inactive", "SubState": "dead", "Result": "success", "MainPID": "0"})
	if left := m.running(); left != "" {
		m.t.Errorf("processes %s are left", left)
	}
	m.ceiling("10 MB/s")
	m.run("systemctl", "start", unit)
	m.up()
}

// supports makes support bundles: with all that the machine has, of a daemon that doesn't run, and by somebody who may not read the journal.
func (m *machine) supports() {
	block, _ := pem.Decode([]byte(m.run("sed", "-n", "/BEGIN PRIVATE KEY/,/END PRIVATE KEY/p", stateDir+"/room.join")))
	if block == nil {
		m.t.Fatal("the join bundle has no key to look for")
	}
	secrets := map[string]string{"environment of the unit": "zq-unit-77ab19", "join bundle": string(block.Bytes)}
	const dropIn = "/etc/systemd/system/wimcastd.service.d/secret.conf"
	m.must(os.MkdirAll(m.system.Path(filepath.Dir(dropIn)), 0o755))
	m.must(os.WriteFile(m.system.Path(dropIn), []byte("[Service]\nEnvironment=NOTE="+secrets["environment of the unit"]+"\n"), 0o644))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "reset-failed", unit) // so many starts in so short a time are the test's
	m.run("systemctl", "restart", unit)
	for i, c := range []struct {
		name           string
		command        []string
		said, service  string
		journal, asked bool
	}{
		{"whole", []string{"wimcast"}, "", "ActiveState=active", true, true},
		{"without the daemon", []string{"wimcast"}, "going on with what this machine knows", "ActiveState=inactive", true, false},
		{"by a member of the group", []string{"runuser", "-u", "alice", "--", "wimcast"}, "service/journal.txt: ", "ActiveState=active", false, true},
	} {
		if !c.asked {
			m.run("systemctl", "stop", unit)
		}
		file := fmt.Sprintf("/tmp/support%d.tar.gz", i)
		said := m.run(append(c.command, "support", "-o", file)...)
		m.run("systemctl", "start", unit)
		parts := openBundle(m.t, m.system.Path(file))
		if !strings.Contains(said, c.said) {
			m.t.Errorf("%s: it says %q, want %q", c.name, said, c.said)
		}
		service, journal := parts["service/service.txt"], parts["service/journal.txt"]
		if !strings.Contains(service, c.service+"\n") || !strings.Contains(service, "DropInPaths="+dropIn+"\n") {
			m.t.Errorf("%s: the unit, as the bundle has it: %q", c.name, service)
		}
		// What came before the latest start is there too.
		if has := strings.Contains(journal, "Stopped wimcastd.service") && strings.Contains(journal, `"msg":"ready"`); has != c.journal {
			m.t.Errorf("%s: the journal, as the bundle has it: %.2000q", c.name, journal)
		}
		if has := parts["server/status.json"] != ""; has != c.asked {
			m.t.Errorf("%s: the daemon's part is there: %v", c.name, has)
		}
		noSecrets(m.t, parts, secrets)
	}
	m.must(os.Remove(m.system.Path(dropIn)))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "reset-failed", unit)
	m.up()
}

// upgraded installs the next version over this one.
func (m *machine) upgraded(debs []string) {
	old, pid := m.status().Version, m.pid()
	config, err := os.ReadFile(m.system.Path(configFile))
	m.must(err)
	records := m.records()
	out := m.run(append([]string{"dpkg", "--force-confdef", "--force-confold", "--install"}, debs...)...)
	m.t.Logf("dpkg:\n%s", out)
	m.up()
	if now := m.status().Version; now != nextVersion || now == old {
		m.t.Errorf("version %s runs after the upgrade from %s, want %s", now, old, nextVersion)
	}
	if m.pid() == pid {
		m.t.Error("the daemon is still the old process")
	}
	if kept, err := os.ReadFile(m.system.Path(configFile)); err != nil || string(kept) != string(config) {
		m.t.Errorf("the configuration changed: %v", err)
	}
	m.run("test", "-e", configFile+".dpkg-dist") // what the new version would have there
	if got := m.status().Ceiling; got != 10e6 {
		m.t.Errorf("the ceiling is %v, want what the administrator wrote", got)
	}
	if now := m.records(); !slices.Equal(now, records) || len(now) == 0 {
		m.t.Errorf("the history has %v, had %v", now, records)
	}
	m.proven(m.receives()) // by the old bundle, of the old image
}

// records returns the ids of the sessions on record.
func (m *machine) records() (ids []int64) {
	m.t.Helper()
	var list []api.HistorySession
	m.must(json.Unmarshal([]byte(m.run("wimcast", "--json", "history", "list")), &list))
	for i := range list {
		ids = append(ids, list[i].ID)
	}
	return ids
}

// bootsAgain powers the machine off: the service comes up with it.
func (m *machine) bootsAgain() {
	m.must(m.system.PowerOff(m.ctx))
	m.boot()
	m.up()
	if out := m.run("wimcast", "image", "list"); !strings.Contains(out, "w11") {
		m.t.Errorf("images after the boot: %s", out)
	}
}

// refusedConfiguration restarts the service on a configuration that it can't run with.
func (m *machine) refusedConfiguration() {
	m.run("systemctl", "reset-failed", unit)
	m.edit(`drain = "5m"`, `colour = "red"`)
	m.since()
	m.fails("systemctl", "restart", unit)
	m.awaits("Start request repeated too quickly")
	m.awaits("Failed to start")
	m.shows(map[string]string{"ActiveState": "failed", "Result": "exit-code"})
	journal, err := m.system.Journal(m.ctx, unit, m.last)
	m.must(err)
	told := 0
	for line := range strings.Lines(journal) {
		if strings.Contains(line, "colour") && strings.Contains(line, configFile) && strings.Contains(line, "line ") {
			told++
		}
	}
	if told != 5 {
		m.t.Errorf("the reason is told %d times, want by each of 5 tries: %s", told, journal)
	}
	m.edit(`colour = "red"`, `drain = "5m"`)
	m.run("systemctl", "reset-failed", unit)
	m.run("systemctl", "start", unit)
	m.up()
}

// kept lists what a removal must leave.
func (m *machine) kept() string {
	m.t.Helper()
	return m.run("sh", "-c", "find "+stateDir+` /etc/wimcast -not -name '*-wal' -not -name '*-shm' -printf '%p %M %u\n' | sort`)
}

// removed removes the daemon's package: the service ends, what it kept stays.
func (m *machine) removed() {
	before, pid := m.kept(), m.pid()
	m.run("apt", "--yes", "remove", "wimcastd")
	if after := m.kept(); after != before {
		m.t.Errorf("of state and configuration there is\n%s\nafter the removal, was\n%s", after, before)
	}
	m.fails("systemctl", "is-active", unit)
	m.shows(map[string]string{"LoadState": "not-found"})
	m.fails("test", "-e", "/proc/"+pid)
	m.fails("test", "-e", "/usr/bin/wimcastd")
	m.fails("test", "-e", "/run/wimcast")
	m.run("wimcast", "--help") // the other package's
}

// purged purges both: state and configuration go, and nothing that isn't theirs.
func (m *machine) purged(before map[string]string) {
	m.run("tar", "-C", stateDir, "-czf", "/srv/wimcast-ca.tar.gz", "ca") // as docs/install.md says
	m.run("apt", "--yes", "purge", "wimcastd", "wimcast")
	m.run("rm", "/srv/wimcast-ca.tar.gz")
	after, err := files(m.ctx, m.system)
	m.must(err)
	for name := range after {
		if _, was := before[name]; !was && !purgeLeaves(name) {
			m.t.Errorf("left over: %s", name)
		}
	}
	for name, was := range before {
		if is, ok := after[name]; !ok || is != was {
			m.t.Errorf("%s was %s, is %q now", name, was, is)
		}
	}
	m.run("id", "wimcast") // the user stays, so that its number goes to nobody else
}

// purgeLeaves says what is new on a machine that had the packages, and is no file of theirs.
func purgeLeaves(name string) bool {
	switch filepath.Base(name) {
	case "passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock", ".updated": // backups of the lists of users, and their lock
		return strings.HasPrefix(name, "/etc/") || strings.HasPrefix(name, "/var/")
	}
	for _, dir := range []string{"/var/lib/systemd", "/etc/machine-id"} { // the booted system's own
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// installedAgain installs the packages once more: everything begins anew, so the old bundle is worth nothing.
func (m *machine) installedAgain(debs []string) {
	m.run(append([]string{"dpkg", "--install"}, debs...)...)
	m.up()
	if out := m.run("wimcast", "--json", "image", "list"); strings.Contains(out, "w11") {
		m.t.Errorf("images of a new installation: %s", out)
	}
	m.ended(m.receives(), 4)
	m.deploy()
	m.proven(m.receives())
}

// stallingDaemon puts a daemon on the machine that can be made to hang.
func (m *machine) stallingDaemon() {
	cmd := exec.CommandContext(m.ctx, "go", "build", "-tags", "stall", "-o", m.disk.Path("/usr/local/bin/wimcastd-stalls"), "../cmd/wimcastd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("build a daemon that hangs: %v: %s", err, out)
	}
}
