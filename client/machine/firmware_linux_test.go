package machine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadDMI(t *testing.T) {
	dir := t.TempDir()
	if got := readDMI(dir); got != (System{}) {
		t.Errorf("out of nothing: %+v", got)
	}
	for name, text := range map[string]string{"product_uuid": "00112233-4455-6677-8899-aabbccddeeff\n", "product_serial": "PC-0042\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := System{printedUUID, "PC-0042"}
	if got := readDMI(dir); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "product_serial"), make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readDMI(dir); got.Serial != "" || got.UUID != printedUUID {
		t.Errorf("with a huge serial number: %+v", got)
	}
}
