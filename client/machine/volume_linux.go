package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Volumes lists what is mounted of disks, each once.
func Volumes() ([]Volume, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	labels := readLabels("/dev/disk/by-label")
	var out []Volume
	for _, m := range parseMounts(string(b)) {
		v := DirVolume(m.point, labels[m.source])
		switch {
		case v.Unfit != "":
		case m.readOnly:
			v.Unfit = readOnly
		case isFile(filepath.Join(m.point, "sources", "boot.wim")):
			v.Spare = bootedOf
		case goesAway(filepath.Join("/sys/dev/block", m.device)):
			v.Spare = removable
		}
		out = append(out, v)
	}
	return out, nil
}

// DirVolume makes a volume of a folder: its room is that of the volume which it is on.
func DirVolume(dir, label string) Volume {
	v := Volume{Root: dir, Label: label}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		v.Unfit = locked
		return v
	}
	v.Free = int64(st.Bavail) * st.Bsize
	if st.Type == unix.MSDOS_SUPER_MAGIC {
		v.Largest = fat32
	}
	return v
}

// mount is a line of mountinfo (proc(5)) that is of a disk.
type mount struct {
	device, point, source string
	readOnly              bool
}

// parseMounts keeps of each device the first mount, and what isn't of a device not at all.
//
//	id parent major:minor root point options [tags...] - kind source super-options
func parseMounts(text string) []mount {
	var out []mount
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 3 || !strings.HasPrefix(r[1], "/dev/") {
			continue
		}
		m := mount{device: l[2], point: unescape(l[4]), source: unescape(r[1])}
		m.readOnly = slices.Contains(strings.Split(l[5], ","), "ro") || slices.Contains(strings.Split(r[2], ","), "ro")
		if !slices.ContainsFunc(out, func(o mount) bool { return o.device == m.device }) {
			out = append(out, m)
		}
	}
	return out
}

// unescape undoes the octal escapes of blanks.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// readLabels returns the labels of block devices, by the devices' names. udev writes other characters as \x20.
func readLabels(dir string) map[string]string {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out
	}
	for _, e := range entries {
		if device, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name())); err == nil {
			out[device] = unhex(e.Name())
		}
	}
	return out
}

func unhex(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\x`) && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// goesAway reports whether a block device, or the disk that it is a part of, is removable or on USB.
func goesAway(device string) bool {
	real, err := filepath.EvalSymlinks(device)
	if err != nil {
		return false
	}
	return strings.Contains(real, "/usb") || strings.TrimSpace(attribute(real, "removable")) == "1" || strings.TrimSpace(attribute(filepath.Dir(real), "removable")) == "1"
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
