package machine

import (
	"io"
	"os"
	"path/filepath"
)

// ReadSystem reads what the kernel found in the firmware.
func ReadSystem() System { return readDMI("/sys/class/dmi/id") }

// readDMI reads the attributes of a directory; those of machines are root's to read.
func readDMI(dir string) System {
	return System{UUID: parseUUID(attribute(dir, "product_uuid")), Serial: usableSerial(attribute(dir, "product_serial"))}
}

// attribute reads a file of sysfs, none of which is larger than a page.
func attribute(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return ""
	}
	return string(b)
}
