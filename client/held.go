package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"wimcast/crypto"
)

// ErrChanged says that a finished FILE isn't the one any more that was proven.
var ErrChanged = errors.New("it was changed by another program since it was proven; receive it again")

// held is a finished FILE that is kept open. The zero value is none.
type held struct {
	file *os.File
	info fs.FileInfo // when it was finished
}

func (h *held) release() error {
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	h.file = nil
	return err
}

// Missing returns how many bytes of an image are still to be stored, as far as can be told before Begin: nothing where Options.Held finds a FILE of
// that size, which may turn out to be of another image.
func (f *File) Missing(size int64) (int64, error) {
	f.shape.RLock()
	defer f.shape.RUnlock()
	if f.closed {
		return 0, fmt.Errorf("receive %s: %w", f.path, ErrClosed)
	}
	if info, err := os.Lstat(f.path); f.opts.Held && err == nil && info.Size() == size && mayHold(f.path) {
		return 0, nil
	}
	allocated, err := f.part.Allocated()
	if err != nil {
		return 0, fmt.Errorf("receive %s: %w", f.path, err)
	}
	return max(0, size-allocated), nil
}

// mayHold reports whether an earlier try with Options.Held may have finished a file.
func mayHold(path string) bool {
	info, err := os.Lstat(path + doneSuffix)
	return err == nil && info.Mode().IsRegular()
}

// whole is the claim that everything is there. The caller holds saving and shape.
func (f *File) whole() []byte {
	m := haveMap{digest: f.digest, size: f.size, have: NewBitmap(f.blocks), manifest: f.last}
	for i := range f.blocks {
		m.have.Set(i)
	}
	return m.marshal()
}

// identity says which file FILE.part is; nil where a test has another one in its place.
func (f *File) identity() (fs.FileInfo, error) {
	part, ok := f.part.(osPart)
	if !ok {
		return nil, nil
	}
	return part.Stat()
}

// hold keeps the file that has just got its name, and nobody else can open for writing (Windows) or lock (Linux). proven is what it was
// before that. The caller holds saving and shape.
func (f *File) hold(proven fs.FileInfo) error {
	part, ok := f.part.(osPart)
	if !ok {
		return f.part.Close()
	}
	file, err := keep(part, f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && (!os.SameFile(proven, info) || info.Size() != f.size) {
		err = ErrChanged
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.held = held{file, info}
	return nil
}

// Unchanged says whether FILE is still the very file that was proven: nil, or an error that matches ErrChanged where it isn't. It is for a
// File that was finished with Options.Held and isn't closed.
func (f *File) Unchanged() error {
	f.shape.RLock()
	defer f.shape.RUnlock()
	if f.held.file == nil {
		return fmt.Errorf("use %s: %w", f.path, ErrClosed)
	}
	named, err := os.Lstat(f.path)
	if err != nil {
		return fmt.Errorf("use %s: %w: %w", f.path, ErrChanged, err)
	}
	now, err := f.held.file.Stat()
	if err != nil {
		return fmt.Errorf("use %s: %w", f.path, err)
	}
	if then := f.held.info; !os.SameFile(named, now) || now.Size() != then.Size() || !now.ModTime().Equal(then.ModTime()) {
		return fmt.Errorf("use %s: %w", f.path, ErrChanged)
	}
	return nil
}

// Finished returns the finished FILE, to read. It is closed by Close; nil without Options.Held, and before Finish.
func (f *File) Finished() *os.File {
	f.shape.RLock()
	defer f.shape.RUnlock()
	return f.held.file
}

// reclaim turns a FILE that was finished before into FILE.part again where it is of the image, so that all of it is claimed. The claim is
// in FILE.proven, and as much a hint as any other. A FILE of something else stays. The caller holds shape.
func (f *File) reclaim(digest crypto.Hash, size int64) error {
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	b, err := f.dir.read(f.name+doneSuffix, haveMapLimit(size))
	var claim *haveMap
	if err == nil {
		claim, err = parseHaveMap(b)
	}
	if err != nil || claim.digest != digest || claim.size != size || info.Size() != size {
		if f.opts.Overwrite {
			return nil
		}
		return fmt.Errorf("it is of another image: %w", ErrExists)
	}
	part, _, err := openPart(f.path)
	if err != nil {
		return err
	}
	// What there is of an earlier part file is of no use beside the whole image.
	err = f.part.Close()
	for _, suffix := range []string{haveSuffix, partSuffix} {
		if err == nil {
			err = f.dir.remove(f.name + suffix)
		}
	}
	if err == nil {
		err = f.dir.renameNew(f.name, f.name+partSuffix)
	}
	f.part = part // the old one is closed
	if err != nil {
		return err
	}
	f.notice("%s is there from an earlier try; proving it again", f.path)
	return f.dir.sync()
}

// Names returns the base names of all files that there may be for a FILE of that base name.
func Names(name string) []string {
	return []string{name, name + partSuffix, name + haveSuffix, name + tempSuffix, name + doneSuffix}
}
