package library

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"wimcast/crypto"
)

// Content is the open content of a package. It never returns a byte that it hasn't proven
// in the same call. It is safe for concurrent use, and outlives the package's removal.
type Content struct {
	library  *Library
	pkg      Package
	blocks   blocks
	manifest *crypto.Manifest

	mu    sync.Mutex // of what follows, which serves ReadAt
	block int        // that is in buf
	buf   []byte     // nil until ReadAt is used
}

// blocks is where a content's blocks lie. It proves nothing.
type blocks interface {
	// readBlock reads block i into dst, which has its length.
	readBlock(i int, dst []byte) error
	close() error
}

// OpenContent opens the content of the package of a reference. A package that is out of service gives a
// *DamagedError, and so does one whose manifest turns out not to hold: it is out of service then.
// The caller closes the content.
func (l *Library) OpenContent(ref string) (*Content, error) {
	p, err := l.Get(ref)
	if err != nil {
		return nil, err
	}
	return l.openContent(&p)
}

// OpenDigest opens a content by its whole digest, whatever packages have it.
func (l *Library) OpenDigest(d crypto.Hash) (*Content, error) {
	l.mu.RLock()
	var p *Package
	for i := range l.packages {
		q := &l.packages[i] // a slice in use is never changed
		if q.Digest == d && (p == nil || p.OutOfService != "" && q.OutOfService == "" || p.Pulled() && !q.Pulled() && q.OutOfService == "") {
			p = q
		}
	}
	l.mu.RUnlock()
	if p == nil {
		return nil, &notFoundError{ref: d.String()}
	}
	return l.openContent(p)
}

func (l *Library) openContent(p *Package) (*Content, error) {
	if p.OutOfService != "" {
		return nil, &DamagedError{p.Reference(), p.OutOfService, p.Pulled()}
	}
	return l.openBlobs(p)
}

// openBlobs opens a content, in service or not.
func (l *Library) openBlobs(p *Package) (*Content, error) {
	if p.Pulled() {
		return l.openPulled(p)
	}
	manifest, err := l.readManifest(p)
	if err != nil {
		return nil, l.damaged(p, err)
	}
	f, err := l.root.Open(contentPath(p))
	if err != nil {
		return nil, l.damaged(p, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != p.Size {
		_ = f.Close()
		if err == nil {
			err = fmt.Errorf("its file has %d bytes, %d were added", info.Size(), p.Size)
		}
		return nil, l.damaged(p, err)
	}
	return &Content{library: l, pkg: *p, blocks: wholeFile{f}, manifest: manifest, block: -1}, nil
}

// readManifest reads the manifest of a content and proves it.
func (l *Library) readManifest(p *Package) (*crypto.Manifest, error) {
	if p.manifest.Digest == "" {
		return nil, errors.New("what is in it isn't known")
	}
	b, err := l.readBlob(&p.manifest, crypto.ManifestLen(p.Size))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return proveManifest(p, b)
}

// proveManifest reads the bytes of a manifest and holds them against the package.
func proveManifest(p *Package, b []byte) (*crypto.Manifest, error) {
	m, err := crypto.ParseManifest(b)
	if err != nil {
		return nil, err
	}
	if m.Digest() != p.Digest || m.SHA256 != p.SHA256 || m.Size != p.Size {
		return nil, errors.New("manifest: it isn't of this content")
	}
	return m, nil
}

// damaged takes a content out of service and returns the error that says so. An
// error that says nothing about the content, as of too many open files, is returned as it is.
func (l *Library) damaged(p *Package, cause error) error {
	if passing(cause) {
		return fmt.Errorf("read package %s: %w", p.Reference(), cause)
	}
	reason := printable(cause.Error())
	out := &DamagedError{p.Reference(), reason, p.Pulled()}
	if err := l.setService(p, reason); err != nil {
		return fmt.Errorf("%w (and it couldn't be noted for the next start: %w)", out, err)
	}
	return out
}

// printable bounds a reason, which may quote what stood in a file.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return s[:min(len(s), maxComment)]
}

// Size returns the content's size in bytes.
func (c *Content) Size() int64 { return c.pkg.Size }

// Digest returns the content's digest.
func (c *Content) Digest() crypto.Hash { return c.pkg.Digest }

// Path returns where the WIM file lies, for other programs that read it. What they read there isn't
// proven, nobody may write to it, and it goes with the content's last package. A pulled package has no such file: the
// error wraps ErrFromSite.
func (c *Content) Path() (string, error) {
	if c.pkg.Pulled() {
		return "", fmt.Errorf("package %s: %w and lies here in chunks; it is serviced and exported at the site", c.pkg.Reference(), ErrFromSite)
	}
	return filepath.Join(c.library.path, filepath.FromSlash(contentPath(&c.pkg))), nil
}

// Manifest returns the content's manifest, which nobody may change.
func (c *Content) Manifest() *crypto.Manifest { return c.manifest }

// ReadBlock reads block i into dst, which must have room for it, and returns its length. The
// bytes are proven. A block that doesn't hold gives a *DamagedError, and the package is out of service.
func (c *Content) ReadBlock(i int, dst []byte) (int, error) {
	n := crypto.BlockLen(c.pkg.Size, i)
	if err := c.blocks.readBlock(i, dst[:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("its file ends inside block %d of %d", i, len(c.manifest.Blocks))
		}
		return 0, c.library.damaged(&c.pkg, err)
	}
	if crypto.BlockHash(dst[:n]) != c.manifest.Blocks[i] {
		return 0, c.library.damaged(&c.pkg, fmt.Errorf("block %d of %d doesn't match its hash: the file was changed or the disk is failing", i, len(c.manifest.Blocks)))
	}
	return n, nil
}

// ReadAt implements io.ReaderAt with proven bytes. It reads whole blocks and keeps the
// last one; whoever reads in order reads each once.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	read := 0
	for read < len(p) {
		if off >= c.pkg.Size {
			return read, io.EOF
		}
		block, within := int(off/crypto.BlockSize), int(off%crypto.BlockSize)
		if block != c.block {
			if c.buf == nil {
				c.buf = make([]byte, crypto.BlockSize)
			}
			c.block = -1
			if _, err := c.ReadBlock(block, c.buf); err != nil {
				return read, err
			}
			c.block = block
		}
		n := copy(p[read:], c.buf[within:crypto.BlockLen(c.pkg.Size, block)])
		read += n
		off += int64(n)
	}
	return read, nil
}

// Close closes the content. What only it needed of a pulled package that was withdrawn meanwhile goes then.
func (c *Content) Close() error {
	err := c.blocks.close()
	if c.pkg.Pulled() {
		err = errors.Join(err, c.library.closed(c))
	}
	return err
}

// wholeFile is a content that lies in one file.
type wholeFile struct{ *os.File }

func (f wholeFile) readBlock(i int, dst []byte) error {
	if n, err := f.ReadAt(dst, int64(i)*crypto.BlockSize); n < len(dst) {
		return err
	}
	return nil
}

func (f wholeFile) close() error { return f.Close() }
