package library

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// AddOptions say what to call what is added.
type AddOptions struct {
	// Name of the package; empty: the name of the image in the WIM where there is one
	// image that has a usable one, else FileStem.
	Name     string
	Version  string
	Comment  string
	FileStem string // the file's name without its extension
	// Flags of the package; nil: multicast and encryption allowed, not multicast-only.
	Flags *Flags
	// Index, from 1, says that only that image of the file becomes the package: it is exported by wimlib-imagex into a WIM
	// of its own. 0: the file is taken as it is.
	Index int
	// SHA256 is what the source must have; nil: anything. Of the file that comes, whatever is exported from it.
	SHA256 []byte
	// Source says where it came from, for people: at most 2,048 bytes of printable text, no password in it.
	Source string
	// Again is where the daemon itself can get the same bytes again: an https:// address or an absolute path; "": nowhere.
	Again string
	// Size is how many bytes will come, where that is known; a source that ends before is
	// refused, and a disk that is too small is before anything is written.
	Size int64
}

// flags are those of the package.
func (o *AddOptions) flags() Flags {
	if o.Flags != nil {
		return *o.Flags
	}
	return defaultFlags
}

// addBuffer is how much is read at once.
const addBuffer = 1 << 20

// Add adds a WIM file, which it reads once from r, as a new package. The file must be whole: its tables
// are read, and its integrity table is verified where it has one. The same content is stored once. Nothing of a
// file that is refused stays.
//
// With Index set the same image of the same file gives the same content (with the same version of wimlib), so that it
// is stored once as well. A pipable file's image comes out as an ordinary WIM, a solid one's (ESD) as LZMS, solid
// or not as wimlib finds it cheaper.
//
// A package of the same name and version with the same content is returned as it is, with
// alreadyThere; it is in service again if it was out of it. With other content the error wraps ErrExists. Other errors wrap
// wim.ErrNotWIM, wim.ErrTruncated, wim.ErrDamaged, wimlib.ErrMissing, ErrSplit, ErrNoIndex, ErrHash, ErrDiskFull, the context's, or are the reader's.
func (l *Library) Add(ctx context.Context, r io.Reader, o AddOptions) (p Package, alreadyThere bool, err error) {
	if o.Name != "" {
		err = checkName(o.Name)
	}
	if err := errors.Join(err, checkVersion(o.Version), checkComment(o.Comment), checkSource(o.Source), checkSource(o.Again),
		o.flags().check(reference(o.Name, o.Version))); err != nil {
		return p, false, fmt.Errorf("add image: %w", err)
	}
	if p, alreadyThere, err = l.add(ctx, r, &o, nil); err != nil {
		return p, false, fmt.Errorf("add image: %w", err)
	}
	return p, alreadyThere, nil
}

// Refill reads the content of a package that is there once more, from where it came from, and puts it in the place of
// what is stored: the way back into service for damaged content. What comes must have the package's digest, whatever else
// holds; other content changes nothing, and the error wraps ErrHash. The rest is as with Add.
func (l *Library) Refill(ctx context.Context, ref string, r io.Reader, size int64) (Package, error) {
	p, err := l.Get(ref)
	if err != nil {
		return p, err
	}
	o := &AddOptions{Name: p.Name, Version: p.Version, Index: p.Index, Size: size}
	if p, _, err = l.add(ctx, r, o, &p.Digest); err != nil {
		return p, fmt.Errorf("refill package %s: %w", ref, err)
	}
	return p, nil
}

// add adds a source as a new package, or where a digest is given as the content that packages of it have.
func (l *Library) add(ctx context.Context, r io.Reader, o *AddOptions, refill *crypto.Hash) (p Package, alreadyThere bool, err error) {
	if err := l.nameIsFree(o.Name); err != nil {
		return p, false, err
	}
	if o.Index > 0 {
		if err := wimlib.Available(); err != nil {
			return p, false, fmt.Errorf("take image %d alone: on the server: %w", o.Index, err)
		}
	}
	if free, err := l.FreeBytes(); err == nil && o.Size > 0 && uint64(o.Size) > free {
		return p, false, fmt.Errorf("%w at %s: %d bytes are free, the image has %d; next: remove packages (wimcast image remove), or give it more space", ErrDiskFull, l.path, free, o.Size)
	}
	f, temporary, err := l.createIngest()
	if err != nil {
		return p, false, err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = l.root.Remove(temporary)
		}
	}()
	manifest, err := l.ingest(ctx, f, r, o)
	if err != nil {
		return p, false, err
	}
	if o.SHA256 != nil && !bytes.Equal(manifest.SHA256[:], o.SHA256) {
		return p, false, fmt.Errorf("%w: it has the SHA-256 %x, not %x; next: look whether it was named rightly, and whether the source is the one you trust", ErrHash, manifest.SHA256, o.SHA256)
	}
	file, integrity, err := inspect(ctx, f, manifest.Size)
	if err != nil {
		return p, false, err
	}
	if o.Index > 0 {
		one, name, err := l.export(ctx, file, temporary, manifest.SHA256, o.Index)
		if err != nil {
			return p, false, err
		}
		_ = f.Close()
		_ = l.root.Remove(temporary)
		f, temporary = one, name
		if manifest, err = rehash(ctx, f); err != nil {
			return p, false, err
		}
		if file, integrity, err = inspect(ctx, f, manifest.Size); err != nil {
			return p, false, err
		}
	}
	if refill != nil && manifest.Digest() != *refill {
		return p, false, fmt.Errorf("%w: what the source has now has the digest %.12s, the package %.12s", ErrHash, manifest.Digest(), *refill)
	}
	if err := f.Sync(); err != nil {
		return p, false, l.full(err)
	}
	now := time.Now().UTC()
	p = Package{
		Name: o.Name, Version: o.Version, Comment: o.Comment, Flags: o.flags(), Added: now, Digest: manifest.Digest(),
		Source: o.Source, Again: o.Again, Index: o.Index, Validated: now,
		stored: stored{
			SHA256: manifest.SHA256, Size: manifest.Size, Images: file.Images, Compression: file.Compression(), Pipable: file.Pipable, Solid: file.Solid,
			IntegrityChecked: integrity,
		},
	}
	if p.Name == "" {
		if p.Name, err = defaultName(file, o.FileStem); err != nil {
			return p, false, err
		}
	}
	l.mu.Lock()
	defer l.unlock()
	return l.place(p, temporary, manifest.Marshal(), refill != nil)
}

// ingest copies the source into the file and computes its manifest.
func (l *Library) ingest(ctx context.Context, f *os.File, r io.Reader, o *AddOptions) (*crypto.Manifest, error) {
	builder := crypto.NewManifestBuilder()
	var size int64
	for buf := make([]byte, addBuffer); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
		if size == 0 {
			if err := begins(buf[:n], o.Index); err != nil {
				return nil, err
			}
		}
		if size += int64(n); size > crypto.MaxImageSize {
			return nil, fmt.Errorf("the source has more than %d bytes", int64(crypto.MaxImageSize))
		}
		_, _ = builder.Write(buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return nil, l.full(err)
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("read the source after %d bytes: %w", size, err)
		case o.Size > 0 && size != o.Size:
			return nil, fmt.Errorf("%w: the source ended after %d of %d bytes; next: add it again", wim.ErrTruncated, size, o.Size)
		}
		return builder.Manifest(), nil
	}
}

// begins refuses by its beginning what would be refused when all of it is there: five gigabytes later.
func begins(b []byte, index int) error {
	if len(b) < wim.HeaderSize {
		return nil // inspect says it better
	}
	h, err := wim.ParseHeader(b)
	switch {
	case err != nil:
		return err
	case h.Split():
		return splitError(h.Part, h.Parts)
	case index > int(h.ImageCount):
		return fmt.Errorf("%w: image %d of a file that has %d; next: wimlib-imagex info FILE, or add it without --index", ErrNoIndex, index, h.ImageCount)
	}
	return nil
}

func splitError(part, parts uint16) error {
	return fmt.Errorf("%w: part %d of %d; next: name the file or its folder to wimcast image add, which joins the parts, or join them yourself: wimlib-imagex join whole.wim *.swm", ErrSplit, part, parts)
}

// inspect holds the file for a whole WIM.
func inspect(ctx context.Context, f *os.File, size int64) (file *wim.File, integrity bool, err error) {
	if file, err = wim.Open(f, size); err != nil {
		return nil, false, err
	}
	if file.Split() {
		return nil, false, splitError(file.Part, file.Parts)
	}
	for _, err := range file.Entries() { // each is held against the file's size
		if err != nil {
			return nil, false, err
		}
	}
	if err = file.VerifyIntegrity(ctx, nil); errors.Is(err, wim.ErrNoIntegrity) {
		return file, false, nil
	}
	return file, err == nil, err
}

// defaultName finds a name where none was given.
func defaultName(file *wim.File, stem string) (string, error) {
	if len(file.Images) == 1 && checkName(file.Images[0].Name) == nil {
		return file.Images[0].Name, nil
	}
	stem = strings.TrimSpace(stem)
	if err := checkName(stem); err != nil {
		return "", fmt.Errorf("the file's name gives no name to the package: %w; next: add it with --name", err)
	}
	return stem, nil
}

// place makes the ingested file content of the library and the package known. With refill there is only new content for
// packages that have its digest. mu must be held.
func (l *Library) place(p Package, temporary string, manifest []byte, refill bool) (_ Package, alreadyThere bool, err error) {
	if err := l.namePulled(p.Name); err != nil {
		return p, false, err
	}
	packages := slices.Clone(l.packages)
	at := slices.IndexFunc(packages, func(q Package) bool { return q.Name == p.Name && q.Version == p.Version })
	if refill {
		if places := l.having(p.Digest); len(places) == 0 { // removed meanwhile
			return p, false, &notFoundError{ref: p.Reference()}
		} else if !slices.Contains(places, at) { // renamed meanwhile
			at = places[0]
		}
	}
	if at >= 0 && packages[at].Digest != p.Digest {
		return p, false, fmt.Errorf("%w: %s has other content (digest %.12s, the new one's is %.12s); next: add it with another --version, or first wimcast image remove %q",
			ErrExists, p.Reference(), packages[at].Digest, p.Digest, p.Reference())
	}
	l.placed++
	p.generation = l.placed
	if err := l.placeBlobs(&p, temporary, manifest); err != nil {
		return p, false, errors.Join(err, l.sweep())
	}
	// Whatever had this content before is whole again: it was written anew.
	var back []Package
	for _, i := range l.having(p.Digest) {
		if packages[i].OutOfService != "" {
			back = append(back, packages[i])
		}
		packages[i].OutOfService, packages[i].Validated, packages[i].oci, packages[i].stored = "", p.Validated, p.oci, p.stored
	}
	switch {
	case at < 0:
		packages = append(packages, p)
		at = len(packages) - 1
	default:
		alreadyThere = true
		if p.Source != "" { // the latest place is the one to look for it again
			packages[at].Source, packages[at].Again, packages[at].Index = p.Source, p.Again, p.Index
		}
	}
	if err := l.commit(packages); err != nil {
		return p, false, errors.Join(err, l.sweep())
	}
	for i := range back {
		l.note(back[i], "")
	}
	return packages[at], alreadyThere, l.sweep()
}

// placeBlobs puts a package's blobs into their places.
func (l *Library) placeBlobs(p *Package, temporary string, manifest []byte) error {
	sum := hex.EncodeToString(p.SHA256[:])
	settings, err := p.Description()
	if err != nil {
		return err
	}
	p.config, p.manifest = describe(mediaTypeConfig, settings), describe(mediaTypeManifest, manifest)
	p.content = v1.Descriptor{MediaType: mediaTypeContent, Digest: digest.NewDigestFromEncoded(digest.SHA256, sum), Size: p.Size}
	oci, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: p.config, Layers: []v1.Descriptor{p.content, p.manifest},
	})
	if err != nil {
		return err
	}
	p.oci = describe(v1.MediaTypeImageManifest, oci)
	l.step("rename " + contentPath(p))
	if err := l.root.Rename(temporary, contentPath(p)); err != nil {
		return err
	}
	for _, blob := range []struct {
		d *v1.Descriptor
		b []byte
	}{{&p.manifest, manifest}, {&p.config, settings}, {&p.oci, oci}} {
		if err := l.writeBlob(blob.d, blob.b); err != nil {
			return err
		}
	}
	return l.syncDir(blobDir)
}
