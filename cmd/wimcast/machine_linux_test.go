package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadDMI(t *testing.T) {
	dir := t.TempDir()
	if got := readDMI(dir); got != (system{}) {
		t.Errorf("out of nothing: %+v", got)
	}
	for name, text := range map[string]string{"product_uuid": "00112233-4455-6677-8899-aabbccddeeff\n", "product_serial": "PC-0042\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := system{printedUUID, "PC-0042"}
	if got := readDMI(dir); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "product_serial"), make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readDMI(dir); got.serial != "" || got.uuid != printedUUID {
		t.Errorf("with a huge serial number: %+v", got)
	}
}

// TestThisMachine: the firmware's word goes into the join as it is.
func TestThisMachine(t *testing.T) {
	m, firmware := thisMachine("pc01"), readSystem()
	if m.Host != "pc01" || m.UUID != firmware.uuid || m.Serial != firmware.serial {
		t.Errorf("%+v, the firmware says %+v", m, firmware)
	}
	if thisMachine("").Host == "" {
		t.Error("no host name")
	}
}
