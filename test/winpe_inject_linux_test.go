package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"wimcast/crypto/keyex"
)

// The stories of boot images, with the real programs and wimlib: what an administrator has is a boot.wim of some kind.

// windowsDist builds the programs that go together, as dist/ has them, once for all tests.
var windowsDist = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return "", err
	}
	scratch.add(dir)
	for _, p := range []struct{ name, system, arch string }{{"wimcast", "linux", ""}, {"wimcast.exe", "windows", "amd64"}, {"wimcast-arm64.exe", "windows", "arm64"}} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, p.name), "../cmd/wimcast")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.system)
		if p.arch != "" {
			cmd.Env = append(cmd.Env, "GOARCH="+p.arch)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w: %s", p.name, err, out)
		}
	}
	return dir, nil
})

// workshop is where boot images are made and changed.
type workshop struct {
	t    *testing.T
	dir  string
	dist string
	boot string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		t.Skip("wimlib-imagex isn't installed; next: apt-get install wimtools")
	}
	dist, err := windowsDist()
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop{t: t, dir: t.TempDir(), dist: dist}
	w.boot = filepath.Join(w.dir, "boot.wim")
	w.bundle("room.join", keyex.WinPE, time.Now())
	return w
}

// bundle makes a bundle of a role, issued at some time for a year.
func (w *workshop) bundle(name string, role keyex.Role, issued time.Time) string {
	w.t.Helper()
	authority, err := keyex.OpenAuthority(w.t.TempDir(), keyex.AuthorityConfig{Now: func() time.Time { return issued }})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = authority.Close() }()
	b, err := authority.Issue(keyex.Request{Name: "lab12", Role: role, Servers: []string{"10.0.0.1:7600"}})
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.dir, name)
	_ = os.Remove(path)
	if err := b.WriteFile(path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *workshop) imagex(args ...string) []byte {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "wimlib-imagex", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("wimlib-imagex %v: %v: %s", args, err, &said)
	}
	return out
}

// layout is the files of one image.
type layout map[string]string

// Layouts. Names differ in case, as they do on real media.
var (
	bare = layout{
		"Windows/System32/winpeshl.exe": "MZ shell", "Windows/System32/wpeinit.exe": "MZ init", "Windows/System32/startnet.cmd": "wpeinit\r\n",
		"Windows/System32/config/SYSTEM": "regf", "Program Files/Common Files/x": "x", "Users/Default/NTUSER.DAT": "regf",
	}
	setupMedia = bare.with(layout{"setup.exe": "MZ launcher", "sources/setup.exe": "MZ setup"})
	configMgr  = bare.with(layout{
		"sms/bin/x64/TsBootShell.exe": "MZ ts", "Windows/System32/winpeshl.ini": "[LaunchApps]\r\n%SYSTEMDRIVE%\\sms\\bin\\x64\\TsBootShell.exe\r\n",
	})
	installed = layout{"Windows/System32/ntoskrnl.exe": "MZ kernel", "Windows/explorer.exe": "MZ"}
)

func (l layout) with(more layout) layout {
	all := maps.Clone(l)
	maps.Copy(all, more)
	return all
}

// make writes boot.wim: an image for each layout, of which one boots (0: none), for a processor ("": it doesn't say).
func (w *workshop) make(boots int, arch string, images ...layout) {
	w.t.Helper()
	for _, name := range []string{w.boot, w.boot + ".orig"} {
		_ = os.Remove(name)
	}
	for i, files := range images {
		tree := w.t.TempDir()
		for name, text := range files {
			path := filepath.Join(tree, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				w.t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
		args := []string{"append", tree, w.boot, fmt.Sprintf("Windows %d", i+1), "--no-acls"}
		if i == 0 {
			args[0] = "capture"
			args = append(args, "--compress=XPRESS") // as good as LZX here, and quick
		}
		if i+1 == boots {
			args = append(args, "--boot")
		}
		w.imagex(args...)
	}
	for i := range images {
		if arch != "" {
			w.imagex("info", w.boot, fmt.Sprint(i+1), "--image-property", "WINDOWS/ARCH="+arch)
		}
	}
}

// inject runs the command and returns its line, or its error and exit code.
func (w *workshop) inject(args ...string) (line string, code int) {
	w.t.Helper()
	return w.injectIn(os.Environ(), args...)
}

func (w *workshop) injectIn(env []string, args ...string) (line string, code int) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(w.dist, "wimcast"), append([]string{"winpe", "inject", w.boot}, args...)...)
	cmd.Dir, cmd.Env = w.dir, env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return strings.TrimSpace(said.String()), exit.ExitCode()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSuffix(string(out), "\n"), 0
}

// room injects the room's bundle, which must work.
func (w *workshop) room(args ...string) string {
	w.t.Helper()
	line, code := w.inject(append([]string{"--bundle", "room.join"}, args...)...)
	if code != 0 {
		w.t.Fatalf("exit code %d: %s", code, line)
	}
	return line
}

// file reads a file of an image.
func (w *workshop) file(index int, name string) string {
	w.t.Helper()
	return string(w.imagex("extract", w.boot, fmt.Sprint(index), name, "--to-stdout"))
}

func (w *workshop) bytes(name string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// alone holds that nothing lies beside the boot image but what may.
func (w *workshop) alone(names ...string) {
	w.t.Helper()
	left, err := filepath.Glob(filepath.Join(w.dir, "boot.wim*"))
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, name := range left {
		got = append(got, filepath.Base(name))
	}
	if want := append([]string{"boot.wim"}, names...); fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("there is %v, want %v", got, want)
	}
}

// wide writes a text as Windows' editors do that say Unicode.
func wide(s string) string {
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(s)) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return string(out)
}

// TestWinPEInjectKinds: of each kind of boot image the right file is changed in the right place, all else stays, twice is
// once, and --remove brings back the same file byte for byte.
func TestWinPEInjectKinds(t *testing.T) {
	t.Parallel()
	const (
		startnet = "/Windows/System32/startnet.cmd"
		winpeshl = "/Windows/System32/winpeshl.ini"
		call     = "call %SYSTEMDRIVE%\\wimcast\\start.cmd"
		shell    = "%SYSTEMROOT%\\System32\\cmd.exe, /c %SYSTEMDRIVE%\\wimcast\\start.cmd"
	)
	with := func(ini string) layout { return bare.with(layout{winpeshl[1:]: ini}) }
	for _, c := range []struct {
		name   string
		images []layout
		boots  int
		arch   string
		args   []string
		says   string // after "boot.wim: "
		index  int
		start  string
		want   string // of the start file
	}{
		{
			"ADK",
			[]layout{bare},
			1, "9", nil,
			"ADK WinPE x64, startnet.cmd changed, firewall opened, original in boot.wim.orig", 1, startnet, "wpeinit\r\n" + call + "\r\n",
		},
		{
			"ADK for arm64, with a script of its own",
			[]layout{bare.with(layout{startnet[1:]: "@echo off\nX:\\tools\\init.cmd\nrem \xe4\n"})},
			1, "12", nil,
			"ADK WinPE arm64, startnet.cmd changed, firewall opened, original in boot.wim.orig", 1, startnet, "@echo off\n" + call + " wpeinit\nX:\\tools\\init.cmd\nrem \xe4\n",
		},
		{
			"winpeshl.ini in UTF-16",
			[]layout{with(wide("[LaunchApps]\r\nwpeinit.exe\r\n\"X:\\Ä\\menu.exe\", -x"))},
			1, "9", nil,
			"WinPE with winpeshl.ini x64, winpeshl.ini changed, firewall opened, original in boot.wim.orig", 1, winpeshl,
			wide("[LaunchApps]\r\nwpeinit.exe\r\n" + shell + "\r\n\"X:\\Ä\\menu.exe\", -x"),
		},
		{
			"winpeshl.ini with one program",
			[]layout{with("[LaunchApp]\r\nAppPath=X:\\shell.exe\r\n")},
			0, "9", nil,
			"WinPE with winpeshl.ini x64, winpeshl.ini changed, firewall opened, original in boot.wim.orig", 1, winpeshl,
			"[LaunchApps]\r\n" + shell + " wpeinit\r\n[LaunchApp]\r\nAppPath=X:\\shell.exe\r\n",
		},
		{
			"installation media",
			[]layout{bare, setupMedia},
			2, "9", nil,
			"installation media x64, image 2 of 2 (Windows 2), winpeshl.ini made, firewall opened, original in boot.wim.orig", 2, winpeshl,
			"[LaunchApps]\r\n" + shell + " wpeinit\r\n%SYSTEMDRIVE%\\setup.exe\r\n",
		},
		{
			"the other image of media",
			[]layout{bare, setupMedia},
			2, "9",
			[]string{"--index", "1"},
			"ADK WinPE x64, image 1 of 2 (Windows 1), startnet.cmd changed, firewall opened, original in boot.wim.orig", 1, startnet, "wpeinit\r\n" + call + "\r\n",
		},
		{
			"ConfigMgr",
			[]layout{configMgr},
			1, "9", nil,
			`ConfigMgr boot image x64, program and bundle added, starts nothing, original in boot.wim.orig; next: enable a prestart command in the boot image's properties (tab Customization), or a step Run Command Line: cmd.exe /c X:\wimcast\start.cmd`,
			1, winpeshl, configMgr[winpeshl[1:]],
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorkshop(t)
			w.make(c.boots, c.arch, c.images...)
			before := w.bytes(w.boot)
			if line := w.room(c.args...); line != "boot.wim: "+c.says {
				t.Errorf("%s\nwant boot.wim: %s", line, c.says)
			}
			w.alone("boot.wim.orig")
			if !bytes.Equal(w.bytes(w.boot+".orig"), before) {
				t.Error("boot.wim.orig isn't the image as it was")
			}
			w.imagex("verify", w.boot)
			if got := w.file(c.index, c.start); got != c.want {
				t.Errorf("%s:\n%q, want\n%q", c.start, got, c.want)
			}
			program := "wimcast.exe"
			if c.arch == "12" {
				program = "wimcast-arm64.exe"
			}
			if w.file(c.index, "/wimcast/wimcast.exe") != string(w.bytes(filepath.Join(w.dist, program))) {
				t.Errorf("wimcast.exe isn't %s", program)
			}
			if got := w.file(c.index, "/wimcast/room.join"); got != string(w.bytes(filepath.Join(w.dir, "room.join"))) {
				t.Errorf("the bundle is %q", got)
			}
			w.untouched(c.images, c.index, c.start)
			if header := string(w.imagex("info", w.boot, "--header")); c.boots > 0 && !strings.Contains(header, fmt.Sprintf("Boot Index                  = %d", c.boots)) {
				t.Errorf("another image boots:\n%s", header)
			}
			after := w.bytes(w.boot)
			if line := w.room(c.args...); !strings.Contains(line, ", nothing to change, original in boot.wim.orig") {
				t.Errorf("the second time: %s", line)
			}
			if !bytes.Equal(w.bytes(w.boot), after) {
				t.Error("the second time changed the file")
			}
			line, code := w.inject(append([]string{"--remove"}, c.args...)...)
			if code != 0 || !strings.HasSuffix(line, "wimcast taken out, the file is boot.wim.orig again, byte for byte") {
				t.Errorf("--remove: %d, %s", code, line)
			}
			if !bytes.Equal(w.bytes(w.boot), before) {
				t.Error("--remove left another file than there was")
			}
			if line, code := w.inject(append([]string{"--remove"}, c.args...)...); code != 1 || !strings.Contains(line, "the client isn't in it; next: ") {
				t.Errorf("--remove again: %d, %s", code, line)
			}
			if c.start == startnet {
				if line := w.room(c.args...); line != "boot.wim: "+c.says {
					t.Errorf("once more: %s", line)
				}
			}
		})
	}
}

// untouched holds that all files of all images but one are as they were, and no more are there than ours.
func (w *workshop) untouched(images []layout, index int, start string) {
	w.t.Helper()
	for i, files := range images {
		for name, text := range files {
			if (i+1 != index || "/"+name != start) && w.file(i+1, "/"+name) != text {
				w.t.Errorf("image %d: %s was changed", i+1, name)
			}
		}
		for path := range strings.Lines(string(w.imagex("dir", w.boot, fmt.Sprint(i+1)))) {
			path = strings.TrimSpace(path)
			ours := i+1 == index && (path == start || path == "/wimcast" || strings.HasPrefix(path, "/wimcast/"))
			known := path == "/"
			for name := range files {
				known = known || "/"+name == path || strings.HasPrefix("/"+name, path+"/")
			}
			if !ours && !known {
				w.t.Errorf("image %d: %s is new", i+1, path)
			}
		}
	}
}

// TestWinPEInjectRefuses: what can't or mustn't be done is refused with what to do, and leaves everything as it was.
func TestWinPEInjectRefuses(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	operator := w.bundle("boss.join", keyex.Operator, time.Now())
	client := w.bundle("pc.join", keyex.Client, time.Now())
	expired := w.bundle("old.join", keyex.WinPE, time.Now().AddDate(-2, 0, 0))
	for _, c := range []struct {
		name   string
		boots  int
		arch   string
		images []layout
		args   []string
		code   int
		says   string
	}{
		{"an operator's bundle", 1, "9", []layout{bare}, []string{"--bundle", operator}, 1, "boss.join: it has the role operator, and whoever can boot the image or copy it has what is in it: only bundles of the role winpe go into boot images; next: wimcast bundle create NAME --role winpe"},
		{"a client's bundle", 1, "9", []layout{bare}, []string{"--bundle", client}, 1, "pc.join: it has the role client, "},
		{"an expired bundle", 1, "9", []layout{bare}, []string{"--bundle", expired}, 1, "old.join: it has expired on "},
		{"no bundle", 1, "9", []layout{bare}, nil, 2, "it takes a bundle, --bundle FILE; next: wimcast bundle create NAME"},
		{"no such image", 1, "9", []layout{bare}, []string{"--bundle", "room.join", "--index", "3"}, 1, "it has no image 3, the last is 1; next: --index N"},
		{"none to boot", 0, "9", []layout{bare, setupMedia}, []string{"--bundle", "room.join"}, 1, "it has 2 images and marks none to boot; next: --index N"},
		{"an installed Windows", 1, "9", []layout{installed}, []string{"--bundle", "room.join"}, 1, `image 1 (Windows 1) is none that Windows PE starts from: it has no \Windows\System32\winpeshl.exe; looked for that with startnet.cmd, winpeshl.ini or setup.exe, and for \sms\bin of Configuration Manager; next: `},
		{"a winpeshl.ini that starts nothing", 1, "9", []layout{bare.with(layout{"Windows/System32/winpeshl.ini": "[LaunchApps]\r\n; nothing\r\n"})}, []string{"--bundle", "room.join"}, 1, `\Windows\System32\winpeshl.ini: it has no program in [LaunchApps] or [LaunchApp]`},
		{"32 bits", 1, "0", []layout{bare}, []string{"--bundle", "room.join"}, 1, "image 1 is for x86, and wimcast.exe is for x64 and arm64 only"},
		{"no processor", 1, "", []layout{bare}, []string{"--bundle", "room.join"}, 1, "doesn't say for which processor it is; next: wimlib-imagex info boot.wim 1 --image-property WINDOWS/ARCH=9"},
		{"the wrong program", 1, "12", []layout{bare}, []string{"--bundle", "room.join", "--program", filepath.Join(w.dist, "wimcast.exe")}, 1, "isn't a program for arm64, which the image is for (its machine type is 0x8664, not 0xaa64)"},
		{"no program at all", 1, "9", []layout{bare}, []string{"--bundle", "room.join", "--program", filepath.Join(w.dist, "wimcast")}, 1, "wimcast is no Windows program"},
		{"a deployment that no script can name", 1, "9", []layout{bare}, []string{"--bundle", "room.join", "--deployment", "prüfung"}, 1, "can't stand in a start script: cmd.exe reads those in a code page"},
		{"an option that winpe run hasn't got", 1, "9", []layout{bare}, []string{"--bundle", "room.join", "--", "--aply", "Windows"}, 2, "the start line: unknown flag --aply"},
		{"options that only ask", 1, "9", []layout{bare}, []string{"--bundle", "room.join", "--", "--help"}, 2, "--help starts nothing; next: wimcast winpe run --help"},
		{"a folder of ours that isn't", 1, "9", []layout{bare.with(layout{"WIMCAST/readme.txt": "x"})}, []string{"--bundle", "room.join"}, 1, `there is a folder \wimcast that wimcast winpe inject didn't make`},
		{"a script with a mark", 1, "9", []layout{bare.with(layout{"Windows/System32/startnet.cmd": "\xef\xbb\xbfwpeinit\r\n"})}, []string{"--bundle", "room.join"}, 1, "it begins with a byte order mark"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			w.make(c.boots, c.arch, c.images...)
			before := w.bytes(w.boot)
			line, code := w.inject(c.args...)
			if code != c.code || !strings.Contains(line, c.says) {
				t.Errorf("%d: %s\nwant %d and %s", code, line, c.code, c.says)
			}
			if !bytes.Equal(w.bytes(w.boot), before) {
				t.Error("the file was changed")
			}
			w.alone()
		})
	}
	t.Run("no WIM", func(t *testing.T) {
		w := *w
		w.t = t
		if err := os.WriteFile(w.boot, []byte("no WIM at all"), 0o600); err != nil {
			t.Fatal(err)
		}
		if line, code := w.inject("--bundle", "room.join"); code != 1 || !strings.Contains(line, "not a WIM file") {
			t.Errorf("%d: %s", code, line)
		}
	})
}

// TestWinPEInjectAgain: a new bundle takes the old one's place and the file doesn't grow by that; what somebody else did
// to the image meanwhile stays, also when we go.
func TestWinPEInjectAgain(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.make(1, "9", bare)
	w.room("--deployment", "lab 12 & 100%", "--", "--volume", "My Data", `--apply=W:\`, "--index=1", "--reboot")
	first := w.bytes(w.boot)
	if got := w.file(1, "/wimcast/start.cmd"); !strings.Contains(got, "\r\n\"%~dp0wimcast.exe\" winpe run --bundle \"%~dp0room.join\" \"--deployment=lab 12 & 100%%\" \"--volume\" \"My Data\" \"--apply=W:\\\\\" \"--index=1\" \"--reboot\"\r\n") || strings.Count(got, "\n") != strings.Count(got, "\r\n") {
		t.Errorf("start.cmd:\n%s", got)
	}
	w.bundle("room.join", keyex.WinPE, time.Now().Add(-time.Hour))
	if line := w.room(); !strings.Contains(line, "startnet.cmd changed") {
		t.Error(line)
	}
	if got := w.file(1, "/wimcast/room.join"); got != string(w.bytes(filepath.Join(w.dir, "room.join"))) {
		t.Error("the old bundle is still in it")
	}
	if now := w.bytes(w.boot); len(now) > len(first)+64<<10 {
		t.Errorf("it grew from %d to %d bytes", len(first), len(now))
	}
	changed := filepath.Join(w.dir, "startnet.cmd")
	mine := strings.Replace(w.file(1, "/Windows/System32/startnet.cmd"), "wpeinit\r\n", "wpeinit\r\nset MINE=1\r\n", 1) + "echo mine\r\n"
	if err := os.WriteFile(changed, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	w.imagex("update", w.boot, "1", "--command", "add "+changed+" /Windows/System32/startnet.cmd")
	w.room()
	if got := w.file(1, "/Windows/System32/startnet.cmd"); got != "wpeinit\r\ncall %SYSTEMDRIVE%\\wimcast\\start.cmd\r\nset MINE=1\r\necho mine\r\n" {
		t.Errorf("after somebody else: %q", got)
	}
	line, code := w.inject("--remove")
	if code != 0 || line != "boot.wim: ADK WinPE x64, startnet.cmd restored, wimcast taken out, original in boot.wim.orig" {
		t.Errorf("--remove: %d, %s", code, line)
	}
	if got := w.file(1, "/Windows/System32/startnet.cmd"); got != "wpeinit\r\nset MINE=1\r\necho mine\r\n" {
		t.Errorf("after --remove: %q", got)
	}
	if list := string(w.imagex("dir", w.boot, "1")); strings.Contains(list, "wimcast") {
		t.Errorf("left:\n%s", list)
	}
	if line, code := w.inject("--bundle", "room.join"); code != 1 || !strings.Contains(line, "boot.wim.orig is there and is another file than boot.wim; it isn't overwritten; next: ") {
		t.Errorf("with another original: %d, %s", code, line)
	}
}

// TestWinPEInjectDrivers: drivers are in the image and loaded before the network is looked for; --dry-run says so and
// changes nothing; what isn't a plain file is refused.
func TestWinPEInjectDrivers(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.make(1, "9", bare)
	before := w.bytes(w.boot)
	drivers := filepath.Join(w.dir, "my drivers")
	for name, text := range map[string]string{"net/e1d.INF": "[Version]", "net/e1d.sys": "MZ", "disk set/iaStor.inf": "[Version]"} {
		path := filepath.Join(drivers, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if line := w.room("--drivers", drivers, "--dry-run"); line != "boot.wim: ADK WinPE x64, startnet.cmd would be changed, firewall would be opened, 2 drivers would be added, original would be kept in boot.wim.orig" {
		t.Error(line)
	}
	w.alone()
	if !bytes.Equal(w.bytes(w.boot), before) {
		t.Error("--dry-run changed it")
	}
	var said struct {
		Kind, Architecture string
		Changed            bool
		Drivers            int
		StartLine          string `json:"start_line"`
		Original           string
	}
	if err := json.Unmarshal([]byte(w.room("--drivers", drivers, "--json")), &said); err != nil || said.Kind != "adk" || said.Architecture != "x64" || !said.Changed || said.Drivers != 2 || said.Original != "boot.wim.orig" ||
		said.StartLine != `call %SYSTEMDRIVE%\wimcast\start.cmd` {
		t.Errorf("%+v, %v", said, err)
	}
	if got := w.file(1, "/wimcast/drivers/disk set/iaStor.inf"); got != "[Version]" {
		t.Errorf("%q", got)
	}
	script := w.file(1, "/wimcast/start.cmd")
	load, network, firewall, run := strings.Index(script, `for /r "%~dp0drivers" %%i in (*.inf) do drvload "%%i"`), strings.Index(script, "wpeutil InitializeNetwork"), strings.Index(script, "wpeutil DisableFirewall"), strings.Index(script, "winpe run")
	if load < 0 || network < load || firewall < network || run < firewall {
		t.Errorf("start.cmd:\n%s", script)
	}
	if line := w.room("--drivers", drivers); !strings.Contains(line, "nothing to change") {
		t.Errorf("the second time: %s", line)
	}
	for name, want := range map[string]string{"link": "neither a file nor a folder", "NET": "are one name to Windows", "a:b": "Windows can't have such a name"} {
		var err error
		path := filepath.Join(drivers, name)
		if name == "link" {
			err = os.Symlink("/etc/passwd", path)
		} else {
			err = os.Mkdir(path, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		if line, code := w.inject("--bundle", "room.join", "--drivers", drivers); code != 1 || !strings.Contains(line, want) {
			t.Errorf("%s: %d, %s", name, code, line)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if line, code := w.inject("--bundle", "room.join", "--drivers", t.TempDir()); code != 1 || !strings.Contains(line, "there is no .inf file") {
		t.Errorf("%d, %s", code, line)
	}
	w.alone("boot.wim.orig")
}

// TestWinPEInjectBreaks: whatever goes wrong on the way, the old boot image is there whole.
func TestWinPEInjectBreaks(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.make(1, "9", bare)
	before := w.bytes(w.boot)
	real, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		step, body string
		killed     bool
	}{{"update", "exit 47", false}, {"verify", "exit 13", false}, {"verify", "kill -9 $PPID", true}} {
		bin := t.TempDir()
		text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = %s ]; then %s; fi\nexec %s \"$@\"\n", at.step, at.body, real)
		if err := os.WriteFile(filepath.Join(bin, "wimlib-imagex"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		line, code := w.injectIn(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH")), "--bundle", "room.join")
		if code == 0 || !bytes.Equal(w.bytes(w.boot), before) {
			t.Errorf("%s, %s: exit code %d, %s", at.step, at.body, code, line)
		}
		if !at.killed {
			w.alone()
			continue
		}
		w.alone("boot.wim.new")
		if line, code := w.inject("--bundle", "room.join"); code != 1 || !strings.Contains(line, "boot.wim.new is there: another run works on it, or one was killed; next: remove it if none runs") {
			t.Errorf("after a kill: %d, %s", code, line)
		}
		if err := os.Remove(w.boot + ".new"); err != nil {
			t.Fatal(err)
		}
	}
	w.room()
	w.alone("boot.wim.orig")
}
