package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wimcast/test/docs"
	"wimcast/test/lab"
	"wimcast/test/rig"
)

// Every command of README.md and docs/*.md is typed here, in its order, page by page, as a reader would type it:
//
//	server 10.77.0.1 ──┐
//	pc17  10.77.0.11 ──┼── switch
//	pc09  10.77.0.12 ──┤
//	north 10.77.0.13 ──┘
//
// Each is a machine with a name and a file system of its own (an overlay over this machine's, in memory), with wimcast and wimcastd in
// /usr/bin as the packages put them; each page gets new ones. What a page takes for granted, and what can't be typed here, stands in
// docPages (operations_docs_pages_linux_test.go). A command that is neither run nor on that list fails the test.

// docPage is what a page of the documents needs to be followed.
type docPage struct {
	file  string
	given func(d *desk)                   // what the page takes for granted: a daemon, files
	names map[string]func(d *desk) string // words of the page that are others here, such as s7
	env   []string                        // of its commands
	marks []mark
}

// mark says something of the commands of a page that begin with its words. Of several that fit the longest counts; one that fits none fails.
type mark struct {
	cmd    string
	on     string        // the machine; empty: where its prompt says, else the server
	before func(d *desk) // what must be so by then
	says   string        // what is typed at its questions
	exit   int           // the code that it ends with
	until  string        // a regular expression: once its output matches it is interrupted, as by Ctrl-C
	stays  bool          // it goes on in the background once its output matches until
	shows  string        // a regular expression that its output must match
	not    string        // why it can't be run here; nothing else is needed then
}

// elsewhere is a note that a block's commands are run by another test: <!-- run by TestX -->.
var elsewhere = regexp.MustCompile(`^run by (Test\w+)$`)

// desk is where a page is followed.
type desk struct {
	t        *testing.T
	ctx      context.Context
	room     *lab.Room
	hosts    map[string]*lab.Host
	machines map[string]*computer
	fixtures string    // a folder of files that pages name
	gets     []*jotted // clients that receive in the background
	page     docPage
}

// computer is one of the page.
type computer struct {
	name string
	host *lab.Host
	pid  string // a process that holds its file system and name
}

// workFolder is where commands are typed.
const workFolder = "/root"

// computerScript makes a file system and a name, and holds them. $1 is a folder, $2 the name, $3 the folder of the programs, $4 deploy.
const computerScript = `set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
cd "$1/root"
for d in etc/wimcast var/lib/wimcast run/wimcast root mnt; do
	mkdir -p $d
	mount -t tmpfs none $d
done
mkdir -p usr/lib/wimcast
rm -f etc/hosts etc/resolv.conf
cp "$3/wimcastd" "$3/wimcast" "$3/systemctl" "$3/journalctl" usr/bin/
cp "$3"/*.exe usr/lib/wimcast/
printf '127.0.0.1 localhost %s\n10.77.0.1 dp1 fs1\n' "$2" >etc/hosts
for d in proc sys dev; do mount --rbind /$d $d; done
systemd-sysusers --root="$1/root" "$4/sysusers.d/wimcast.conf" >/dev/null
printf '%s\n' fail silent show-error >root/.curlrc # an answer of 404 isn't what the page promises
hostname "$2"
exec chroot . sh -c 'echo ready; exec sleep infinity'`

// systemctl stands in for systemd, which the booted tests run for real: it starts, stops and reloads the daemon as the unit does, as its
// user and with the one capability that it lends.
const systemctl = `#!/bin/bash
set -e
stop() { [ ! -e /run/wimcastd.pid ] || { kill -TERM "$(cat /run/wimcastd.pid)" 2>/dev/null && tail --pid="$(cat /run/wimcastd.pid)" -f /dev/null; rm -f /run/wimcastd.pid; }; }
start() {
	install -d -o wimcast -g wimcast -m 700 /var/lib/wimcast
	install -d -o wimcast -g wimcast -m 750 /run/wimcast
	: >/var/log/wimcastd.log
	STATE_DIRECTORY=/var/lib/wimcast RUNTIME_DIRECTORY=/run/wimcast setsid setpriv --reuid=wimcast --regid=wimcast --init-groups --inh-caps=-all,+net_raw \
		--ambient-caps=+net_raw --bounding-set=-all,+net_raw /usr/bin/wimcastd 2>>/var/log/wimcastd.log </dev/null >/dev/null &
	echo $! >/run/wimcastd.pid
	tail -n +1 --pid=$! -f /var/log/wimcastd.log | grep -q --max-count=1 '"msg":"ready"' || { cat /var/log/wimcastd.log >&2; exit 1; }
}
case "$1" in
start) [ -e /run/wimcastd.pid ] || start ;;
stop) stop ;;
restart) stop; start ;;
reload) kill -HUP "$(cat /run/wimcastd.pid)" ;;
status) kill -0 "$(cat /run/wimcastd.pid)" ;;
*) exit 2 ;;
esac`

// journalctl stands in for the journal, which the booted tests read for real: it shows what the daemon wrote since it was started.
const journalctl = "#!/bin/sh\ncat /var/log/wimcastd.log\n"

// newComputer brings up a computer.
func (d *desk) newComputer(name string, host *lab.Host, programs string) *computer {
	d.t.Helper()
	deploy, err := filepath.Abs("../deploy")
	if err != nil {
		d.t.Fatal(err)
	}
	dir := filepath.Join(d.t.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	holder := host.Command(d.ctx, "unshare", "--mount", "--uts", "bash", "-c", computerScript, "bash", dir, name, programs, deploy)
	j := d.jot(holder)
	j.await(d, "ready")
	return &computer{name: name, host: host, pid: fmt.Sprint(holder.Process.Pid)}
}

// command is a line of a shell on the machine.
func (m *computer) command(ctx context.Context, text string) *exec.Cmd {
	return m.host.Command(ctx, "nsenter", "--target", m.pid, "--mount", "--uts", "--root", "--wd", "--", "env", "--ignore-environment",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TZ=UTC",
		"bash", "-c", "cd "+workFolder+"\n"+text)
}

// path is where a file of the machine lies for this process.
func (m *computer) path(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(workFolder, name)
	}
	return filepath.Join("/proc", m.pid, "root", name)
}

// jotted is a program that runs, and what it wrote.
type jotted struct {
	cmd    *exec.Cmd
	exited chan struct{}
	out    rig.Output
}

// jot starts a program whose output is looked at; the page's end ends it.
func (d *desk) jot(cmd *exec.Cmd) *jotted {
	d.t.Helper()
	j := &jotted{cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &j.out, &j.out
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // its code is looked at where it counts
		close(j.exited)
	}()
	d.t.Cleanup(func() {
		_ = cmd.Cancel() // its process group
		<-j.exited
	})
	return j
}

// await waits until what was written matches.
func (j *jotted) await(d *desk, pattern string) {
	d.t.Helper()
	want := regexp.MustCompile(pattern)
	for {
		more := j.out.Changed() // before the look
		text := j.out.From(0)
		if want.MatchString(text) {
			return
		}
		select {
		case <-more:
		case <-j.exited:
			if text := j.out.From(0); !want.MatchString(text) {
				d.t.Fatalf("%v ended (%v) before it wrote %s:\n%s", j.cmd.Args[len(j.cmd.Args)-1], j.cmd.ProcessState, pattern, text)
			}
			return
		case <-d.ctx.Done():
			d.t.Fatalf("%v didn't write %s: %v\n%s", j.cmd.Args[len(j.cmd.Args)-1], pattern, context.Cause(d.ctx), text)
		}
	}
}

// serve starts a machine's daemon with a configuration; one that runs is stopped before.
func (d *desk) serve(name, config string) {
	d.t.Helper()
	if err := os.WriteFile(d.machines[name].path("/etc/wimcast/wimcastd.toml"), []byte(config), 0o644); err != nil { //nolint:gosec // as the package installs it
		d.t.Fatal(err)
	}
	d.do(name, "systemctl restart wimcastd")
}

// do runs what a page takes for granted on a machine; it must succeed.
func (d *desk) do(name, text string) string {
	d.t.Helper()
	out, err := d.machines[name].command(d.ctx, "set -e\n"+text).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %s: %v: %s", name, text, err, out)
	}
	return string(out)
}

// background starts something on a machine that goes on.
func (d *desk) background(name, text string) *jotted {
	return d.jot(d.machines[name].command(d.ctx, "exec "+text))
}

// until waits until a command on a machine succeeds.
func (d *desk) until(name, text string) {
	d.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := d.machines[name].command(d.ctx, text).CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-d.ctx.Done():
			d.t.Fatalf("%s: %s: %v: %s", name, text, context.Cause(d.ctx), out)
		}
	}
}

// put copies fixtures to a machine's work folder.
func (d *desk) put(name string, files ...string) {
	d.t.Helper()
	for _, file := range files {
		if err := copyTree(filepath.Join(d.fixtures, file), d.machines[name].path(file)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// bring copies a file from a machine to another, as a person does.
func (d *desk) bring(file, from string, to ...string) {
	d.t.Helper()
	text, err := os.ReadFile(d.machines[from].path(file))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, name := range to {
		if err := os.WriteFile(d.machines[name].path(filepath.Base(file)), text, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// follow types a page.
func (d *desk) follow(page docPage, blocks []docs.Block) {
	d.t.Helper()
	if page.given != nil {
		page.given(d)
	}
	used := map[int]bool{}
	for _, block := range blocks {
		if elsewhere.MatchString(block.Note) {
			continue // TestOperationsDocsElsewhere holds that
		}
		for _, command := range block.Commands() {
			best := -1
			for i, m := range page.marks {
				if strings.HasPrefix(command.Text, m.cmd) && (best < 0 || len(m.cmd) > len(page.marks[best].cmd)) {
					best = i
				}
			}
			m := mark{}
			if best >= 0 {
				m, used[best] = page.marks[best], true
			}
			where := fmt.Sprintf("%s:%d: %s", page.file, command.Line, command.Text)
			if m.not != "" {
				continue
			}
			if block.Lang != "sh" {
				d.t.Errorf("%s\n  is a command of another system: it wants a mark that says why it isn't run", where)
				continue
			}
			if m.before != nil {
				m.before(d)
			}
			if d.t.Failed() {
				return // what follows builds on it
			}
			d.typed(where, command, m)
			if d.t.Failed() {
				return
			}
		}
	}
	for i, m := range page.marks {
		if !used[i] {
			d.t.Errorf("%s: no command begins with %q any more: take the mark away", page.file, m.cmd)
		}
	}
}

// typed runs a command as a reader would.
func (d *desk) typed(where string, command docs.Command, m mark) {
	d.t.Helper()
	name := "server"
	if command.Place != "" && command.Place != "site" {
		name = command.Place
	}
	if m.on != "" {
		name = m.on
	}
	on := d.machines[name]
	if on == nil {
		d.t.Errorf("%s\n  there is no machine %s", where, name)
		return
	}
	text := command.Text
	for _, variable := range d.page.env {
		text = fmt.Sprintf("export %q\n", variable) + text
	}
	for word, is := range d.page.names {
		if exact := regexp.MustCompile(`\b` + word + `\b`); exact.MatchString(text) {
			text = exact.ReplaceAllLiteralString(text, is(d))
		}
	}
	began := time.Now()
	cmd := on.command(d.ctx, text)
	cmd.Stdin = strings.NewReader(m.says)
	if m.until != "" {
		j := d.jot(cmd)
		j.await(d, m.until)
		if !m.stays {
			_ = cmd.Process.Signal(os.Interrupt)
			select {
			case <-j.exited:
			case <-d.ctx.Done():
				d.t.Errorf("%s\n  doesn't end when it is interrupted", where)
			}
		}
		return
	}
	out, err := cmd.CombinedOutput()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		d.t.Errorf("%s\n  %v", where, err)
		return
	}
	switch {
	case code == 1 && strings.HasPrefix(command.Text, "wimcast doctor"): // it found something: on a busy machine packets get lost, and disks are slow
	case code != m.exit:
		d.t.Errorf("%s\n  ended with %d instead of %d:\n%s", where, code, m.exit, out)
	case m.shows != "" && !regexp.MustCompile(m.shows).Match(out):
		d.t.Errorf("%s\n  wrote nothing of the form %s:\n%s", where, m.shows, out)
	case testing.Verbose():
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		d.t.Logf("%s  → %.100s  (%.1f s)", where, first, time.Since(began).Seconds())
	}
}

// docFiles are the pages of the documents by their names.
func docFiles(t *testing.T) map[string]string {
	t.Helper()
	root := os.DirFS("..")
	names, err := fs.Glob(root, "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, name := range append(names, "README.md") {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		pages[name] = string(text)
	}
	return pages
}

// TestOperationsDocsCommands types every command of every page.
func TestOperationsDocsCommands(t *testing.T) {
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	texts := docFiles(t)
	pages := map[string]docPage{}
	for _, page := range docPages {
		if _, ok := texts[page.file]; !ok {
			t.Errorf("docPages has %s, which isn't there", page.file)
		}
		pages[page.file] = page
	}
	for name, text := range texts { // before anything is run: what nobody thought of
		blocks, err := docs.Blocks(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, block := range blocks {
			if _, ok := pages[name]; !ok && len(block.Commands()) > 0 && !elsewhere.MatchString(block.Note) {
				t.Errorf("%s:%d: commands of a page that isn't in docPages:\n%s", name, block.Line, block.Text)
			}
			if disguised := regexp.MustCompile(`(?m)^(?:[#$] |dist/)?(?:wimcastd?|systemctl|apt-get) .*$`).FindString(block.Text); disguised != "" && len(block.Commands()) == 0 {
				t.Errorf("%s:%d: %q looks like a command and isn't run: fence it as sh", name, block.Line, disguised)
			}
		}
	}
	if t.Failed() {
		return
	}
	t.Parallel() // a room of its own, which mostly waits
	programs := docPrograms(t)
	fixtures := docFixtures(t)
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the documents took more than %v", patience))
	t.Cleanup(cancel)
	room, err := lab.New(ctx, lab.Config{Clients: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	if err := room.WaitSnooping(ctx); err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*lab.Host{"server": room.Server(), "pc17": room.Client(0), "pc09": room.Client(1), "north": room.Client(2)}
	for _, page := range docPages {
		t.Run(strings.TrimSuffix(filepath.Base(page.file), ".md"), func(t *testing.T) {
			blocks, err := docs.Blocks(texts[page.file])
			if err != nil {
				t.Fatal(err)
			}
			d := &desk{t: t, ctx: ctx, room: room, hosts: hosts, machines: map[string]*computer{}, fixtures: fixtures, page: page}
			for name, host := range hosts {
				d.machines[name] = d.newComputer(name, host, programs)
			}
			t.Cleanup(func() {
				for _, m := range d.machines {
					log, err := os.ReadFile(m.path("/var/log/wimcastd.log"))
					if t.Failed() && err == nil {
						t.Logf("log of the daemon on %s:\n%s", m.name, log)
					}
					_ = m.command(context.Background(), "kill -9 $(cat /run/wimcastd.pid)").Run() // most have none
				}
			})
			d.follow(page, blocks)
		})
	}
}

// TestOperationsDocsElsewhere holds that a block whose note says "run by TestX" has its commands in that test, or in the files beside it:
// by their text, or by the program and what it is told to do as words of their own, as in run("systemctl", "reload", unit). Where a test types
// something else to the same end, docInstead says what and why.
func TestOperationsDocsElsewhere(t *testing.T) {
	sources, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	subject := regexp.MustCompile(`^[a-z]+_[a-z]+`)
	bodies, where := map[string]string{}, map[string]string{} // of a subject's files, and which has a test
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		name := subject.FindString(source)
		bodies[name] += string(text)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			where[string(m[1])] = name
		}
	}
	used := map[string]bool{}
	for name, text := range docFiles(t) {
		blocks, err := docs.Blocks(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, block := range blocks {
			m := elsewhere.FindStringSubmatch(block.Note)
			if m == nil {
				continue
			}
			body, ok := bodies[where[m[1]]]
			if !ok || where[m[1]] == "" {
				t.Errorf("%s:%d: there is no %s", name, block.Line, m[1])
				continue
			}
			if strings.Contains(body, fmt.Sprintf("ReadFile(%q)", "../"+name)) {
				continue // it reads the page itself
			}
			for _, command := range block.Commands() {
				text := command.Text
				for typed, instead := range docInstead {
					if strings.HasPrefix(text, typed) {
						text, used[typed] = instead.types, true
					}
				}
				if strings.Contains(body, text) {
					continue
				}
				words := strings.Fields(text)
				if strings.HasPrefix(text, `"`) {
					words = nil // docInstead's, literally
					t.Errorf("%s:%d: %s doesn't type %s in place of this command: %s", name, command.Line, m[1], text, command.Text)
				}
				for _, word := range words[:min(2, len(words))] {
					if !strings.HasPrefix(word, "-") && !strings.Contains(body, `"`+word+`"`) {
						t.Errorf("%s:%d: %s doesn't type this command, it lacks %q: %s", name, command.Line, m[1], word, command.Text)
						break
					}
				}
			}
		}
	}
	for typed := range docInstead {
		if !used[typed] {
			t.Errorf("docInstead: no page has %q any more", typed)
		}
	}
}

// docPrograms is a folder with the programs, as the packages have them.
func docPrograms(t *testing.T) string {
	t.Helper()
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	windows, err := windowsDist()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(systemctl), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(journalctl), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	for _, file := range []string{programs.Daemon, programs.Client, filepath.Join(windows, "wimcast.exe"), filepath.Join(windows, "wimcast-arm64.exe")} {
		if err := os.Link(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
