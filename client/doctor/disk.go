package doctor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"wimcast/multicast/fault"
)

// Constants of the disk's test.
const (
	diskTime  = 2 * time.Second
	diskMost  = 256 << 20 // bytes
	diskPiece = 4 << 20   // bytes at a time, as a client syncs less often
)

// disk says how fast the folder takes data.
func (e *examination) disk() {
	if e.Folder == "" {
		e.say(Skip, "disk", "not tried; name the folder that images go to: --output DIR")
		return
	}
	rate, err := writeRate(e.Folder)
	switch {
	case err != nil:
		e.fault(Fail, "disk", fault.DiskFailed(e.Folder, err))
	case e.ceiling > 0 && rate < float64(e.ceiling):
		e.fault(Warn, "disk", fault.DiskSlow(e.Folder, rate, float64(e.ceiling)))
	default:
		e.say(OK, "disk", "%s takes %.0f MB/s", e.Folder, rate/1e6)
	}
}

// writeRate writes a file into a folder for a while, to the disk itself, removes it and returns bytes/s.
func writeRate(folder string) (rate float64, err error) {
	f, err := os.CreateTemp(folder, ".wimcast-doctor-*")
	if err != nil {
		return 0, fmt.Errorf("try the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	piece := make([]byte, diskPiece)
	_, _ = rand.Read(piece) // a disk may compress zeros away
	written := 0
	start := time.Now()
	for written < diskMost && time.Since(start) < diskTime/2 {
		n, err := f.Write(piece)
		written += n
		if err != nil {
			return 0, fmt.Errorf("try the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("try the disk: %w", err)
		}
	}
	return float64(written) / max(time.Since(start), time.Microsecond).Seconds(), nil
}
