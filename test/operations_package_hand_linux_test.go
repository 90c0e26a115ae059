package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// byHand runs commands on a system that is this machine with a layer over it, which is
// gone with its mount namespace. systemctl and sysctl are only written down: there is
// no service manager in it, and the kernel's settings are everybody's.
const byHand = `set -e
layer=$1
checkout=$2
mount -t tmpfs tmpfs "$layer"
mkdir -p "$layer/upper/usr/local/sbin" "$layer/work" "$layer/root"
for program in systemctl sysctl; do
	printf '#!/bin/sh\necho "%s $*" >>/called\n' "$program" >"$layer/upper/usr/local/sbin/$program"
	chmod 755 "$layer/upper/usr/local/sbin/$program"
done
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
for dir in dev proc; do mount --rbind "/$dir" "$layer/root/$dir"; done
mount --rbind "$checkout" "$layer/root/mnt"
cat >"$layer/root/commands"
exec chroot "$layer/root" env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -e -c '
	cd /mnt
	. /commands
	cat /called
	stat --format="%n %A %U" /var/lib/wimcast /etc/wimcast/wimcastd.toml /usr/bin/wimcastd
	wimcastd --check --config /etc/wimcast/wimcastd.toml'
`

// handCommands are those of docs/install.md.
const handCommands = `install -m 755 dist/wimcastd dist/wimcast /usr/bin/
install -D -m 644 -t /usr/lib/wimcast dist/wimcast.exe dist/wimcast-arm64.exe
install -D -m 644 deploy/sysusers.d/wimcast.conf /etc/sysusers.d/wimcast.conf
install -D -m 644 deploy/tmpfiles.d/wimcast.conf /etc/tmpfiles.d/wimcast.conf
install -D -m 644 deploy/sysctl.d/60-wimcast.conf /etc/sysctl.d/60-wimcast.conf
install -D -m 644 deploy/wimcastd.service /etc/systemd/system/wimcastd.service
install -D -m 644 deploy/wimcastd.toml /etc/wimcast/wimcastd.toml
systemd-sysusers
systemd-tmpfiles --create wimcast.conf
sysctl --system
systemctl daemon-reload
systemctl enable --now wimcastd
`

// TestOperationsPackagesByHand types what docs/install.md says for an installation without packages.
func TestOperationsPackagesByHand(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts: run it as root")
	}
	if _, err := packed(); err != nil { // with what make build leaves in dist
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for line := range strings.Lines(handCommands) {
		shown.WriteString("    # " + line)
	}
	if !strings.Contains(string(page), "<!-- run by TestOperationsPackagesByHand -->\n"+shown.String()+"\n") {
		t.Fatalf("docs/install.md doesn't say what is typed here:\n%s", shown.String())
	}
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "sh", "-c", byHand, "sh", t.TempDir(), checkout)
	cmd.Stdin = strings.NewReader(handCommands)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, handCommands, out)
	}
	lacks(t, string(out), "sysctl --system\n", "systemctl daemon-reload\nsystemctl enable --now wimcastd\n",
		"/var/lib/wimcast drwx------ wimcast\n", "/etc/wimcast/wimcastd.toml -rw-r--r-- root\n", "/usr/bin/wimcastd -rwxr-xr-x root\n", "configuration is good\n")
}
