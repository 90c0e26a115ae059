package machine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestParseMounts(t *testing.T) {
	got := parseMounts(`22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
28 27 254:1 /var/lib /mnt/bind rw - ext4 /dev/vda1 rw
29 27 8:1 / /mnt/My\040Disk ro,nosuid - ntfs3 /dev/sda1 rw
30 27 7:0 / /squash rw - squashfs /dev/loop0 ro
31 27 0:30 / /tmp rw - tmpfs tmpfs rw
broken
32 27 8:2 / /x
`)
	want := []mount{{"254:1", "/", "/dev/vda1", false}, {"8:1", "/mnt/My Disk", "/dev/sda1", true}, {"7:0", "/squash", "/dev/loop0", true}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestReadLabels(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "sda1")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	by := filepath.Join(dir, "by-label")
	if err := os.Mkdir(by, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`My\x20Disk`, "gone"} {
		if err := os.Symlink(filepath.Join(dir, map[string]string{"gone": "sdz9"}[name], "sda1"), filepath.Join(by, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := readLabels(by); len(got) != 1 || got[device] != "My Disk" {
		t.Errorf("%v", got)
	}
}

// TestVolumes: this machine's can be looked at; a folder's room is its volume's.
func TestVolumes(t *testing.T) {
	if _, err := Volumes(); err != nil {
		t.Fatal(err)
	}
	if v := DirVolume(t.TempDir(), "Data"); v.Free <= 0 || v.Unfit != "" || v.Label != "Data" {
		t.Errorf("%+v", v)
	}
	if v := DirVolume(filepath.Join(t.TempDir(), "none"), ""); v.Unfit == "" {
		t.Errorf("of nothing: %+v", v)
	}
}
