package apply

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

// readBounded reads a file of at most limit bytes.
func readBounded(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d expected", name, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// syncDir makes renames in a folder durable. On Windows a folder can't be synced.
func syncDir(root *os.Root) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}
