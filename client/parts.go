package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"wimcast/crypto"
)

// Part is what an earlier try left of an image in a folder: FILE.part and its have-map.
type Part struct {
	File   string      // base name of FILE
	Digest crypto.Hash // of the image
	Size   int64       // of the image, in bytes
	Held   int64       // bytes that the have-map claims; a hint, as OpenFile's Begin hashes them again
}

// partsMost is how many have-maps of one folder are looked at: a work folder has a few.
const partsMost = 64

// Parts finds the parts of images in a folder, the ones with most claimed first. A folder that isn't there has none. What can't be
// read, or doesn't fit together, is none: OpenFile says so when it is asked for.
func Parts(dir string) ([]Part, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for parts: %w", err)
	}
	defer func() { _ = root.Close() }()
	names, err := readNames(root)
	if err != nil {
		return nil, fmt.Errorf("look for parts: %s: %w", filepath.Clean(dir), err)
	}
	var out []Part
	looked := 0
	for _, name := range names {
		file, is := strings.CutSuffix(name, haveSuffix)
		if !is || file == "" {
			continue
		}
		if looked++; looked > partsMost {
			break
		}
		if p, ok := readPart(root, file); ok {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b Part) int { return int(min(max(b.Held-a.Held, -1), 1)) })
	return out, nil
}

// readNames lists a folder, in order.
func readNames(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func readPart(root *os.Root, file string) (Part, bool) {
	info, err := root.Lstat(file + partSuffix)
	if err != nil || !info.Mode().IsRegular() || info.Size() > crypto.MaxImageSize {
		return Part{}, false
	}
	named, err := root.Lstat(file + haveSuffix)
	if err != nil || !named.Mode().IsRegular() || named.Size() > haveMapLimit(info.Size()) {
		return Part{}, false
	}
	f, err := root.Open(file + haveSuffix)
	if err != nil {
		return Part{}, false
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, haveMapLimit(info.Size())))
	if err != nil {
		return Part{}, false
	}
	m, err := parseHaveMap(b)
	if err != nil || m.size != info.Size() {
		return Part{}, false
	}
	return Part{File: file, Digest: m.digest, Size: m.size, Held: min(int64(m.have.Count())*crypto.BlockSize, m.size)}, true
}
