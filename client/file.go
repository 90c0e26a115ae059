package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"wimcast/client/volume"
	"wimcast/crypto"
)

// Names beside the target.
const (
	partSuffix = ".part"
	haveSuffix = ".part.have"
	tempSuffix = ".part.have.tmp"
	doneSuffix = ".proven" // of a FILE that was finished with Options.Held
)

var (
	// ErrExists says that the target is there already and Overwrite wasn't asked for.
	ErrExists = errors.New("it exists already; remove it, choose another name, or ask to overwrite it")
	// ErrLocked says that another process writes the same target.
	ErrLocked = errors.New("another wimcast writes this file; wait for it to end or choose another name")
	// ErrClosed says that the File was finished or closed before.
	ErrClosed = errors.New("the file is closed")
)

// errNotBegun is a misuse that is reported rather than paniced about, as blocks
// come from the network.
var errNotBegun = errors.New("no image has begun")

// Options of OpenFile. The zero value works.
type Options struct {
	// Overwrite lets Finish replace a FILE that exists. It stays untouched until then.
	Overwrite bool
	// Held keeps the finished FILE open until Close, and locked, so that nobody changes what was proven while it is used (Unchanged). And a
	// FILE that an earlier try with Held finished is taken again where the image is the same: all of it is claimed, to be proven again.
	// FILE.proven beside it says what it is.
	Held bool
	// Notice hears one sentence about each thing that isn't an error but a person
	// should know, such as a part file that had to be replaced. It is called from
	// within Begin. nil: nobody hears.
	Notice func(text string)
}

// File is the target of one download: FILE.part with its have-map, which becomes
// FILE. All methods are safe for concurrent use; Begin, Finish and Close wait
// for the others to end. A File that isn't finished must be closed.
type File struct {
	path   string // FILE, as the caller named it
	name   string // its base name
	opts   Options
	dir    directory
	part   partFile
	shape  sync.RWMutex // held for reading by all that reads or writes content
	begun  bool
	closed bool
	digest crypto.Hash
	size   int64 // of the image
	blocks int

	saving sync.Mutex // one checkpoint at a time
	broken error      // why nothing can be made durable any more; under saving
	last   []byte     // manifest of the latest claim, for FILE.proven; under saving
	held   held       // the finished FILE, with Options.Held
}

// OpenFile opens FILE.part beside path, or makes it, and locks it against other
// processes. Nothing is written before Begin. The directory must exist. Errors
// match ErrExists, ErrLocked, fs.ErrNotExist or fs.ErrPermission where one fits.
func OpenFile(path string, opts Options) (*File, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if name == "" || name == "." || name == ".." {
		return nil, fmt.Errorf("open %s: not the name of a file", path)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open %s: there is no directory %s, make it first: %w", path, dir, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	case !info.IsDir():
		return nil, fmt.Errorf("open %s: %s is not a directory", path, dir)
	}
	existing := opts.Overwrite || opts.Held && mayHold(path)
	if err := refuse(path, path, existing); err != nil {
		return nil, err
	}
	if err := refuse(path, path+partSuffix, true); err != nil {
		return nil, err
	}
	part, created, err := openPart(path + partSuffix)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: no permission to write in %s, choose another directory: %w", path, dir, err)
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// Again, now that nobody else can make it from the part file.
	if err := refuse(path, path, existing); err != nil {
		_ = part.Close()
		if created {
			_ = os.Remove(path + partSuffix)
		}
		return nil, err
	}
	return newFile(path, name, opts, osDirectory(dir), part), nil
}

func newFile(path, name string, opts Options, dir directory, part partFile) *File {
	return &File{path: path, name: name, opts: opts, dir: dir, part: part}
}

// refuse says why a name can't be written to. What exists must be a regular
// file, and may be one only where existing is allowed.
func refuse(target, name string, existing bool) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open %s: %w", target, err)
	case info.IsDir():
		return fmt.Errorf("open %s: %s is a directory; name a file in it", target, name)
	case !info.Mode().IsRegular():
		return fmt.Errorf("open %s: %s is not a regular file", target, name)
	case !existing:
		return fmt.Errorf("open %s: %w", target, ErrExists)
	}
	return nil
}

// Path returns the target's name as OpenFile was given it.
func (f *File) Path() string { return f.path }

// Begin prepares for an image of size bytes whose content is named by digest. It
// returns the blocks that an earlier try claims to have stored, in order (a
// hint: hash each before it counts), and the marshalled manifest if it was kept;
// the manifest fits the digest. What another image left in the part file is
// replaced, and Options.Notice hears of it.
//
// Nothing is written unless the volume has space for what is missing; the error
// is a *SpaceError otherwise. Begin may be called again, as when the server was
// restarted: for the same content nothing that was written is lost, and the
// claim is that of the latest Checkpoint.
func (f *File) Begin(digest crypto.Hash, size int64) (claimed iter.Seq[int], manifest []byte, err error) {
	f.shape.Lock()
	defer f.shape.Unlock()
	switch {
	case f.closed:
		return nil, nil, fmt.Errorf("begin %s: %w", f.path, ErrClosed)
	case size < 0 || size > crypto.MaxImageSize:
		return nil, nil, fmt.Errorf("begin %s: an image of %d bytes", f.path, size)
	}
	if f.opts.Held && !f.begun {
		if err := f.reclaim(digest, size); err != nil {
			return nil, nil, fmt.Errorf("begin %s: %w", f.path, err)
		}
	}
	length, err := f.part.Size()
	if err != nil {
		return nil, nil, fmt.Errorf("begin %s: %w", f.path, err)
	}
	if err := f.fits(size); err != nil {
		return nil, nil, err
	}
	again := f.begun && f.digest == digest && f.size == size
	kept := f.kept(digest, size, length, again)
	if kept == nil && !again { // what was written since the first Begin stays, claimed or not
		if err := f.reset(size); err != nil {
			return nil, nil, f.explain("begin", err)
		}
	}
	if kept == nil {
		kept = &haveMap{have: NewBitmap(crypto.BlockCount(size))}
	}
	f.digest, f.size, f.blocks, f.begun = digest, size, crypto.BlockCount(size), true
	if len(kept.manifest) > 0 {
		manifest = kept.manifest
	}
	return kept.have.All(), manifest, nil
}

// fits compares what the image still needs with what the volume has. What the
// part file takes now counts for it: it is either kept or given back.
func (f *File) fits(size int64) error {
	v, err := f.dir.volume()
	if err != nil {
		return fmt.Errorf("begin %s: %w", f.path, err)
	}
	if v.Largest > 0 && size > v.Largest {
		return fmt.Errorf("begin %s: the volume is %s, whose files end at %s, and the image has %s; choose an NTFS volume or the like",
			f.path, v.Kind, volume.Figure(v.Largest), volume.Figure(size))
	}
	allocated, err := f.part.Allocated()
	if err != nil {
		return fmt.Errorf("begin %s: %w", f.path, err)
	}
	// The have-map is there twice while it is being replaced.
	need := max(0, size-allocated) + 2*haveMapLimit(size)
	if f.opts.Held {
		need += haveMapLimit(size) // FILE.proven
	}
	if v.Free >= 0 && need > v.Free {
		return &SpaceError{Path: f.path, Need: need, Free: v.Free}
	}
	return nil
}

// kept returns what the have-map beside the part file says if it can be used for
// the image, nil otherwise. length is the part file's; again says that this very
// File began with the image before, so that a missing have-map is no news.
func (f *File) kept(digest crypto.Hash, size, length int64, again bool) *haveMap {
	// Ours is never longer. Another image's may be: then it is of no use anyway.
	b, err := f.dir.read(f.name+haveSuffix, haveMapLimit(max(size, min(length, crypto.MaxImageSize))))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = f.dir.read(f.name+doneSuffix, haveMapLimit(size)) // it was finished once
	}
	if errors.Is(err, fs.ErrNotExist) {
		if length > 0 && !again {
			f.notice("%s has no have-map beside it: what it holds is replaced", f.path+partSuffix)
		}
		return nil
	}
	if length == 0 && size > 0 {
		return nil // left over by an image that was finished
	}
	var m *haveMap
	if err == nil {
		m, err = parseHaveMap(b)
	}
	switch {
	case err != nil:
		f.notice("the have-map %s can't be used, starting from nothing: %v", f.path+haveSuffix, err)
		return nil
	case m.digest != digest || m.size != size:
		f.notice("%s held %d of %d blocks of other content (digest %v): replaced", f.path+partSuffix, m.have.Count(), m.have.Len(), m.digest)
		return nil
	case length != size:
		f.notice("%s has %d bytes where the image has %d, starting from nothing", f.path+partSuffix, length, size)
		return nil
	}
	if len(m.manifest) > 0 && crypto.Digest(size, crypto.Roots(m.manifest)) != digest {
		f.notice("the manifest in %s doesn't fit its digest: it will be fetched again", f.path+haveSuffix)
		m.manifest = nil
	}
	return m
}

// reset empties the part file and makes it as long as the image, with one hole
// in it. The old claim goes first.
func (f *File) reset(size int64) error {
	for _, claim := range []string{haveSuffix, doneSuffix} {
		if err := f.dir.remove(f.name + claim); err != nil {
			return err
		}
	}
	if err := f.dir.sync(); err != nil {
		return err
	}
	if err := f.part.Truncate(0); err != nil {
		return err
	}
	if p, ok := f.part.(osPart); ok {
		p.sparse()
	}
	return f.part.Truncate(size)
}

func (f *File) notice(format string, args ...any) {
	if f.opts.Notice != nil {
		f.opts.Notice(fmt.Sprintf(format, args...))
	}
}

// Checkpoint makes all blocks durable that were written before the call, and
// then the claim that those in have are there; manifest is the marshalled
// manifest, or nil while it isn't whole. have must name only blocks whose
// WriteBlock (or WriteAt) returned before the call; it is read before anything
// is synced. After a crash either this claim holds or an earlier one.
//
// When a sync of the data failed, the system may have dropped what it couldn't
// write: all later calls fail then, Finish too.
func (f *File) Checkpoint(have iter.Seq[int], manifest []byte) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.shape.RLock()
	defer f.shape.RUnlock()
	if err := f.usable(); err != nil {
		return fmt.Errorf("checkpoint %s: %w", f.path, err)
	}
	if n := int64(len(manifest)); n != 0 && n != crypto.ManifestLen(f.size) {
		return fmt.Errorf("checkpoint %s: a manifest of %d bytes for an image of %d", f.path, n, f.size)
	}
	claim := haveMap{digest: f.digest, size: f.size, have: NewBitmap(f.blocks), manifest: manifest}
	for i := range have {
		if i < 0 || i >= f.blocks {
			return fmt.Errorf("checkpoint %s: block %d of %d", f.path, i, f.blocks)
		}
		claim.have.Set(i)
	}
	if err := f.datasync(); err != nil {
		return f.explain("checkpoint", err)
	}
	if err := f.replaceHaveMap(haveSuffix, claim.marshal()); err != nil {
		return f.explain("checkpoint", fmt.Errorf("have-map: %w", err))
	}
	if f.opts.Held && len(manifest) > 0 {
		f.last = manifest
	}
	return nil
}

// usable says why the file can't be written. The caller holds shape.
func (f *File) usable() error {
	switch {
	case f.closed:
		return ErrClosed
	case !f.begun:
		return errNotBegun
	}
	return nil
}

// datasync syncs the part file; its first failure is its last. The caller holds saving.
func (f *File) datasync() error {
	if f.broken == nil {
		if err := f.part.Datasync(); err != nil {
			f.broken = fmt.Errorf("sync: %w", err)
		}
	}
	return f.broken
}

// replaceHaveMap swaps the have-map of that suffix for b in one step.
func (f *File) replaceHaveMap(suffix string, b []byte) error {
	w, err := f.dir.create(f.name + tempSuffix)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err == nil {
		err = w.Sync()
	}
	if e := w.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = f.dir.rename(f.name+tempSuffix, f.name+suffix)
	}
	if err != nil {
		_ = f.dir.remove(f.name + tempSuffix)
		return err
	}
	return f.dir.sync()
}

// Finish makes the part file durable and renames it to FILE in one step, then
// removes the have-map and closes (with Options.Held it keeps the file open). Call it once every block is proven. On an
// error FILE is as it was, and the part file, its have-map and the lock are kept.
func (f *File) Finish() error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.shape.Lock()
	defer f.shape.Unlock()
	if err := f.usable(); err != nil {
		return fmt.Errorf("finish %s: %w", f.path, err)
	}
	length, err := f.part.Size()
	if err == nil && length != f.size {
		err = fmt.Errorf("%s has %d bytes where the image has %d; another program changed it", f.path+partSuffix, length, f.size)
	}
	if err != nil {
		return fmt.Errorf("finish %s: %w", f.path, err)
	}
	if err := f.datasync(); err != nil {
		return f.explain("finish", err)
	}
	var proven fs.FileInfo
	if f.opts.Held {
		proven, err = f.identity()
		err = errors.Join(err, f.replaceHaveMap(doneSuffix, f.whole()))
	} else {
		err = f.dir.remove(f.name + doneSuffix)
	}
	if err != nil {
		return f.explain("finish", err)
	}
	move := f.dir.renameNew
	if f.opts.Overwrite {
		move = f.dir.rename
	}
	if err := move(f.name+partSuffix, f.name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return fmt.Errorf("finish %s: the image is whole in %s but can't take its name: %w", f.path, f.path+partSuffix, err)
	}
	// The image is in place; what remains to be done can't take it back.
	f.closed = true
	err = f.dir.sync()
	_ = f.dir.remove(f.name + haveSuffix)
	if f.opts.Held {
		if e := f.hold(proven); err == nil {
			err = e
		}
	} else if e := f.part.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("finish %s: it has its name, but power loss may take it back: %w", f.path, err)
	}
	return nil
}

// Close lets go of the target and keeps part file and have-map for another try;
// a part file that no image ever began in is removed. Closing twice does nothing; after
// Finish it lets go of what Options.Held keeps.
func (f *File) Close() error {
	f.shape.Lock()
	defer f.shape.Unlock()
	if f.closed {
		return f.held.release()
	}
	f.closed = true
	if length, err := f.part.Size(); err == nil && length == 0 && !f.begun {
		_ = f.dir.remove(f.name + partSuffix)
	}
	if err := f.part.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

var (
	_ io.ReaderAt = (*File)(nil)
	_ io.WriterAt = (*File)(nil)
)
