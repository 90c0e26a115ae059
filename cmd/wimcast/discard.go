package main

import (
	"errors"
	"iter"
	"os"

	"wimcast/crypto"
	"wimcast/session"
)

// discard is the target of `get --discard`: blocks are proven by the session as always, and then thrown away. So a
// test can receive an image that no disk here would hold.
type discard struct {
	spilled *os.File // symbols of blocks that aren't whole, at their places; nil while there are none
}

var _ session.Target = (*discard)(nil)

// Begin implements session.Target.
func (*discard) Begin(crypto.Hash, int64) (iter.Seq[int], []byte, error) { return nil, nil, nil }

// WriteBlock implements session.Target.
func (*discard) WriteBlock(int, []byte) error { return nil }

// ReadBlock implements session.Target.
func (*discard) ReadBlock(int, []byte) (int, error) { return 0, errors.New("nothing is kept") }

// WriteAt implements session.Target.
func (d *discard) WriteAt(p []byte, off int64) (int, error) {
	if d.spilled == nil {
		f, err := os.CreateTemp("", "wimcast-discard-")
		if err != nil {
			return 0, err
		}
		d.spilled = f
	}
	return d.spilled.WriteAt(p, off)
}

// ReadAt implements session.Target.
func (d *discard) ReadAt(p []byte, off int64) (int, error) {
	if d.spilled == nil {
		return 0, errors.New("nothing is kept")
	}
	return d.spilled.ReadAt(p, off)
}

// Checkpoint implements session.Target.
func (*discard) Checkpoint(iter.Seq[int], []byte) error { return nil }

// Finish implements session.Target.
func (*discard) Finish() error { return nil }

// Close removes what was spilled.
func (d *discard) Close() error {
	if d.spilled == nil {
		return nil
	}
	return errors.Join(d.spilled.Close(), os.Remove(d.spilled.Name()))
}
