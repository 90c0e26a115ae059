package volume

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// TestKinds: what follows from a file system's name, however it is written.
func TestKinds(t *testing.T) {
	for kind, want := range map[string]Volume{
		"FAT32": {Largest: 4_294_967_295, Plain: true}, "fat": {Largest: 4_294_967_295, Plain: true}, "exFAT": {Plain: true},
		"NTFS": {}, "ReFS": {}, "": {},
	} {
		want.Kind = kind
		if got := (Volume{Kind: kind}).known(); got != want {
			t.Errorf("%q: %+v, want %+v", kind, got, want)
		}
	}
}

// TestOf: two folders of one volume have the same ID; one that isn't there is an error.
func TestOf(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	one, err := Of(a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Of(b)
	if err != nil || one.ID == "" || one.ID != two.ID || one.Free == 0 {
		t.Errorf("%+v and %+v, %v", one, two, err)
	}
	if _, err := Of(filepath.Join(a, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that isn't there: %v", err)
	}
}
