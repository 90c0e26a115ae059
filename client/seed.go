package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"wimcast/crypto"
	"wimcast/library/wim"
)

// Seed is a file that may hold much of an image already: an older version of it, or another export of the same files. It may as well be
// anything else, cut off, or change while it is read: all that comes of it is a guess. For a block there are two: the bytes at the same
// offset, as wimlib and DISM append what changes; and, once the image's own lookup table is there, resources that stand elsewhere in the
// seed, put together. It is not safe for concurrent use.
type Seed struct {
	path string
	file *os.File
	size int64
	wim  *wim.File // nil: it is none, so that there are no resources to look for

	image  int64       // bytes of the image
	ranges []wim.Range // of the image, to be found in the seed
	same   *Bitmap     // blocks whose bytes at the same offset were given,
	moved  *Bitmap     // and those put together from elsewhere
}

// OpenSeed opens a file to read, and its tables if it is a WIM. Errors match fs.ErrNotExist or fs.ErrPermission where one fits.
func OpenSeed(path string) (*Seed, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	var file *os.File
	if err == nil {
		file, err = os.Open(path)
	}
	if err != nil {
		if pathError, is := errors.AsType[*fs.PathError](err); is {
			err = pathError.Err
		}
		return nil, fmt.Errorf("open seed %s: %w; next: name a WIM that is there, or leave --seed out", path, err)
	}
	s := &Seed{path: path, file: file, size: info.Size()}
	if w, err := wim.OpenHeader(file, s.size); err == nil {
		s.wim = w // of anything else blocks may fit all the same
	}
	return s, nil
}

// Close lets go of the file.
func (s *Seed) Close() error { return s.file.Close() }

// Begin prepares for an image of size bytes. It returns which blocks of the image the seed would like to see first: those with its header.
func (s *Seed) Begin(size int64) (wants []int, err error) {
	if size < 0 || size > crypto.MaxImageSize {
		return nil, fmt.Errorf("seed %s: an image of %d bytes", s.path, size)
	}
	n := crypto.BlockCount(size)
	s.image, s.ranges, s.same, s.moved = size, nil, NewBitmap(n), NewBitmap(n)
	if s.wim == nil || n == 0 {
		return nil, nil
	}
	return []int{0}, nil
}

// Learn reads the image's header and lookup table as far as image has them, and returns which blocks with more of them it wants to
// see next: none when the table has been read, and when one of the two tables is missing or damaged. Then there are no guesses but
// those at the same offset; that is no error.
func (s *Seed) Learn(image io.ReaderAt) (wants []int, err error) {
	if s.wim == nil {
		return nil, nil
	}
	view := &window{image: image, size: s.image}
	file, err := wim.OpenHeader(view, s.image)
	if view.missing != nil {
		return view.missing, nil
	}
	if err != nil {
		return nil, nil //nolint:nilerr // the image is no WIM: it is cast all the same
	}
	table := file.Header.Lookup
	if view.want(int64(table.Offset), int64(min(table.Size, uint64(s.image)))); view.missing != nil {
		return view.missing, nil
	}
	ranges, err := wim.Moved(file, s.wim)
	if err != nil {
		return nil, nil //nolint:nilerr // either table is damaged: nothing is found by it
	}
	s.ranges = ranges
	return nil, nil
}

// ReadBlock reads what may be block i of the image into dst, which has room for it, and returns the block's length. Each call for a block
// returns another guess, and 0 when there is none.
func (s *Seed) ReadBlock(i int, dst []byte) (int, error) {
	off, n := int64(i)*crypto.BlockSize, crypto.BlockLen(s.image, i)
	dst = dst[:n]
	if s.ranges != nil && s.moved.Set(i) {
		pieces := wim.Cover(s.ranges, uint64(off), uint64(n))
		if len(pieces) == 1 && pieces[0].From == uint64(off) {
			pieces = nil // at the same offset, see below
		}
		if len(pieces) > 0 {
			return s.read(i, dst, pieces)
		}
	}
	if s.same.Set(i) && off+int64(n) <= s.size {
		return s.read(i, dst, []wim.Range{{To: uint64(off), From: uint64(off), Length: uint64(n)}})
	}
	return 0, nil
}

// read puts a block together from pieces of the seed. One that ends before them has been cut off since it was opened: that is no guess.
func (s *Seed) read(i int, dst []byte, pieces []wim.Range) (int, error) {
	n := 0
	for _, p := range pieces {
		got, err := s.file.ReadAt(dst[n:n+int(p.Length)], int64(p.From))
		if n += got; got == int(p.Length) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		return 0, fmt.Errorf("seed %s: block %d: %w", s.path, i, err)
	}
	return n, nil
}

// window reads an image of which only some blocks are there, and notes which others it is asked for.
type window struct {
	image   io.ReaderAt
	size    int64
	missing []int
}

// ReadAt implements io.ReaderAt.
func (w *window) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.image.ReadAt(p, off)
	if err != nil {
		w.want(off, int64(len(p)))
	}
	return n, err
}

// want notes the blocks of a part of the image that aren't there.
func (w *window) want(off, n int64) {
	if off < 0 || n <= 0 || off >= w.size {
		return
	}
	var one [1]byte
	for i := off / crypto.BlockSize; i*crypto.BlockSize < min(off+n, w.size); i++ {
		if _, err := w.image.ReadAt(one[:], i*crypto.BlockSize); err != nil {
			w.missing = append(w.missing, int(i))
		}
	}
}
