package library

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"wimcast/crypto"
	"wimcast/test/smalldisk"
)

// TestDiskFull adds to a real volume of 4 MiB.
func TestDiskFull(t *testing.T) { smalldisk.Run(t, "4m", onSmallDisk) }

func onSmallDisk(t *testing.T, dir string) {
	l := openAt(t, dir)
	small, large := testWIM(2<<20, 1, "w"), testWIM(5<<20, 2, "w")
	add(t, l, small, "small", "")
	for what, size := range map[string]int64{"told before": int64(len(large)), "not told": 0} {
		_, _, err := l.Add(t.Context(), bytes.NewReader(large), AddOptions{Name: "large", Size: size})
		if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "wimcast image remove") {
			t.Errorf("%s: %v", what, err)
		}
		if n := len(blobs(t, dir)); n != 4 {
			t.Errorf("%s: %d blobs", what, n)
		}
	}
	holds(t, l, "small", small)
	free, err := l.FreeBytes()
	if err != nil || free == 0 || free > 2<<20 {
		t.Errorf("%d bytes free, %v", free, err)
	}
	// Full to the last byte: what changes nothing but words is refused too, and damage is told.
	filler, err := os.Create(dir + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = filler.Write(make([]byte, 4096))
	}
	_ = filler.Close()
	name := "renamed"
	if _, err := l.Change("small", Change{Name: &name}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("renamed on a full disk: %v", err)
	}
	p, err := l.Get("small")
	if err != nil {
		t.Fatal(err)
	}
	damage(t, contentFile(dir, &p), 1000)
	c, err := l.OpenContent("small")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var damaged *DamagedError
	if _, err := c.ReadBlock(0, make([]byte, crypto.BlockSize)); !errors.As(err, &damaged) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Change("small", Change{Name: &name}); err != nil {
		t.Error(err)
	}
}
