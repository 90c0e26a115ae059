package apply

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"

	"wimcast/statefile"
)

// dism runs DISM for a target.
type dism struct {
	program string
	target  *Target
	log     string
}

// restartRequired is DISM's exit code for what is done and wants a restart, which comes anyway.
const restartRequired = 3010

// afterKill is how long DISM's output is waited for once it was ended: its host process may still hold it open.
const afterKill = 10 * time.Second

// scratch returns the folder for DISM's temporary files. Windows PE's own is a RAM disk of 32 MB.
func (d *dism) scratch() string { return filepath.Join(d.target.Work(), scratchDir) }

// applyArgs are DISM's arguments for applying an image. check has it hold the file against its integrity table, which must be there.
func (d *dism) applyArgs(file string, index int, check bool) []string {
	args := []string{"/English", "/Apply-Image", "/ImageFile:" + file, fmt.Sprintf("/Index:%d", index), "/ApplyDir:" + d.target.Path, "/ScratchDir:" + d.scratch(), "/LogPath:" + d.log}
	if check {
		args = append(args, "/CheckIntegrity")
	}
	return args
}

// Where package library/servicing stages updates in an image.
const (
	stagedDir    = "Windows/Setup/wimcast"
	stagedAnswer = "unattend.xml"
)

// unattendArgs are DISM's arguments for installing what is staged.
func (d *dism) unattendArgs() []string {
	answer := filepath.Join(d.target.Path, filepath.FromSlash(stagedDir), stagedAnswer)
	return []string{"/English", "/Image:" + d.target.Path, "/Apply-Unattend:" + answer, "/ScratchDir:" + d.scratch(), "/LogPath:" + d.log}
}

// unattendEnv is what the answer file's places are relative to.
func (d *dism) unattendEnv() []string {
	return []string{"configsetroot=" + filepath.Join(d.target.Path, filepath.FromSlash(stagedDir))}
}

// maxAnswer bounds an answer file, in bytes.
const maxAnswer = 4 << 20

// staged reports whether there are updates to be installed in the image that was applied: an answer file that names packages.
func (t *Target) staged() (bool, error) {
	root, err := os.OpenRoot(t.Path)
	if err != nil {
		return false, err
	}
	defer func() { _ = root.Close() }()
	b, err := statefile.Read(root, filepath.FromSlash(stagedDir+"/"+stagedAnswer), maxAnswer)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	decoder := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := decoder.RawToken()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s/%s in the image can't be read: %w", stagedDir, stagedAnswer, err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "package" {
			return true, nil
		}
	}
}

// call runs DISM. The error has the last of what it said.
func (d *dism) call(ctx context.Context, progress func(float64), env []string, args ...string) error {
	said := &listener{tell: progress}
	cmd := exec.CommandContext(ctx, d.program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, afterKill
	runtime.LockOSThread() // see prepare on Linux
	defer runtime.UnlockOSThread()
	family := prepare(cmd)
	err := cmd.Start()
	if err == nil {
		family.started()
		err = cmd.Wait()
		family.ended(ctx.Err() != nil)
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil, failed && succeeded(exit.ExitCode()):
		return nil
	case failed:
		return fmt.Errorf("DISM ended with %s: %s", codeText(exit.ExitCode()), said.last())
	}
	return fmt.Errorf("run DISM: %w", err)
}

// succeeded says which of DISM's exit codes are no failure.
func succeeded(code int) bool { return code == 0 || code == restartRequired }

// codeText writes an exit code as people look for it: Windows' long ones, such as 0x800f081e, are known in hexadecimal.
func codeText(code int) string {
	if long := uint32(code); long > 0xffff {
		return fmt.Sprintf("%#x", long)
	}
	return strconv.Itoa(code)
}

// Bounds of what is kept of what DISM says, in bytes; the reason comes last.
const (
	maxLine = 1000
	maxSaid = 800
)

// listener reads what DISM says: lines, and bars such as "[====  12.0% ]" on their way.
type listener struct {
	tell  func(float64)
	line  []byte
	lines []string
	share float64
}

var bar = regexp.MustCompile(`^\[[= ]*(\d{1,3}(?:\.\d)?)%[= ]*\]?`)

// Write implements io.Writer.
func (l *listener) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\r' || b == '\n' {
			l.end()
			continue
		}
		if len(l.line) < maxLine {
			l.line = append(l.line, b)
		}
		if b == ']' || b == '%' { // a bar may stand there without an end until the next
			l.hear()
		}
	}
	return len(p), nil
}

// hear tells of a bar.
func (l *listener) hear() {
	m := bar.FindSubmatch(bytes.TrimSpace(l.line))
	if m == nil {
		return
	}
	percent, err := strconv.ParseFloat(string(m[1]), 64)
	if share := min(percent/100, 1); err == nil && share > l.share {
		l.share = share
		if l.tell != nil {
			l.tell(share)
		}
	}
}

// end keeps a line, without a bar.
func (l *listener) end() {
	l.hear()
	l.line = bar.ReplaceAll(bytes.TrimSpace(l.line), nil)
	text := strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(l.line), "?")))
	if text != "" {
		l.lines = append(l.lines, text)
		l.lines = l.lines[max(0, len(l.lines)-maxLines):]
	}
	l.line = l.line[:0]
}

// maxLines is how many lines are kept.
const maxLines = 8

// last returns the last of what was said, in one line.
func (l *listener) last() string {
	l.end()
	text := strings.Join(l.lines, " ")
	if i := strings.LastIndex(text, "Error:"); i >= 0 {
		text = text[i:] // what stands before is the program's name and version
	}
	if len(text) > maxSaid {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxSaid:], "")
	}
	if text == "" {
		return "no reason given"
	}
	return text
}
