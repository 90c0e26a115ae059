package machine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestReadPCI: of controllers of class 02 those without a driver are named.
func TestReadPCI(t *testing.T) {
	dir := t.TempDir()
	if got := readPCI(filepath.Join(dir, "none")); got != nil {
		t.Errorf("without PCI: %v", got)
	}
	for name, files := range map[string]map[string]string{
		"0000:00:1f.6": {"class": "0x020000\n", "vendor": "0x8086\n", "device": "0x15f3\n"},
		"0000:01:00.0": {"class": "0x028000\n", "vendor": "0x14c3\n", "device": "0x7961\n", "driver/name": "mt7921e"},
		"0000:00:17.0": {"class": "0x010601\n", "vendor": "0x8086\n", "device": "0xa352\n"},
		"0000:02:00.0": {"class": "0x020000\n", "vendor": "nonsense\n", "device": "0x1\n"},
	} {
		for file, text := range files {
			path := filepath.Join(dir, name, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := readPCI(dir), []string{"VEN_8086&DEV_15F3"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestReadNetwork: this machine can be looked at.
func TestReadNetwork(t *testing.T) {
	n, err := ReadNetwork()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range n.Adapters {
		if a.Name == "" || a.Name == "lo" {
			t.Errorf("%+v", a)
		}
	}
}
