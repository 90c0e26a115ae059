package library

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/release"
)

// pullBuffer is how much of a chunk is read, hashed and written at once.
const pullBuffer = 256 << 10

// Pull is a release on its way into the library: its blobs come in any order, several at a time, and stay from then on, across crashes too, until it
// is in service or DropPulls gives it up. They are synced all together, before the release goes into service: one by one that would take longer than the
// network. So what an earlier process left is hashed before it counts. It is safe for concurrent use.
type Pull struct {
	library  *Library
	digest   digest.Digest // of the manifest
	raw      []byte
	manifest *release.Manifest
	pkg      Package // as it is to be

	mu      sync.Mutex
	oldest  time.Time // when what is reused was last found to match; zero: everything was just now
	scanned bool
}

// pendingRelease is a release of which blobs are to come.
type pendingRelease struct {
	manifest *release.Manifest
	file     string    // in pending/
	imported bool      // by hand; assignments may not name it
	began    time.Time // or went on last
}

// importedSuffix marks files in pending/ of releases that are imported.
const importedSuffix = ".imported"

// Pull begins, or goes on with, pulling a release; imported says that a person does so. It proves manifest and document, and that the content can be opened here, before anything is kept.
//
// The error wraps release.ErrOrigin (it isn't the site's), release.ErrNotRecipient, ErrOlder (the reference has a later revision), ErrExists (a package
// of that name was added here), ErrDiskFull.
func (l *Library) Pull(manifest, document []byte, imported bool) (*Pull, error) {
	p, err := l.pull(manifest, document, imported)
	if err != nil {
		return nil, fmt.Errorf("pull: %w", l.full(err))
	}
	return p, nil
}

func (l *Library) pull(manifest, document []byte, imported bool) (*Pull, error) {
	m, err := release.ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	p := &Pull{library: l, digest: digest.FromBytes(manifest), raw: manifest, manifest: m}
	if p.pkg, err = l.prove(m, document); err != nil {
		return nil, err
	}
	p.pkg.oci = describe(v1.MediaTypeImageManifest, manifest)
	if _, err := l.sealer(&p.pkg.stored); err != nil {
		return nil, fmt.Errorf("release %s: %w", p.pkg.Reference(), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.placeFor(&p.pkg); err != nil {
		return nil, err
	}
	if known := l.pending[p.digest]; known != nil {
		known.began = time.Now()
	} else {
		file := p.digest.Encoded()
		if imported {
			file += importedSuffix
		}
		if err := l.replace(path.Join(pendingDir, file), manifest); err != nil {
			return nil, err
		}
		l.pending[p.digest] = &pendingRelease{m, file, imported, time.Now()}
		if err := l.syncDir(pendingDir); err != nil {
			return nil, err
		}
	}
	return p, l.writeBlob(&m.Document, document)
}

// placeFor finds where a pulled package goes: the place of its reference, -1 for a new one. mu must be held.
func (l *Library) placeFor(p *Package) (int, error) {
	at := -1
	for i := range l.packages {
		q := &l.packages[i]
		switch {
		case q.Name == p.Name && !q.Pulled():
			return at, fmt.Errorf("release %s: %w: %s was added here; next: at the point, wimcast image rename or remove %q", p.Reference(), ErrExists, q.Reference(), q.Reference())
		case q.Reference() != p.Reference():
		case q.Revision > p.Revision:
			return at, fmt.Errorf("release %s: its revision %d is %w: revision %d", p.Reference(), p.Revision, ErrOlder, q.Revision)
		default:
			at = i
		}
	}
	return at, nil
}

// readPending reads which releases were being pulled. What isn't one goes.
func (l *Library) readPending() error {
	entries, err := fs.ReadDir(l.root.FS(), pendingDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(pendingDir, e.Name())
		hex, imported := strings.CutSuffix(e.Name(), importedSuffix)
		d := digest.NewDigestFromEncoded(digest.SHA256, hex)
		there := slices.ContainsFunc(l.packages, func(p Package) bool { return p.oci.Digest == d && p.OutOfService == "" })
		b, began, err := l.readPendingFile(name)
		if passing(err) {
			return err
		}
		m, bad := release.ParseManifest(b)
		if err == nil && bad == nil && digest.FromBytes(b) == d && !there && l.pending[d] == nil {
			l.pending[d] = &pendingRelease{m, e.Name(), imported, began}
			continue
		}
		if err := l.root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Library) readPendingFile(name string) (b []byte, began time.Time, err error) {
	f, err := l.root.Open(name)
	if err != nil {
		return nil, began, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil {
		began = info.ModTime()
	}
	b, err = io.ReadAll(io.LimitReader(f, release.MaxManifest+1))
	return b, began, err
}

// keepRelease adds the names of a release's blobs to a set.
func keepRelease(set map[string]bool, m *release.Manifest) {
	set[m.Document.Digest.Encoded()] = true
	for i := range m.Layers {
		set[m.Layers[i].Digest.Encoded()] = true
	}
}

// Package returns the package that the release is, as far as the site says it.
func (p *Pull) Package() Package { return p.pkg }

// Missing returns the blobs that have yet to come, each once, in their order. What an earlier process left, and what packages that are out of service
// share with the release, is read and hashed first: what is damaged of it has to come as well.
func (p *Pull) Missing(ctx context.Context) ([]v1.Descriptor, error) {
	suspect, oldest := p.library.reuse(p.manifest)
	p.mu.Lock()
	p.oldest, p.scanned = oldest, true
	p.mu.Unlock()
	seen := make(map[digest.Digest]bool, len(p.manifest.Layers))
	var missing []v1.Descriptor
	for _, d := range p.manifest.Layers {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		hash := suspect(d.Digest)
		whole, err := p.library.hasBlob(ctx, &d, hash)
		if err != nil {
			return nil, fmt.Errorf("pull %s: %w", p.pkg.Reference(), err)
		}
		switch {
		case !whole:
			missing = append(missing, d)
		case hash:
			p.library.mu.Lock()
			p.library.fresh[d.Digest], p.library.unsynced = true, true // read from memory, perhaps
			p.library.mu.Unlock()
		}
	}
	return missing, nil
}

// reuse says which blobs of a release have to be hashed: those that weren't since the library was opened and are of no package, or of one that
// is out of service. And when the others were last found to match: zero where none is of a package.
func (l *Library) reuse(m *release.Manifest) (suspect func(digest.Digest) bool, oldest time.Time) {
	mine := map[string]bool{}
	keepRelease(mine, m)
	bad, good, fresh := map[string]bool{}, map[string]bool{}, map[digest.Digest]bool{}
	all := false
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, d := range m.Layers {
		fresh[d.Digest] = l.fresh[d.Digest]
	}
	for i := range l.packages {
		p := &l.packages[i]
		switch {
		case !p.Pulled():
		case p.OutOfService != "" && p.release == nil:
			all = true
		case p.OutOfService != "":
			p.keep(bad)
		default:
			theirs := map[string]bool{}
			p.keep(theirs)
			for name := range theirs {
				if !mine[name] {
					continue
				}
				good[name] = true
				if oldest.IsZero() || p.Validated.Before(oldest) {
					oldest = p.Validated
				}
			}
		}
	}
	return func(d digest.Digest) bool {
		name := d.Encoded()
		return !fresh[d] && (all || bad[name] || !good[name])
	}, oldest
}

// hasBlob reports whether a blob is there with its size, and where asked to with its bytes.
func (l *Library) hasBlob(ctx context.Context, d *v1.Descriptor, hash bool) (bool, error) {
	f, err := l.root.Open(blobPath(d.Digest))
	if err != nil {
		if passing(err) {
			return false, err
		}
		return false, nil
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() != d.Size {
		return false, nil // it isn't there as it should be
	}
	if !hash {
		return true, nil
	}
	sum := sha256.New()
	buf := pullBuffers.Get().(*[]byte) //nolint:forcetypeassert // of our own pool
	defer pullBuffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := f.Read(*buf)
		_, _ = sum.Write((*buf)[:n])
		switch {
		case errors.Is(err, io.EOF):
			return digest.NewDigest(digest.SHA256, sum) == d.Digest, nil
		case passing(err):
			return false, err
		case err != nil:
			return false, nil
		}
	}
}

var pullBuffers = sync.Pool{New: func() any { b := make([]byte, pullBuffer); return &b }}

// Put takes a blob of the release from r, and keeps it when it is proven. The error wraps ErrChunk where other bytes came or r ended too
// soon, ErrDiskFull, or is the reader's; nothing stays of it then.
func (p *Pull) Put(d v1.Descriptor, r io.Reader) error {
	if err := p.put(&d, r); err != nil {
		return fmt.Errorf("pull %s: %w", p.pkg.Reference(), p.library.full(err))
	}
	return nil
}

func (p *Pull) put(d *v1.Descriptor, r io.Reader) (err error) {
	if !slices.ContainsFunc(p.manifest.Layers, func(l v1.Descriptor) bool { return l.Digest == d.Digest && l.Size == d.Size }) {
		panic("library: Put of a blob that isn't of the release")
	}
	l := p.library
	f, temporary, err := l.createIngest()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = l.root.Remove(temporary)
		}
	}()
	if err = errors.Join(receive(f, d, r), f.Close()); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, still := l.pending[p.digest]; !still {
		return errors.New("it was given up meanwhile")
	}
	l.step("rename " + blobPath(d.Digest))
	if err = l.root.Rename(temporary, blobPath(d.Digest)); err != nil {
		return err
	}
	l.fresh[d.Digest], l.unsynced = true, true
	return nil
}

// receive copies a blob to a file and proves it.
func receive(f *os.File, d *v1.Descriptor, r io.Reader) error {
	sum := sha256.New()
	buf := pullBuffers.Get().(*[]byte) //nolint:forcetypeassert // of our own pool
	defer pullBuffers.Put(buf)
	var size int64
	for {
		n, err := r.Read(*buf)
		if size += int64(n); size > d.Size {
			return fmt.Errorf("%w: blob %.19s is longer than %d bytes", ErrChunk, d.Digest, d.Size)
		}
		_, _ = sum.Write((*buf)[:n])
		if _, failed := f.Write((*buf)[:n]); failed != nil {
			return failed
		}
		switch {
		case errors.Is(err, io.EOF) && size < d.Size:
			return fmt.Errorf("%w: blob %.19s ended after %d of %d bytes", ErrChunk, d.Digest, size, d.Size)
		case errors.Is(err, io.EOF):
			if digest.NewDigest(digest.SHA256, sum) != d.Digest {
				return fmt.Errorf("%w: what came for blob %.19s has another digest", ErrChunk, d.Digest)
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// Placing says how a release goes into service.
type Placing struct {
	Current   bool // it is what its name alone means from now on
	Prestaged bool // it was imported; assignments haven't named it
}

// Commit puts the release into service in one step, in the place of an earlier revision of its reference. Who reads that isn't disturbed. The
// error wraps ErrIncomplete where blobs are missing, or what Pull's does.
func (p *Pull) Commit(o Placing) (Package, error) {
	pkg, err := p.commit(o)
	if err != nil {
		return pkg, fmt.Errorf("put %s into service: %w", p.pkg.Reference(), p.library.full(err))
	}
	return pkg, nil
}

func (p *Pull) commit(o Placing) (pkg Package, err error) {
	l := p.library
	for i, d := range p.manifest.Layers {
		info, err := l.root.Stat(blobPath(d.Digest))
		if passing(err) {
			return pkg, err
		}
		if err != nil || info.Size() != d.Size {
			return pkg, fmt.Errorf("%w: blob %d of %d isn't there", ErrIncomplete, i+1, len(p.manifest.Layers))
		}
	}
	if err := l.syncBlobs(); err != nil {
		return pkg, err
	}
	pkg = p.pkg
	sealer, err := l.sealer(&pkg.stored)
	if err != nil {
		return pkg, err
	}
	if _, err := l.readPulledManifest(&pkg, sealer); err != nil {
		return pkg, err
	}
	now := time.Now().UTC()
	pkg.Added, pkg.Validated, pkg.Current, pkg.Prestaged = now, now, o.Current, o.Prestaged
	p.mu.Lock()
	if !p.scanned {
		_, p.oldest = l.reuse(p.manifest)
	}
	if !p.oldest.IsZero() && p.oldest.Before(now) {
		pkg.Validated = p.oldest
	}
	p.mu.Unlock()
	l.mu.Lock()
	defer l.unlock()
	at, err := l.placeFor(&pkg)
	if err != nil {
		return pkg, err
	}
	if _, still := l.pending[p.digest]; !still {
		return pkg, errors.New("it was given up meanwhile")
	}
	if err := errors.Join(l.writeBlob(&pkg.oci, p.raw), l.syncDir(blobDir)); err != nil {
		return pkg, err
	}
	l.placed++
	pkg.generation = l.placed
	packages := slices.Clone(l.packages)
	if at < 0 {
		packages = append(packages, pkg)
		at = len(packages) - 1
	} else {
		pkg.Added = packages[at].Added
		packages[at] = pkg
	}
	if o.Current {
		onlyCurrent(packages, at)
	}
	before := l.packages
	if err := l.commit(packages); err != nil {
		return pkg, err
	}
	if at < len(before) && before[at].OutOfService != "" {
		l.note(before[at], "")
	}
	return packages[at], errors.Join(l.forget(p.digest), l.sweep())
}

// syncBlobs makes blobs last that were put. Where that fails nobody knows which: all are hashed again.
func (l *Library) syncBlobs() error {
	l.syncing.Lock() // whoever comes meanwhile has to wait too
	defer l.syncing.Unlock()
	l.mu.Lock()
	needed := l.unsynced
	l.unsynced = false
	l.mu.Unlock()
	if !needed {
		return nil
	}
	err := l.syncAll()
	if err != nil {
		l.mu.Lock()
		l.unsynced = true
		clear(l.fresh)
		l.mu.Unlock()
	}
	return err
}

// onlyCurrent makes a package the only current one of its name.
func onlyCurrent(packages []Package, at int) {
	for i := range packages {
		if packages[i].Name == packages[at].Name {
			packages[i].Current = i == at
		}
	}
}

// forget makes a release no longer one that is being pulled. mu must be held.
func (l *Library) forget(d digest.Digest) error {
	file := l.pending[d].file
	for _, layer := range l.pending[d].manifest.Layers {
		delete(l.fresh, layer.Digest) // it is of a package now, or goes
	}
	delete(l.pending, d)
	l.step("remove " + pendingDir + "/" + file)
	if err := l.root.Remove(path.Join(pendingDir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// DropPulls gives up the releases that are being pulled and aren't to be kept: by the digests of their manifests, whether they are imported, and since when they
// are, or were gone on with. What came for them alone goes.
func (l *Library) DropPulls(keep func(manifest digest.Digest, imported bool, since time.Time) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	dropped := false
	for d, r := range l.pending {
		if !keep(d, r.imported, r.began) {
			errs = append(errs, l.forget(d))
			dropped = true
		}
	}
	if dropped {
		errs = append(errs, l.sweep())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give up pulls: %w", err)
	}
	return nil
}

// Assigned says of a pulled package that its site assigned it, and whether it is what its name alone means.
func (l *Library) Assigned(ref string, current bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := l.findPulled(ref)
	if err != nil {
		return err
	}
	p := l.packages[at]
	if !p.Prestaged && p.Current == current {
		return nil
	}
	packages := slices.Clone(l.packages)
	packages[at].Prestaged, packages[at].Current = false, current
	if current {
		onlyCurrent(packages, at)
	}
	if err := l.commit(packages); err != nil {
		return fmt.Errorf("assign package %s: %w", ref, err)
	}
	return nil
}

// Withdraw removes a pulled package, as its site wants it. Content that is open stays readable until it is closed.
func (l *Library) Withdraw(ref string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, err := l.findPulled(ref)
	if err != nil {
		return err
	}
	return l.remove(at)
}

// findPulled returns the place of a pulled package by its whole reference. mu must be held.
func (l *Library) findPulled(ref string) (int, error) {
	at := slices.IndexFunc(l.packages, func(p Package) bool { return p.Pulled() && p.Reference() == ref })
	if at < 0 {
		return at, &notFoundError{ref: ref}
	}
	return at, nil
}
