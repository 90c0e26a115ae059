package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wimcast/crypto"
	"wimcast/test/smalldisk"
)

// A real volume of 4 MiB: too small at first, then filled behind our back.
func TestFullDisk(t *testing.T) { smalldisk.Run(t, "4m", fillDisk) }

func fillDisk(t *testing.T, dir string) {
	path := filepath.Join(dir, "x.wim")
	f := mustOpen(t, path, Options{})
	_, _, err := f.Begin(crypto.Hash{}, 5<<20)
	space, is := errors.AsType[*SpaceError](err)
	if !is || space.Free != 4<<20 || space.Need < 5<<20 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("an image of 5 MiB on a volume of 4: %v", err)
	}
	im := makeImage(10*crypto.BlockSize, 14)
	mustBegin(t, f, im)
	mustWrite(t, f, im, 0)
	have := NewBitmap(im.blocks())
	have.Set(0)
	if err := f.Checkpoint(have.All(), im.manifest); err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = filler.Write(make([]byte, 4096))
	}
	if err := filler.Close(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	err = f.WriteBlock(5, im.block(5))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatalf("write on a full disk: %v", err)
	}
	have.Set(1)
	if err := f.Checkpoint(have.All(), im.manifest); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("checkpoint on a full disk: %v", err)
	}
	// The earlier claim outlives the one that had no room.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	checkListing(t, dir, "filler", "x.wim.part", "x.wim.part.have")
	f = mustOpen(t, path, Options{})
	if _, _, err := f.Begin(im.digest, im.size()); err == nil {
		t.Fatal("begin on a full disk: no error")
	}
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	if claimed, _ := mustBegin(t, f, im); len(claimed) != 1 || claimed[0] != 0 {
		t.Fatalf("claimed %v", claimed)
	}
}
