package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library/wim"
)

// TestProgramFor: beside this program as in dist/, else in lib/wimcast as the package has it.
func TestProgramFor(t *testing.T) {
	const x64, arm64 = wim.Architecture(9), wim.Architecture(12)
	root := t.TempDir()
	bin, lib := filepath.Join(root, "usr", "bin"), filepath.Join(root, "usr", "lib", "wimcast")
	for _, dir := range []string{bin, lib} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string) string {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if _, err := programFor(x64, bin); err == nil || !strings.Contains(err.Error(), "wimcast.exe") || !strings.Contains(err.Error(), "next: --program FILE") {
		t.Errorf("nowhere: %v", err)
	}
	packaged, packagedARM := put(filepath.Join(lib, "wimcast.exe")), put(filepath.Join(lib, "wimcast-arm64.exe"))
	if got, err := programFor(x64, bin); err != nil || got != packaged {
		t.Errorf("packaged: %q, %v", got, err)
	}
	if got, err := programFor(arm64, bin); err != nil || got != packagedARM {
		t.Errorf("packaged for arm64: %q, %v", got, err)
	}
	beside := put(filepath.Join(bin, "wimcast.exe"))
	if got, err := programFor(x64, bin); err != nil || got != beside {
		t.Errorf("beside: %q, %v", got, err)
	}
}
