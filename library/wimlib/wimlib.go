// Package wimlib writes WIM files by running wimlib-imagex (Debian package wimtools), which is
// under the GPL and so is run and not linked. Reading tables is package library/wim's, which needs no other
// program; whatever changes a WIM, or reads compressed resources, is done here.
//
// Every function runs one command, in the C locale, without a terminal and with a limit on what it may say. A
// cancelled context ends the command and what it started; a file that it was writing is then of no use, and
// the caller's to remove. Functions are safe for concurrent use on different files.
package wimlib

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// ErrMissing says that wimlib-imagex isn't installed.
var ErrMissing = errors.New("wimlib-imagex isn't installed; next: apt-get install wimtools")

// Error is what wimlib-imagex ended with.
type Error struct {
	Command string // its first argument, such as "export"
	Code    int    // exit status, wimlib's error code (wimlib.h, enum wimlib_error_code)
	Text    string // the last of what it said
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("wimlib-imagex %s: %s (exit %d)", e.Command, e.Text, e.Code)
}

// maxOutput bounds what a command may print, in bytes: a listing of 100,000 paths fits.
const maxOutput = 64 << 20

// maxSaid bounds what is kept of what it says about an error, in bytes.
const maxSaid = 2000

// run runs wimlib-imagex and returns what it printed on standard output.
func run(ctx context.Context, input string, args ...string) ([]byte, error) {
	out := &bounded{limit: maxOutput}
	if err := runTo(ctx, out, input, args...); err != nil {
		return nil, err
	}
	if out.over {
		return nil, fmt.Errorf("wimlib-imagex %s: it printed more than %d bytes", args[0], maxOutput)
	}
	return out.kept.Bytes(), nil
}

// afterKill is how long a command's output is waited for once it was ended: what it started may still hold it open.
const afterKill = 5 * time.Second

// runTo runs wimlib-imagex with its standard output going to out.
func runTo(ctx context.Context, out io.Writer, input string, args ...string) error {
	path, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		return ErrMissing
	}
	name, all := program(ctx, path, args)
	cmd := exec.CommandContext(ctx, name, all...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "WIMLIB_IMAGEX_IGNORE_CASE=1")
	cmd.Stdin = strings.NewReader(input)
	said := &bounded{limit: maxOutput}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, afterKill
	err = cmd.Run()
	switch exit, failed := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return fmt.Errorf("wimlib-imagex %s: %w", args[0], context.Cause(ctx))
	case failed:
		return &Error{Command: args[0], Code: exit.ExitCode(), Text: lastWords(said.kept.Bytes())}
	case err != nil:
		return fmt.Errorf("wimlib-imagex %s: %w", args[0], err)
	}
	return nil
}

// bounded is a buffer that throws away what is beyond its limit. It has no method but Write to be filled by: io.Copy would
// go around it.
type bounded struct {
	kept  bytes.Buffer
	limit int
	over  bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if room := b.limit - b.kept.Len(); n > room {
		p, b.over = p[:max(room, 0)], true
	}
	_, _ = b.kept.Write(p)
	return n, nil
}

// lastWords makes one line of what a failed command said: its errors come last and may take several lines.
func lastWords(said []byte) string {
	var lines []string
	for line := range strings.Lines(string(said)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "[ERROR] "); ok {
			line = text
		}
		if line = strings.TrimPrefix(line, "ERROR: "); line != "" && !strings.HasPrefix(line, "[WARNING]") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, " ")
	if len(text) > maxSaid {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxSaid:], "")
	}
	if text == "" {
		return "no reason given"
	}
	return text
}

// Export writes one image of a WIM to a new WIM of its own, with an integrity table. index counts from 1. The
// compression is kept, and compressed data is copied as it is.
func Export(ctx context.Context, from string, index int, to string) error {
	_, err := run(ctx, "", "export", from, strconv.Itoa(index), to, "--check")
	return err
}

// Join writes the parts of a split WIM, in any order, to one new WIM.
func Join(ctx context.Context, to string, parts ...string) error {
	_, err := run(ctx, "", append([]string{"join", "--check", to}, parts...)...)
	return err
}

// Update changes files in an image, in place: what is new is appended, so most of the file stays as it was.
// Each command is a line in wimlib-imagex update's language, such as "add /folder /Windows/Setup"; see
// [Quote]. All of them count, or none.
func Update(ctx context.Context, file string, index int, commands ...string) error {
	_, err := run(ctx, strings.Join(commands, "\n")+"\n", "update", file, strconv.Itoa(index), "--check")
	return err
}

// Quote makes one word of a path, for [Update]. Paths with a quote or a line break in them can't be named.
func Quote(path string) (string, error) {
	if strings.ContainsAny(path, "\"\n\r\x00") {
		return "", fmt.Errorf("wimlib-imagex update: the path %q can't be named in a command", path)
	}
	return `"` + path + `"`, nil
}

// SetProperty sets an element of the XML of an image, such as "DESCRIPTION" or "WIMCAST/UPDATES"; an
// empty value removes it.
func SetProperty(ctx context.Context, file string, index int, name, value string) error {
	_, err := run(ctx, "", "info", file, strconv.Itoa(index), "--image-property", name+"="+value, "--check")
	return err
}

// Dir lists the paths below a directory of an image, the directory itself included, each beginning with "/". The error is
// an [Error] with code [CodeNoPath] where there is no such path.
func Dir(ctx context.Context, file string, index int, directory string) ([]string, error) {
	out, err := run(ctx, "", "dir", file, strconv.Itoa(index), "--path="+directory)
	if err != nil {
		return nil, err
	}
	var paths []string
	for line := range strings.Lines(string(out)) {
		paths = append(paths, strings.TrimRight(line, "\r\n"))
	}
	return paths, nil
}

// CodeNoPath is wimlib's WIMLIB_ERR_PATH_DOES_NOT_EXIST.
const CodeNoPath = 49

// Read returns what is in a file of an image, at most maxOutput bytes.
func Read(ctx context.Context, file string, index int, path string) ([]byte, error) {
	return run(ctx, "", "extract", file, strconv.Itoa(index), path, "--to-stdout")
}

// Extract writes files or directories of an image below a directory.
func Extract(ctx context.Context, file string, index int, to string, paths ...string) error {
	args := append([]string{"extract", file, strconv.Itoa(index)}, paths...)
	_, err := run(ctx, "", append(args, "--dest-dir="+to, "--no-acls")...)
	return err
}

// Verify reads everything that a WIM holds, decompressed, and compares it with its hashes.
func Verify(ctx context.Context, file string) error {
	_, err := run(ctx, "", "verify", file)
	return err
}
