package test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wimcast/test/registry"
)

// What each page takes for granted, and what is said of its commands. A new page is an entry here, with a daemon and the files that it names;
// a command gets a mark only if it wants one.

// Reasons why commands can't be typed in the room.
const (
	onWindows = "Windows' own program, and there is no Windows here: docs/winpe.md, \"What to try on real Windows PE\""
	packages  = "packages are built and installed by the tests of booted systems"
	worker    = "needs DISM: TestImagesWorker runs it with another program in DISM's place"
)

// atSnailsPace is a configuration in which the fixture's image takes half a minute, so that a session can be steered.
const atSnailsPace = "drain = \"0s\"\n[multicast]\nceiling = \"3 Mbit/s\"\n"

// administered is one with the admin API over HTTPS.
const administered = "[admin]\nlisten = \":7601\"\n"

// scheduled is one in which a room waits for more clients than there are.
const scheduled = atSnailsPace + "[package.w11]\nstart = \"scheduled\"\nmin_clients = 24\ndelay = \"15m\"\n"

// docPages is every page that has commands, in the order in which they are followed.
var docPages = []docPage{
	{
		file:  "README.md",
		given: func(d *desk) { d.put("server", "boot.wim"); d.serve("server", "") },
		marks: []mark{
			{cmd: "make demo", not: "the demo has a test of its own in test/demo"},
			{cmd: "make check", not: "it is what runs this test"},
			{cmd: "make package", not: packages},
			{cmd: "apt-get install ./dist", not: packages},
			{cmd: "systemctl enable", not: packages},
			{cmd: "usermod", not: packages},
			{cmd: "wimcast doctor --bundle", before: func(d *desk) { d.bring("lab12.join", "server", "pc17") }},
			{cmd: "wimcast get", shows: "proven"},
			{cmd: "wimcast history proof", before: func(d *desk) { d.recorded("pc17") }, shows: "pc17"},
			{cmd: "wimcast winpe inject", shows: "boot.wim.orig"},
		},
	},
	{
		file: "docs/operations.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.serve("server", "")
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.11; wimcast deployment create lab12 --image w11; wimcast bundle create lab12; nft -f /dev/stdin <<<'"+debianFilter+"'")
			d.do("pc17", "nft -f /dev/stdin <<<'"+debianFilter+"'")
			d.bring("lab12.join", "server", "pc17")
			d.ownPKI("server")
			d.do("pc17", "wimcast get lab12 --bundle lab12.join --output w11.wim")
		},
		marks: []mark{
			{cmd: "ip maddr", on: "pc17"},
			{cmd: "cat /proc/net/igmp", on: "pc17", shows: `eth0 +: +\d+ +V3`},
			{cmd: "ip -s link", on: "pc17"},
			{cmd: "wimcast doctor --bundle", on: "pc17", before: func(d *desk) { d.until("server", "wimcast session list | grep -q pass") }},
			{cmd: "nft add rule inet filter input ip daddr", on: "pc17"},
			{cmd: "openssl x509 -req", shows: "self-signature ok"},
			{cmd: "wimcastd --config try.toml", until: `"msg":"ready"`, stays: true},
			{cmd: "curl", before: func(d *desk) { // what was restored is what was there: a bundle of before gets its image
				d.do("pc17", "wimcast get lab12 --bundle lab12.join --output again.wim")
			}, shows: "wimcast_build_info"},
		},
	},
	{
		file: "docs/images.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.fileServer()
			d.serve("server", "")
		},
		env: []string{"WIMCAST_SMB_PASSWORD=" + sambaPassword},
	},
	{
		file: "docs/servicing.md",
		given: func(d *desk) {
			d.put("server", "w11.wim", "windows11.0-kb5031455-x64_6b5e4b6.msu", "updates", "odd.cab", "drivers-lab12")
			d.serve("server", "")
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.10; wimcast image add w11.wim --name w11 --version 2026.11")
		},
		names: map[string]func(*desk) string{
			"v3":                         (*desk).schedule,
			`2026-12-01T03:00:00\+01:00`: func(*desk) string { return time.Now().Add(48 * time.Hour).Format(time.RFC3339) },
		},
		marks: []mark{{cmd: "wimcast --bundle builder.join worker", not: worker}},
	},
	{
		file: "docs/sessions.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.serve("server", scheduled)
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.11; wimcast bundle create room12; wimcast bundle create r12-01")
			d.bring("room12.join", "server", "pc17", "pc09")
		},
		names: map[string]func(*desk) string{"s7": (*desk).session, "20 MB/s": func(*desk) string { return "300 kB/s" }, "17": func(d *desk) string {
			return d.do("server", "wimcast history list | awk 'NR==2 {printf \"%s\", $1}'")
		}},
		marks: []mark{
			{cmd: "wimcast session start", before: (*desk).waiting},
			{cmd: "wimcast session wait", before: (*desk).waiting},
			{cmd: "wimcast session cancel", before: (*desk).waiting},
			{cmd: "wimcast session show", before: (*desk).casting},
			{cmd: "wimcast session set", before: (*desk).casting},
			{cmd: "wimcast session stop", before: (*desk).casting},
			{cmd: "wimcast client", before: (*desk).casting},
			{cmd: "wimcast history list --since", before: func(d *desk) {
				d.serve("server", "")
				for _, name := range []string{"pc17", "pc09"} {
					d.do(name, "wimcast get w11 --bundle room12.join --output w11.wim")
					d.recorded(name)
				}
			}},
		},
	},
	{
		file: "docs/bundles.md",
		given: func(d *desk) {
			d.put("server", "w11.wim", "room12.csv")
			d.serve("server", atSnailsPace+administered)
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.11; wimcast deployment create w11 --image w11; wimcast bundle create room; mv room.join room12.join")
			d.bring("room12.join", "server", "pc17", "pc09")
		},
		names: map[string]func(*desk) string{"s7": (*desk).session},
		marks: []mark{
			{cmd: "wimcast bundle create room12 --pin", before: func(d *desk) { d.do("server", "rm room12.join") }},
			{cmd: "wimcast client evict pc07", before: func(d *desk) {
				d.bring("room12/pc07.join", "server", "pc09")
				d.background("pc09", "wimcast get w11 --bundle pc07.join --name pc07 --output pc07.wim")
				d.until("server", "wimcast session list | grep -q casting")
			}},
			{cmd: "wimcast --bundle ann.join", on: "pc09", before: func(d *desk) { d.bring("ann.join", "server", "pc09") }},
			{cmd: "wimcast --server dp1", on: "pc09", before: (*desk).casting},
			{cmd: "wimcast --bundle ann.join events", on: "pc09", before: (*desk).casting, until: "pc17"},
		},
	},
	{
		file: "docs/client.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.put("pc17", "w11.wim")
			d.serve("server", "")
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.11; wimcast deployment create w11 --image w11; wimcast bundle create room")
			d.bring("room.join", "server", "pc17")
			d.do("pc17", "cp w11.wim w11-old.wim; mkdir /mnt/target; wimcast get w11 --output none/w11.wim || [ $? = 6 ]; wimcast get w11 --name r12-01 --send-log --output r12.wim")
		},
		marks: []mark{
			{cmd: `wimcast get lab12 --apply W:\`, not: onWindows},
			{cmd: "wimcast get", on: "pc17", shows: "proven"},
			{cmd: "wimcast client log pc17 --file dism.log", exit: 1, shows: "no such log"}, // Linux has no DISM
		},
	},
	{
		file: "docs/doctor.md",
		given: func(d *desk) {
			d.serve("server", "")
			d.do("server", "wimcast bundle create room")
			d.bring("room.join", "server", "pc17")
		},
	},
	{
		file: "docs/winpe.md",
		given: func(d *desk) {
			d.put("server", "w11.wim", "boot.wim", "drivers")
			d.serve("server", "")
			d.do("pc17", "mkdir /mnt/windows")
		},
		names: map[string]func(*desk) string{"winpe run": func(*desk) string { return "winpe run --test-volume Windows=/mnt/windows" }},
		marks: []mark{
			{cmd: "copype", not: onWindows},
			{cmd: "wdsutil", not: onWindows},
			{cmd: "(echo select disk", not: onWindows},
			{cmd: `W:\Windows\System32\bcdboot`, not: onWindows},
			{cmd: "wimcast.exe winpe run", not: "TestWinPEWineRun runs it under Wine"},
			{cmd: `wimcast get lab12 --bundle X:\`, not: onWindows},
			{cmd: "wimcast winpe run --bundle room.join", on: "pc17", before: func(d *desk) {
				d.do("server", `wimcast deployment set lab12 --delay "" --min-clients ""; cp lab12.join room.join`)
				d.bring("room.join", "server", "pc17")
			}, shows: "proven"},
			{cmd: "wimcast winpe run --bundle room.join --deployment lab12 --volume Windows --reboot", on: "pc17", exit: 2, shows: "wpeutil"},
		},
	},
	{
		file: "docs/fleet.md",
		given: func(d *desk) {
			d.put("server", "w11.wim", "drivers-lab12")
			d.site()
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.10; wimcast image add w11.wim --name w11 --version 2026.11; wimcast overlay add drivers-lab12 --id drivers")
		},
		marks: []mark{
			{cmd: "wimcast image withdraw w11 --from branch-7", before: func(d *desk) {
				d.do("server", "rm branch-7.point; wimcast point add branch-7 -o branch-7.point; wimcast image withdraw w11 --all; wimcast image distribute w11 --to branch-7")
			}},
			{cmd: "wimcast image export w11", before: func(d *desk) { d.do("server", "wimcast image add w11.wim --name w11 --version 2026.12") }},
			{cmd: "wimcast image import", before: func(d *desk) {
				d.bring("w11.tar", "server", "north")
				d.bring("north.point", "server", "north")
				d.do("north", "install -o wimcast -g wimcast -m 600 north.point /etc/wimcast/north.point")
				d.serve("north", "[point]\nbundle = \"/etc/wimcast/north.point\"\n[registry]\nplain_http = true\n")
			}},
			{cmd: "wimcast image withdraw w11@2026.11 --all", before: func(d *desk) { d.do("server", "wimcast image distribute w11@2026.11 --all") }},
			{cmd: "wimcast image remove w11@2026.11 --withdraw", before: func(d *desk) { d.do("server", "wimcast image distribute w11@2026.11 --to north") }},
			{cmd: "wimcast point remove branch-7 --lost", before: func(d *desk) { d.do("server", "rm branch-7.point; wimcast point add branch-7 -o branch-7.point") }},
		},
	},
	{
		file: "docs/migrating.md",
		given: func(d *desk) {
			d.put("server", "w11.wim", "boot.wim")
			d.fileServer()
			d.serve("server", "")
			d.clonezilla()
		},
		env: []string{"WIMCAST_SMB_PASSWORD=" + sambaPassword},
		marks: []mark{
			{cmd: "Dism", not: onWindows},
			{cmd: "wimcast history proof", before: func(d *desk) {
				d.bring("lab12.join", "server", "pc17")
				d.do("server", `wimcast deployment set lab12 --delay "" --min-clients ""`)
				d.do("pc17", "wimcast get lab12 --bundle lab12.join --output w11.wim")
				d.recorded("pc17")
			}},
			{cmd: "cat sda3", before: func(d *desk) { d.do("server", "wimcast image remove w11@2026.11; rm w11.wim") }},
		},
	},
	{
		file:  "docs/install.md",
		given: func(d *desk) { d.serve("server", "") },
	},
	{
		file: "docs/monitoring.md",
		marks: []mark{
			{cmd: "cp /usr/share/wimcast/prometheus", not: "files of a package: TestOperationsAlerts gives them to a real Prometheus"},
			{cmd: "promtool check config", not: "TestOperationsRules runs promtool"},
			{cmd: "systemctl reload prometheus", not: "Prometheus' own unit"},
		},
	},
	{
		file:  "docs/page.md",
		given: func(d *desk) { d.serve("server", "") },
		marks: []mark{
			{cmd: "wimcast page", shows: "http://127.0.0.1:7603/#token="},
			{cmd: "ssh -L", not: "no SSH server here: the browser of TestOperationsPage comes through a relay like it"},
			{cmd: "openssl pkcs12", says: "secret\nsecret\n"},
		},
	},
	{
		file: "docs/logs.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.serve("server", "")
			d.do("server", "wimcast image add w11.wim --name w11 --version 2026.11; wimcast deployment create w11 --image w11; wimcast bundle create room")
			d.bring("room.join", "server", "pc17")
			d.do("pc17", "wimcast get w11 --bundle room.join --output w11.wim")
			d.recorded("pc17")
		},
		names: map[string]func(*desk) string{
			"s7": func(d *desk) string {
				return d.do("server", `journalctl | jq -rj 'select(.msg=="session ended" or .msg=="client joined") | .session + " "' | cut -d" " -f1 | tr -d "\n"`)
			},
			"vy5hiaila2tz": func(d *desk) string {
				return d.do("server", "journalctl | jq -rj 'select(.request) | .request' | head -c 12")
			},
		},
		marks: []mark{
			{cmd: `journalctl -u wimcastd -o cat | jq -c 'select(.session=="s7")'`, shows: `"msg":"client joined"`},
			{cmd: `journalctl -u wimcastd -o cat | jq -c 'select(.client=="pc17")'`, shows: `"msg":"client ended"`},
			{cmd: `journalctl -u wimcastd -o cat | jq -c 'select(.request`, shows: `"by":`},
		},
	},
	{
		file: "docs/security.md",
		marks: []mark{
			{cmd: "systemd-creds encrypt", not: "wants a TPM, or systemd's own key of the host"},
			{cmd: "systemctl edit", not: "opens an editor"},
		},
	},
	{
		file: "docs/api.md",
		given: func(d *desk) {
			d.put("server", "w11.wim")
			d.serve("server", atSnailsPace+administered)
			d.do("server", "wimcast bundle create ann --role operator; wimcast bundle create room12; wimcast bundle create plain")
			d.bring("room12.join", "server", "pc17", "pc09")
		},
		names: map[string]func(*desk) string{"s7": (*desk).session, `10\.1\.2\.3`: func(*desk) string { return "10.77.0.1" }},
		marks: []mark{
			{cmd: "curl --unix-socket /run/wimcast/admin.sock -X PATCH -d '{\"ceiling", before: (*desk).casting},
			{cmd: "curl --unix-socket /run/wimcast/admin.sock -X POST -d '{\"longer", before: (*desk).waiting},
			{cmd: "curl -sN", until: "retry: 2000"},
		},
	},
}

// docInstead is what tests of other subjects type in place of a page's command, by its beginning.
var docInstead = map[string]struct{ types, reason string }{
	"dnf install":      {`"rpm"`, "there is no dnf here: rpm itself takes the packages"},
	"systemctl status": {`"systemctl", "is-active"`, "status is for people; what it says is asked by is-active and show"},
}

// debianFilter is what Debian's nftables has in /etc/nftables.conf.
const debianFilter = "table inet filter { chain input { type filter hook input priority filter; }; }"

// recorded waits until the history has a machine that proved an image.
func (d *desk) recorded(name string) {
	d.t.Helper()
	d.until("server", "wimcast history list --client "+name+" | grep -q proven")
}

// session is the session that clients are in; where it has ended meanwhile, a new one.
func (d *desk) session() string {
	d.t.Helper()
	const which = "wimcast session list | awk '/casting|waiting/ {printf \"%s\", $1; exit}'"
	id := d.do("server", which)
	if id == "" {
		d.casting()
		id = d.do("server", which)
	}
	return id
}

// schedule is the servicing schedule that waits.
func (d *desk) schedule() string {
	d.t.Helper()
	return d.do("server", "wimcast schedule list | awk '/waiting/ {printf \"%s\", $1; exit}'")
}

// both says whether a session in a state has both clients.
const both = "wimcast session list | grep -qE '^s[0-9]+ .* %s.*  2  '"

// afresh has a new session in a state, of a daemon with this configuration, with pc17 and pc09 in it.
func (d *desk) afresh(state, config string) {
	d.t.Helper()
	for _, get := range d.gets { // they would go on with what they have
		_ = get.cmd.Cancel()
		<-get.exited
	}
	d.serve("server", config)
	d.do("server", "wimcast deployment show w11 2>/dev/null || wimcast deployment create w11 --image w11")
	d.gets = nil
	for _, name := range []string{"pc17", "pc09"} {
		d.do(name, "rm -f cast.wim*")
		d.gets = append(d.gets, d.background(name, "wimcast get w11 --bundle room12.join --output cast.wim"))
	}
	d.until("server", fmt.Sprintf(both, state))
}

// waiting has a new session wait for its start: one that was just started may still be listed as waiting.
func (d *desk) waiting() { d.t.Helper(); d.afresh("waiting", scheduled) }

// casting has a session cast, slowly: the one that there is, or a new one.
func (d *desk) casting() {
	d.t.Helper()
	if d.machines["server"].command(d.ctx, fmt.Sprintf(both, "casting")).Run() != nil {
		d.afresh("casting", atSnailsPace+administered)
	}
}

// ownPKI makes what an organisation has: a CA, and a certificate of a room.
func (d *desk) ownPKI(name string) {
	d.t.Helper()
	d.do(name, `openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -subj "/CN=Example CA" -days 3650 -out ca.pem
openssl ecparam -name prime256v1 -genkey -noout -out lab12.key
openssl req -new -key lab12.key -subj "/CN=lab12" -out lab12.csr
printf '%s\n' 'basicConstraints=CA:FALSE' 'keyUsage=digitalSignature' 'extendedKeyUsage=clientAuth' 'subjectAltName=URI:wimcast:role:winpe' >lab12.ext
openssl x509 -req -in lab12.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile lab12.ext -out lab12.pem`)
}

// fileServer serves \\fs1\img on the server, to LAB\ann.
func (d *desk) fileServer() {
	d.t.Helper()
	d.do("server", fmt.Sprintf(`useradd ann
mkdir /srv/img /var/smb
cp w11.wim /srv/img/
cat >/var/smb/smb.conf <<'END'
[global]
server role = standalone server
disable netbios = yes
workgroup = LAB
load printers = no
passdb backend = tdbsam:/var/smb/passdb.tdb
pid directory = /var/smb
lock directory = /var/smb
state directory = /var/smb
cache directory = /var/smb
private dir = /var/smb
ncalrpc dir = /var/smb/ncalrpc
log file = /var/smb/log
[img]
path = /srv/img
valid users = ann
force user = root
END
printf '%%s\n' %[1]q %[1]q | smbpasswd -c /var/smb/smb.conf -s -a ann`, sambaPassword))
	d.background("server", "smbd --foreground --no-process-group -s /var/smb/smb.conf")
	d.until("server", "exec 3<>/dev/tcp/fs1/445")
}

// site makes the server a site, with a registry on pc09, and north a machine that becomes its point.
func (d *desk) site() {
	d.t.Helper()
	server, err := registry.Start(d.ctx, d.t.TempDir(), registry.Options{Place: d.hosts["pc09"]})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(server.Stop)
	d.serve("server", administered+fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\n", server.Repository("wimcast")))
}

// clonezilla saves a volume with Windows in it as Clonezilla does.
func (d *desk) clonezilla() {
	d.t.Helper()
	d.do("server", `truncate -s 64M volume.img
mkntfs -F -q -Q volume.img
wimlib-imagex apply w11.wim 1 volume.img >/dev/null
partclone.ntfs -c -s volume.img -o - -L /tmp/partclone.log 2>/dev/null | gzip --fast | split -b 4000000 - sda3.ntfs-ptcl-img.gz.
rm volume.img`)
}

// docFixtures makes the files that pages name.
func docFixtures(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // folders of an image
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // files of an image
			t.Fatal(err)
		}
	}
	imagex := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "wimlib-imagex", args...).CombinedOutput(); err != nil {
			t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
		}
	}
	noise := make([]byte, 12<<20)
	source := rand.NewChaCha8([32]byte{7})
	_, _ = source.Read(noise) // never fails
	write("tree/Windows/noise", string(noise))
	write("tree/Windows/explorer.exe", "MZ")
	write("tree/Windows/System32/ntoskrnl.exe", "MZ")
	write("tree/Windows/servicing/Packages/Package_for_KB5000009~31bf3856ad364e35~amd64~~22621.1.1.9.mum", "x")
	image := filepath.Join(dir, "w11.wim")
	for i, name := range []string{"Windows 11 Home", "Windows 11 Education", "Windows 11 Pro Education", "Windows 11 Enterprise", "Windows 11 SE", "Windows 11 Pro"} {
		do := "append"
		if i == 0 {
			do = "capture"
		}
		imagex(do, filepath.Join(dir, "tree"), image, name, "--no-acls", "--image-property", "WINDOWS/ARCH=9", "--image-property", "WINDOWS/VERSION/BUILD=22621",
			"--image-property", "WINDOWS/EDITIONID="+strings.ReplaceAll(strings.TrimPrefix(name, "Windows 11 "), " ", ""))
	}
	for name, text := range bare {
		write("boot/"+name, text)
	}
	imagex("capture", filepath.Join(dir, "boot"), filepath.Join(dir, "boot.wim"), "Windows PE", "--no-acls", "--boot", "--image-property", "WINDOWS/ARCH=9")
	write("drivers/net.inf", "; a driver")
	write("drivers-lab12/Drivers/net.inf", "; a driver")
	write("room12.csv", "pc07\npc08,4c4c4544-0044-4a10-8054-b3c04f4e4d31\n")
	for _, part := range []string{"Windows11.0-KB5031455-x64.wim", "Windows11.0-KB5031455-x64.psf", "SSU-22621.2567-x64.cab", "DesktopDeployment.cab"} {
		write("msu/"+part, part)
	}
	imagex("capture", filepath.Join(dir, "msu"), filepath.Join(dir, "windows11.0-kb5031455-x64_6b5e4b6.msu"), "--no-acls") // the newer form is a WIM
	write("updates/windows11.0-kb5032190-x64.msu", cabinet("Windows11.0-KB5032190-x64.cab", "x"))
	write("updates/windows11.0-kb5030000-x64.msu", cabinet("Windows11.0-KB5030000-x64.cab", "x"))
	write("odd.cab", cabinet("update.mum", `<assembly xmlns="urn:schemas-microsoft-com:asm.v3"><assemblyIdentity name="Package_for_odd" version="10.0.1.2" language="neutral" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"/></assembly>`))
	return dir
}

// cabinet is a cabinet with one file in it, unpacked (MS-CAB: CFHEADER, CFFOLDER, CFFILE, CFDATA).
func cabinet(name, text string) string {
	const header, folder, file, data = 36, 8, 16, 8
	le := binary.LittleEndian
	start := header + folder + file + len(name) + 1
	b := make([]byte, start+data)
	copy(b, "MSCF")
	le.PutUint32(b[8:], uint32(len(b)+len(text)))
	le.PutUint32(b[16:], header+folder)
	b[24], b[25], b[26], b[28] = 3, 1, 1, 1 // version 1.3, one folder, one file
	le.PutUint32(b[header:], uint32(start))
	b[header+4] = 1 // blocks of data
	le.PutUint32(b[header+folder:], uint32(len(text)))
	copy(b[header+folder+file:], name)
	le.PutUint16(b[start+4:], uint16(len(text)))
	le.PutUint16(b[start+6:], uint16(len(text)))
	return string(b) + text
}
