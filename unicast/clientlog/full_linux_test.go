package clientlog

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"wimcast/test/smalldisk"
)

// TestDiskFull stores reports on a real volume of 1 MiB.
func TestDiskFull(t *testing.T) { smalldisk.Run(t, "1m", onSmallDisk) }

func onSmallDisk(t *testing.T, dir string) {
	s, err := Open(dir, 0, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept := put(t, s, time.Now(), "10.0.0.1", "pc01", 100_000)
	_, err = s.Add(time.Now(), Entry{}, 2<<20, func(_ *Entry, create func(string, io.Reader) error) error {
		if err := create(OwnLog, bytes.NewReader(make([]byte, 200_000))); err != nil {
			return err
		}
		return create("dism.log", bytes.NewReader(make([]byte, 2<<20)))
	})
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("%v", err)
	}
	if names := left(t, dir); len(names) != 1 || names[0] != kept.ID {
		t.Errorf("left are %q", names)
	}
	put(t, s, time.Now(), "10.0.0.1", "pc02", 100_000) // there is room again
}
