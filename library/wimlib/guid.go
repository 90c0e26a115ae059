package wimlib

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Available says whether wimlib-imagex can be run here: nil, or ErrMissing.
func Available() error {
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		return ErrMissing
	}
	return nil
}

// Places in the header (package library/wim).
const (
	headerSize = 208
	guidAt     = 24
	magicSize  = 8
)

// SetGUID gives a WIM another GUID. wimlib-imagex draws one at random for each new file, and writes the rest alike for
// the same input: with a GUID that depends on the input, so does the whole file. Neither integrity table nor XML cover it. The
// last header of a pipable file is changed as well.
func SetGUID(file string, guid [16]byte) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("set GUID: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("set GUID: %s: %w", file, err)
		}
	}()
	magic := make([]byte, magicSize)
	if _, err := f.ReadAt(magic, 0); err != nil {
		return err
	}
	places := []int64{guidAt}
	switch {
	case bytes.Equal(magic, []byte("MSWIM\x00\x00\x00")):
	case bytes.Equal(magic, []byte("WLPWM\x00\x00\x00")):
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		places = append(places, end-headerSize+guidAt)
	default:
		return errors.New("not a WIM file")
	}
	for _, at := range places {
		if _, err := f.WriteAt(guid[:], at); err != nil {
			return err
		}
	}
	return nil
}
