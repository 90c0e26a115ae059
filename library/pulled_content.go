package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/release"
)

// openChunks is how many files of chunks a content keeps open: a cast reads in order, and its repairs reach back a little.
const openChunks = 8

// openPulled opens the content of a pulled package.
func (l *Library) openPulled(p *Package) (*Content, error) {
	if p.release == nil {
		return nil, l.damaged(p, errors.New("what is in it isn't known"))
	}
	c := &Content{library: l, pkg: *p, block: -1}
	l.mu.Lock()
	l.reading[c] = struct{}{} // before anything is read: what is there stays
	l.mu.Unlock()
	var err error
	if c.blocks, c.manifest, err = l.openChunks(p); err != nil {
		return nil, errors.Join(l.damaged(p, err), l.closed(c))
	}
	return c, nil
}

func (l *Library) openChunks(p *Package) (*chunks, *crypto.Manifest, error) {
	sealer, err := l.sealer(&p.stored)
	if err != nil {
		return nil, nil, err
	}
	manifest, err := l.readPulledManifest(p, sealer)
	if err != nil {
		return nil, nil, err
	}
	dir, err := l.root.OpenRoot(blobDir)
	if err != nil {
		return nil, nil, err
	}
	return &chunks{layout: p.release.Layout(), names: p.chunks, sealer: sealer, dir: dir}, manifest, nil
}

// readPulledManifest reads the manifest of blocks of a pulled content and proves it.
func (l *Library) readPulledManifest(p *Package, sealer *release.Sealer) (*crypto.Manifest, error) {
	b, err := l.readBlob(&p.manifest, p.release.Layout().ManifestLen())
	if err == nil && sealer != nil {
		b, err = sealer.Open(nil, release.ManifestPlace, b)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return proveManifest(p, b)
}

// closed says that a content of a pulled package is read no more.
func (l *Library) closed(c *Content) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.reading[c]; !open {
		return nil
	}
	delete(l.reading, c)
	for i := range l.packages {
		if l.packages[i].oci.Digest == c.pkg.oci.Digest {
			return nil
		}
	}
	if err := l.sweep(); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("sweep after package %s: %w", c.pkg.Reference(), err)
	}
	return nil
}

// chunks is a content that lies in chunks, sealed or not. It is safe for concurrent use.
type chunks struct {
	layout release.Layout
	names  []v1.Descriptor
	sealer *release.Sealer // nil where they aren't sealed
	dir    *os.Root        // of the blobs; it outlives the library's

	mu    sync.Mutex
	files []*chunkFile // that are open, the one used last at the end
}

// chunkFile is an open chunk.
type chunkFile struct {
	*os.File
	chunk int
	users int
	out   bool // of the list: the last user closes it
}

// sealedBlocks are buffers for blocks as they are stored.
var sealedBlocks = sync.Pool{New: func() any { b := make([]byte, crypto.BlockSize+release.Overhead); return &b }}

func (c *chunks) readBlock(i int, dst []byte) error {
	chunk, offset, length := c.layout.Find(i)
	f, err := c.take(chunk)
	if err != nil {
		return err
	}
	defer c.give(f)
	if c.sealer == nil {
		if n, err := f.ReadAt(dst, offset); n < len(dst) {
			return err
		}
		return nil
	}
	buf := sealedBlocks.Get().(*[]byte) //nolint:forcetypeassert // of our own pool
	defer sealedBlocks.Put(buf)
	sealed := (*buf)[:length]
	if n, err := f.ReadAt(sealed, offset); n < length {
		return err
	}
	// Only into dst, whatever is behind it.
	if _, err := c.sealer.Open(dst[:0:len(dst)], uint64(i), sealed); err != nil {
		return fmt.Errorf("block %d: %w", i, err)
	}
	return nil
}

// take returns an open chunk, which the caller gives back.
func (c *chunks) take(chunk int) (*chunkFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.files {
		if f.chunk == chunk {
			f.users++
			c.files = append(append(c.files[:i], c.files[i+1:]...), f)
			return f, nil
		}
	}
	file, err := c.dir.Open(c.names[chunk].Digest.Encoded())
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("chunk %d of %d is missing", chunk, len(c.names))
	}
	if err != nil {
		return nil, err
	}
	f := &chunkFile{File: file, chunk: chunk, users: 1}
	if c.files = append(c.files, f); len(c.files) > openChunks {
		c.drop(c.files[0])
		c.files = c.files[1:]
	}
	return f, nil
}

// drop lets go of a file that is out of the list. mu must be held.
func (c *chunks) drop(f *chunkFile) {
	f.out = true
	if f.users == 0 {
		_ = f.Close()
	}
}

func (c *chunks) give(f *chunkFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.users--; f.users == 0 && f.out {
		_ = f.Close()
	}
}

func (c *chunks) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.files {
		c.drop(f)
	}
	c.files = nil
	return c.dir.Close()
}

var (
	_ blocks    = (*chunks)(nil)
	_ blocks    = wholeFile{}
	_ io.Closer = (*Content)(nil)
)
