package test

import (
	"os"
	"strings"
	"testing"
)

// TestOperationsBootedFedora installs the other kind of package, by rpm itself with its own database, scripts and all, first on a system that doesn't run, as
// an image of a machine is made. The system below is still Debian: no Fedora is at hand. So dependencies, which name
// Fedora's packages, aren't asked for (--nodeps), and neither SELinux nor firewalld is there.
func TestOperationsBootedFedora(t *testing.T) {
	t.Parallel()
	var later []string
	m := onMachine(t, func(m *machine) {
		r, err := fromCheckout()
		m.must(err)
		now, err := carry(m.disk, r.rpms)
		m.must(err)
		r, err = next()
		m.must(err)
		later, err = carry(m.disk, r.rpms)
		m.must(err)
		// As Fedora and its like have it: what is installed isn't started by that.
		m.must(os.MkdirAll(m.disk.Path("/usr/lib/systemd/system-preset"), 0o755))
		m.must(os.WriteFile(m.disk.Path("/usr/lib/systemd/system-preset/99-default-disable.preset"), []byte("disable *\n"), 0o644))
		out, err := m.disk.Chroot(m.ctx, "rpm", append(rpmOptions("-i"), now...)...)
		m.must(err)
		m.t.Logf("rpm -i:\n%s", out)
	})
	m.steps([]step{
		{"boot", (*machine).rpmInstalled},
		{"cast", (*machine).casts},
		{"upgrade", func(m *machine) { m.rpmUpgraded(later) }},
		{"erase", (*machine).rpmErased},
	})
}

// rpmOptions are those of rpm on a system whose other packages it doesn't know.
func rpmOptions(operation string) []string { return []string{operation, "--nodeps", "--force-debian"} }

// rpmInstalled has the administrator start the service of a system that was installed without running.
func (m *machine) rpmInstalled() {
	m.shows(map[string]string{"ActiveState": "inactive", "UnitFileState": "disabled"})
	m.run("systemctl", "enable", "--now", unit)
	m.up()
	m.looks(map[string]string{
		configFile:                "-rw-r--r-- root:root",
		stateDir:                  "drwx------ wimcast:wimcast",
		"/run/wimcast/admin.sock": "srw-rw---- wimcast:wimcast",
	})
	if out := m.run("rpm", "--verify", "--nodeps", "wimcast", "wimcastd"); out != "" {
		m.t.Errorf("rpm --verify: %s", out)
	}
	m.ceiling("10 MB/s")
	m.reload(reloaded)
	m.deploy()
}

// rpmUpgraded installs the next version over this one.
func (m *machine) rpmUpgraded(rpms []string) {
	pid := m.pid()
	m.run(append(append([]string{"rpm"}, rpmOptions("-U")...), rpms...)...)
	m.up()
	if now := m.status(); now.Version != nextVersion || now.Ceiling != 10e6 {
		m.t.Errorf("after the upgrade: %+v", now)
	}
	if m.pid() == pid {
		m.t.Error("the daemon is still the old process")
	}
	m.run("test", "-e", configFile+".rpmnew")
	m.shows(map[string]string{"UnitFileState": "enabled"})
	m.proven(m.receives())
}

// rpmErased removes the packages: what the administrator made stays, as rpm has it.
func (m *machine) rpmErased() {
	m.run(append(append([]string{"rpm"}, rpmOptions("-e")...), "wimcastd", "wimcast")...)
	m.fails("systemctl", "is-active", unit)
	m.shows(map[string]string{"LoadState": "not-found"})
	if left := m.running(); left != "" {
		m.t.Errorf("processes %s are left", left)
	}
	for _, name := range []string{"/usr/bin/wimcastd", "/usr/bin/wimcast", "/etc/systemd/system/multi-user.target.wants/" + unit} {
		m.fails("test", "-e", name)
	}
	m.run("test", "-e", configFile+".rpmsave") // it was changed
	if out := m.run("ls", stateDir); !strings.Contains(out, "library") {
		m.t.Errorf("state after the removal: %s", out)
	}
}
