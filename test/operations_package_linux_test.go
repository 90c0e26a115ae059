package test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What packages hold is read by the tools of those who install them: dpkg, rpm, man,
// mandoc, the shells, lintian. That they install is for the tests with a booted system.

// packed is what `make package` makes, once for all tests.
var packed = sync.OnceValues(func() ([]string, error) {
	cmd := exec.Command("make", "package")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make package: %w: %s", err, out)
	}
	return filepath.Glob("../dist/*.[dr][ep][bm]")
})

// packageFile finds one of the eight.
func packageFile(t *testing.T, name, arch, kind string) string {
	t.Helper()
	all, err := packed()
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(`/` + name + `[-_][0-9][^/]*[._]` + arch + `\.` + kind + `$`)
	found := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return !pattern.MatchString(f) })
	if len(found) != 1 {
		t.Fatalf("%s for %s as %s: %q among %q", name, arch, kind, found, all)
	}
	return found[0]
}

// output runs a tool and returns what it says.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// unpacked extracts the Debian packages for this machine into one tree.
func unpacked(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"wimcast", "wimcastd"} {
		output(t, "dpkg-deb", "-x", packageFile(t, name, runtime.GOARCH, "deb"), root)
	}
	return root
}

// What is in the packages: path, or for a symbolic link path -> target, and mode.
// A directory is one that the package brings along alone. nfpm gives links no mode, and none is looked at.
var (
	inWimcast = map[string]string{
		"/usr/bin/wimcast":                                  "-rwxr-xr-x",
		"/usr/lib/wimcast/wimcast.exe":                      "-rw-r--r--",
		"/usr/lib/wimcast/wimcast-arm64.exe":                "-rw-r--r--",
		"/usr/lib/firewalld/services/wimcast.xml":           "-rw-r--r--",
		"/usr/share/man/man1/wimcast.1.gz":                  "-rw-r--r--",
		"/usr/share/bash-completion/completions/wimcast":    "-rw-r--r--",
		"/usr/share/fish/vendor_completions.d/wimcast.fish": "-rw-r--r--",
	}
	inWimcastd = map[string]string{
		"/usr/bin/wimcastd":                                                  "-rwxr-xr-x",
		"/etc/wimcast/wimcastd.toml":                                         "-rw-r--r--",
		"/usr/lib/systemd/system/wimcastd.service":                           "-rw-r--r--",
		"/usr/lib/sysusers.d/wimcast.conf":                                   "-rw-r--r--",
		"/usr/lib/tmpfiles.d/wimcast.conf":                                   "-rw-r--r--",
		"/usr/lib/sysctl.d/60-wimcast.conf":                                  "-rw-r--r--",
		"/usr/lib/firewalld/services/wimcastd.xml":                           "-rw-r--r--",
		"/usr/share/man/man8/wimcastd.8.gz":                                  "-rw-r--r--",
		"/usr/share/man/man5/wimcastd.toml.5.gz":                             "-rw-r--r--",
		"/usr/share/bash-completion/completions/wimcastd -> wimcast":         "l---------",
		"/usr/share/fish/vendor_completions.d/wimcastd.fish -> wimcast.fish": "l---------",
		"/usr/share/wimcast/grafana/wimcast.json":                            "-rw-r--r--",
		"/usr/share/wimcast/prometheus/wimcast.rules.yml":                    "-rw-r--r--",
		"/usr/share/wimcast/prometheus/wimcast.scrape.yml":                   "-rw-r--r--",
	}
	// Where the two kinds of systems differ.
	onlyIn = map[string]map[string]string{
		"wimcast deb": {
			"/etc/ufw/applications.d/wimcast":            "-rw-r--r--",
			"/usr/share/zsh/vendor-completions/_wimcast": "-rw-r--r--",
			"/usr/share/doc/wimcast/copyright":           "-rw-r--r--",
			"/usr/share/doc/wimcast/changelog.gz":        "-rw-r--r--",
			"/usr/share/doc/wimcast/changelog.Debian.gz": "-rw-r--r--",
			"/usr/share/lintian/overrides/wimcast":       "-rw-r--r--",
		},
		"wimcast rpm": {
			"/usr/share/zsh/site-functions/_wimcast": "-rw-r--r--",
			"/usr/share/licenses/wimcast/LICENSE":    "-rw-r--r--",
			"/usr/share/doc/wimcast/CHANGELOG.md":    "-rw-r--r--",
			"/usr/lib/wimcast":                       "drwxr-xr-x",
			"/usr/share/doc/wimcast":                 "drwxr-xr-x",
		},
		"wimcastd deb": {
			"/etc/ufw/applications.d/wimcastd":            "-rw-r--r--",
			"/usr/share/doc/wimcastd/copyright":           "-rw-r--r--",
			"/usr/share/doc/wimcastd/changelog.gz":        "-rw-r--r--",
			"/usr/share/doc/wimcastd/changelog.Debian.gz": "-rw-r--r--",
			"/usr/share/lintian/overrides/wimcastd":       "-rw-r--r--",
		},
		"wimcastd rpm": {
			"/usr/share/licenses/wimcastd/LICENSE": "-rw-r--r--",
			"/usr/share/doc/wimcastd/CHANGELOG.md": "-rw-r--r--",
			"/etc/wimcast":                         "drwxr-xr-x",
			"/usr/share/wimcast":                   "drwxr-xr-x",
			"/usr/share/wimcast/grafana":           "drwxr-xr-x",
			"/usr/share/wimcast/prometheus":        "drwxr-xr-x",
			"/usr/share/doc/wimcastd":              "drwxr-xr-x",
		},
	}
)

// TestOperationsPackages holds what is in the packages, whose it is, and what they need.
func TestOperationsPackages(t *testing.T) {
	for _, name := range []string{"wimcast", "wimcastd"} {
		want := map[string]string{}
		switch name {
		case "wimcast":
			addAll(want, inWimcast)
		case "wimcastd":
			addAll(want, inWimcastd)
			pages, err := filepath.Glob("../docs/*.md")
			if err != nil || len(pages) < 8 {
				t.Fatalf("documents: %q, %v", pages, err)
			}
			for _, page := range pages {
				want["/usr/share/doc/wimcastd/"+filepath.Base(page)] = "-rw-r--r--"
			}
		}
		for _, arch := range [][2]string{{"amd64", "x86_64"}, {"arm64", "aarch64"}} {
			t.Run(name+" "+arch[0]+" deb", func(t *testing.T) {
				file := packageFile(t, name, arch[0], "deb")
				wanted := map[string]string{}
				addAll(wanted, want)
				addAll(wanted, onlyIn[name+" deb"])
				compare(t, wanted, listed(t, output(t, "dpkg-deb", "-c", file)))
				control := output(t, "dpkg-deb", "-f", file)
				version := field(control, "Version")
				lacks(t, control, "Package: "+name+"\n", "\nArchitecture: "+arch[0]+"\n", "\nVersion: "+output(t, "../deploy/package/version")[:5])
				if name == "wimcastd" {
					lacks(t, control, "\nDepends: wimcast (= "+version+"), systemd (>= 252)\n", "\nRecommends: wimtools, cabextract\n")
					if got := output(t, "dpkg-deb", "--ctrl-tarfile", file); !strings.Contains(got, "/etc/wimcast/wimcastd.toml\n/etc/ufw/applications.d/wimcastd\n") && !strings.Contains(got, "/etc/ufw/applications.d/wimcastd\n/etc/wimcast/wimcastd.toml\n") {
						t.Error("the configuration isn't a conffile")
					}
				} else if field(control, "Depends") != "" {
					t.Errorf("wimcast depends on %s: its programs are static", field(control, "Depends"))
				}
			})
			t.Run(name+" "+arch[0]+" rpm", func(t *testing.T) {
				file := packageFile(t, name, arch[1], "rpm")
				wanted := map[string]string{}
				addAll(wanted, want)
				addAll(wanted, onlyIn[name+" rpm"])
				compare(t, wanted, listed(t, output(t, "rpm", "-qlvp", file)))
				version := output(t, "rpm", "-qp", "--qf", "%{VERSION}-%{RELEASE}", file)
				requires := output(t, "rpm", "-qp", "--requires", file)
				if name == "wimcastd" {
					lacks(t, requires, "wimcast = "+version+"\n", "systemd >= 252\n")
					if got := output(t, "rpm", "-qp", "--configfiles", file); got != "/etc/wimcast/wimcastd.toml\n" {
						t.Errorf("configuration files: %q", got)
					}
					// RPMFILE_CONFIG|RPMFILE_NOREPLACE
					lacks(t, output(t, "rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS}\n]", file), "/etc/wimcast/wimcastd.toml 17\n")
				}
			})
		}
	}
}

func addAll(to, from map[string]string) {
	maps.Copy(to, from)
}

// field is one line of a Debian control file.
func field(control, name string) string {
	for line := range strings.Lines(control) {
		if value, is := strings.CutPrefix(line, name+": "); is {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func lacks(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("it lacks %q:\n%s", w, text)
		}
	}
}

// listed reads what dpkg-deb -c and rpm -qlv print: path to mode. All must belong to root.
func listed(t *testing.T, out string) map[string]string {
	t.Helper()
	files := map[string]string{}
	owner := regexp.MustCompile(`^(\S{10}) +(?:\d+ +)?(\S+?)[/ ] *(\S+) .*? (\.?/.*)$`)
	for line := range strings.Lines(out) {
		m := owner.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("not understood: %q", line)
		}
		if m[2] != "root" || m[3] != "root" {
			t.Errorf("it isn't root's: %q", line)
		}
		files[strings.TrimPrefix(m[4], ".")] = m[1]
	}
	return files
}

// compare takes directories of dpkg's for given: it lists each above a file.
func compare(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name, mode := range want {
		if got[name] != mode {
			t.Errorf("%s: %q, want %s", name, got[name], mode)
		}
	}
	for name, mode := range got {
		if _, is := want[name]; is {
			continue
		}
		if strings.HasSuffix(name, "/") && mode == "drwxr-xr-x" {
			continue
		}
		t.Errorf("%s (%s) is in it, and in no list of this test", name, mode)
	}
}

// TestOperationsPackagesAgain: the same commit gives the same bytes.
func TestOperationsPackagesAgain(t *testing.T) {
	if _, err := packed(); err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(output(t, "../deploy/package/version"))
	nfpm, err := filepath.Glob("../.cache/nfpm-*/nfpm")
	if err != nil || len(nfpm) == 0 {
		t.Fatalf("nfpm: %v, %v", nfpm, err)
	}
	dir := t.TempDir()
	tool, err := filepath.Abs(nfpm[len(nfpm)-1])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "../deploy/package/build", version, tool, dir, runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build again: %v\n%s", err, out)
	}
	again, err := filepath.Glob(dir + "/*.[dr][ep][bm]")
	if err != nil || len(again) != 4 {
		t.Fatalf("built again: %q, %v", again, err)
	}
	for _, name := range again {
		second, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, err := os.ReadFile(filepath.Join("../dist", filepath.Base(name)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: other bytes when it is built again", filepath.Base(name))
		}
	}
}

// TestOperationsPackagesScripts: maintainer scripts are sh, and stop at what fails.
func TestOperationsPackagesScripts(t *testing.T) {
	scripts, err := filepath.Glob("../deploy/package/[dr][ep][bm]/p*")
	if err != nil || len(scripts) != 6 {
		t.Fatal(scripts, err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte("#!/bin/sh\n")) || !bytes.Contains(text, []byte("\nset -e\n")) {
			t.Errorf("%s isn't sh with set -e", script)
		}
		output(t, "sh", "-n", script)
	}
	if out := output(t, "../test/setup/verify-unit"); !strings.Contains(out, " OK ") {
		t.Errorf("the unit: %s", out)
	}
}

// TestOperationsPackagesManual: the pages are there, say what --help says, and are clean.
func TestOperationsPackagesManual(t *testing.T) {
	root := unpacked(t)
	for page, holds := range map[string][]string{
		"man1/wimcast.1.gz":       {"image add", "winpe inject", "--[no-]multicast-only", "EXIT STATUS", "WIMCAST_SOCKET", "deployment create"},
		"man8/wimcastd.8.gz":      {"--config=FILE", "--check", "SIGHUP", "/var/lib/wimcast"},
		"man5/wimcastd.toml.5.gz": {"TABLE [session]", `listen = ":7600"`, "min_clients = 0", "[[point.hours]]"},
	} {
		file := filepath.Join(root, "usr/share/man", page)
		// Pages that they refer to: each other, which aren't installed here.
		var faults []string
		out, _ := exec.CommandContext(t.Context(), "mandoc", "-T", "lint", file).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "referenced manual not found: Xr wimcast") && !strings.Contains(line, "outdated mandoc.db lacks wimcast") {
				faults = append(faults, line)
			}
		}
		if len(faults) > 0 {
			t.Errorf("%s: mandoc:\n%s", page, strings.Join(faults, ""))
		}
		cmd := exec.CommandContext(t.Context(), "man", "--warnings", "-l", file)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANPAGER=cat", "MANWIDTH=200", "GROFF_NO_SGR=", "MAN_KEEP_FORMATTING=")
		var said, warned bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &warned
		if err := cmd.Run(); err != nil || warned.Len() > 0 {
			t.Errorf("%s: man: %v: %s", page, err, &warned)
		}
		for _, text := range holds {
			if !strings.Contains(said.String(), text) {
				t.Errorf("%s lacks %q", page, text)
			}
		}
	}
}

// TestOperationsPackagesCompletion has each shell complete, as the package sets it up.
func TestOperationsPackagesCompletion(t *testing.T) {
	root := unpacked(t)
	bin := filepath.Join(root, "usr/bin")
	share := filepath.Join(root, "usr/share")
	for shell, script := range map[string]string{
		// What bash does at a tab: the function that complete -F names, with what readline sets.
		"bash": `source /usr/share/bash-completion/bash_completion
			source ` + share + `/bash-completion/completions/$1
			fn=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
			COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
			$fn "$1" "${@: -1}" "${@: -2:1}"; printf '%s\n' "${COMPREPLY[@]}"`,
		"fish": `source ` + share + `/fish/vendor_completions.d/$argv[1].fish; complete -C (string join ' ' -- $argv) | string replace -r '\t.*' ''`,
		// The widget alone knows what was typed: its words are set, and what it is given is printed.
		"zsh": `words=("$@"); CURRENT=$#; service=$1
			_describe() { print -l -- ${(@)${(@P)2}%%:*} }; _files() { print files }
			source ` + share + `/zsh/vendor-completions/_wimcast`,
	} {
		for line, want := range map[string]string{
			"wimcast image a":              "add",
			"wimcast im":                   "image",
			"wimcast winpe inject --drive": "--drivers",
			"wimcast --json session sh":    "show",
			"wimcastd --ch":                "--check",
		} {
			words := strings.Split(line, " ")
			args := append([]string{"-c", script, shell}, words...)
			if shell == "fish" {
				args = append([]string{"--no-config", "-c", script}, words...)
			}
			cmd := exec.CommandContext(t.Context(), shell, args...)
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != want {
				t.Errorf("%s: %q: %q (%v), want %q", shell, line, out, err, want)
			}
		}
	}
}

// TestOperationsPackagesFirewall: the services name the ports of the configuration's defaults.
func TestOperationsPackagesFirewall(t *testing.T) {
	root := unpacked(t)
	for name, want := range map[string]string{"wimcastd": "udp 7600, tcp 7600, igmp", "wimcast": "udp 63000-64000, igmp"} {
		text, err := os.ReadFile(filepath.Join(root, "usr/lib/firewalld/services", name+".xml"))
		if err != nil {
			t.Fatal(err)
		}
		var service struct {
			Short string `xml:"short"`
			Ports []struct {
				Protocol string `xml:"protocol,attr"`
				Port     string `xml:"port,attr"`
			} `xml:"port"`
			Protocols []struct {
				Value string `xml:"value,attr"`
			} `xml:"protocol"`
		}
		if err := xml.Unmarshal(text, &service); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var opens []string
		for _, p := range service.Ports {
			opens = append(opens, p.Protocol+" "+p.Port)
		}
		for _, p := range service.Protocols {
			opens = append(opens, p.Value)
		}
		if got := strings.Join(opens, ", "); got != want || service.Short != name {
			t.Errorf("%s: %s opens %s, want %s", name, service.Short, got, want)
		}
	}
	for name, ports := range map[string]string{"wimcastd": "7600", "wimcast": "63000:64000/udp"} {
		profile, err := os.ReadFile(filepath.Join(root, "etc/ufw/applications.d", name))
		if err != nil {
			t.Fatal(err)
		}
		lacks(t, string(profile), "["+name+"]\n", "\nports="+ports+"\n")
	}
}

// TestOperationsPackagesLint: Debian's own checker finds nothing that isn't overridden with a reason.
func TestOperationsPackagesLint(t *testing.T) {
	for _, name := range []string{"wimcast", "wimcastd"} {
		cmd := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", packageFile(t, name, runtime.GOARCH, "deb"))
		if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("%s: lintian: %v\n%s", name, err, out)
		}
	}
}
