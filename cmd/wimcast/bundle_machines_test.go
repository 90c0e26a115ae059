package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadMachines(t *testing.T) {
	const uuid = "4c4c4544-0044-4a10-8054-b3c04f4e4d31"
	for text, want := range map[string]string{
		"pc01\npc02," + uuid + "\n":                          "pc01= pc02=" + uuid,
		"\ufeffName,UUID\r\n# a comment\r\n\r\n pc01 , \r\n": "pc01=",
		"":                         "!0 machines",
		"name\n":                   "!0 machines",
		"pc01\nPC01\n":             "!line 2: \"PC01\" would be written to the same file as line 1",
		"a/b\na:b\n":               "!line 2",
		"pc01,x\n":                 "!line 1: \"x\" isn't a UUID",
		"pc01," + uuid + ",more\n": "!line 1: 3 fields",
		"," + uuid + "\n":          "!line 1: no name",
		"pc01,ffffffff-ffff-ffff-ffff-ffffffffffff\n": "!what machines have that have none",
		"pc01\n\"open\n": "!",
	} {
		path := filepath.Join(t.TempDir(), "list.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readMachines(path)
		if says, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%q: %v, want %s", text, err, says)
			}
			continue
		}
		var got []string
		for _, m := range list {
			got = append(got, m.name+"="+m.uuid)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %s", text, got, err, want)
		}
	}
}

func TestWriteWhole(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.WriteFile(".new-a.join", []byte("of a run that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(root, "a.join", "one"); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(root, "a.join", "two"); err == nil {
		t.Error("a file that is there was written over")
	}
	if text, err := root.ReadFile("a.join"); err != nil || string(text) != "one" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := root.Lstat(".new-a.join"); err == nil {
		t.Error("the temporary file is left")
	}
}
