package main

import (
	"io"
	"os"
	"path/filepath"
)

// readSystem reads what the kernel found in the firmware.
func readSystem() system { return readDMI("/sys/class/dmi/id") }

// readDMI reads the attributes of a directory; those of machines are root's to read.
func readDMI(dir string) system {
	return system{uuid: parseUUID(attribute(dir, "product_uuid")), serial: usableSerial(attribute(dir, "product_serial"))}
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
