package source

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unicode/utf16"
)

// testWIM makes a file that is a WIM as far as its tables say, with noise in place of resources.
func testWIM(size int) []byte {
	b := make([]byte, 208+size)
	_, _ = rand.Read(b[208:])
	at := len(b)
	xml := fmt.Sprintf("\ufeff<WIM><TOTALBYTES>1</TOTALBYTES><IMAGE INDEX=\"1\"><NAME>w</NAME><TOTALBYTES>%d</TOTALBYTES></IMAGE></WIM>", size)
	for _, u := range utf16.Encode([]rune(xml)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	le := binary.LittleEndian
	copy(b, "MSWIM\x00\x00\x00")
	le.PutUint32(b[8:], 208)
	le.PutUint32(b[12:], 0x10d00)
	le.PutUint16(b[40:], 1)
	le.PutUint16(b[42:], 1)
	le.PutUint32(b[44:], 1)
	le.PutUint64(b[56:], uint64(at))
	le.PutUint64(b[72:], uint64(len(b)-at))
	le.PutUint64(b[80:], uint64(at))
	le.PutUint64(b[88:], uint64(len(b)-at))
	return b
}

// put writes files below a folder.
func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// all reads a source to its end and closes it.
func all(t *testing.T, s *Source) []byte {
	t.Helper()
	b, err := io.ReadAll(s)
	if err := errors.Join(err, s.Err(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// wimlibImagex runs the real program.
func wimlibImagex(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Skip("wimlib-imagex is missing; it is in the package wimtools")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
	}
}

// split makes a split set of real parts in a folder, of noise that doesn't pack, and returns the folder.
func split(t *testing.T) string {
	t.Helper()
	from, dir := t.TempDir(), t.TempDir()
	for i := range 4 {
		noise := make([]byte, 700_000)
		_, _ = rand.Read(noise)
		put(t, from, map[string][]byte{fmt.Sprint(i): noise})
	}
	whole := filepath.Join(t.TempDir(), "whole.wim")
	wimlibImagex(t, "capture", from, whole, "Windows", "--check", "--compress=none")
	wimlibImagex(t, "split", whole, filepath.Join(dir, "install.swm"), "1")
	return dir
}

// left returns what lies in a folder.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
