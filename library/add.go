package library

import (
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
	// Size is how many bytes will come, where that is known; a source that ends before is
	// refused, and a disk that is too small is before anything is written.
	Size int64
}

// addBuffer is how much is read at once.
const addBuffer = 1 << 20

// Add adds a WIM file, which it reads once from r, as a new package. The file must be whole: its tables
// are read, and its integrity table is verified where it has one. The same content is stored once. Nothing of a
// file that is refused stays.
//
// A package of the same name and version with the same content is returned as it is, with
// alreadyThere; it is in service again if it was out of it. With other content the error wraps ErrExists. Other errors wrap
// wim.ErrNotWIM, wim.ErrTruncated, wim.ErrDamaged, ErrSplit, ErrDiskFull, the context's, or are the reader's.
func (l *Library) Add(ctx context.Context, r io.Reader, o AddOptions) (p Package, alreadyThere bool, err error) {
	if o.Name != "" {
		err = checkName(o.Name)
	}
	flags := defaultFlags
	if o.Flags != nil {
		flags = *o.Flags
	}
	if err := errors.Join(err, checkVersion(o.Version), checkComment(o.Comment), flags.check(reference(o.Name, o.Version))); err != nil {
		return p, false, fmt.Errorf("add image: %w", err)
	}
	o.Flags = &flags
	if p, alreadyThere, err = l.add(ctx, r, &o); err != nil {
		return p, false, fmt.Errorf("add image: %w", err)
	}
	return p, alreadyThere, nil
}

func (l *Library) add(ctx context.Context, r io.Reader, o *AddOptions) (p Package, alreadyThere bool, err error) {
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
	manifest, err := l.ingest(ctx, f, r, o.Size)
	if err != nil {
		return p, false, err
	}
	file, integrity, err := inspect(ctx, f, manifest.Size)
	if err != nil {
		return p, false, err
	}
	if err := f.Sync(); err != nil {
		return p, false, l.full(err)
	}
	p = Package{
		Name: o.Name, Version: o.Version, Comment: o.Comment, Flags: *o.Flags, Added: time.Now().UTC(), Digest: manifest.Digest(),
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
	defer l.mu.Unlock()
	return l.place(p, temporary, manifest.Marshal())
}

// ingest copies the source into the file and computes its manifest.
func (l *Library) ingest(ctx context.Context, f *os.File, r io.Reader, want int64) (*crypto.Manifest, error) {
	builder := crypto.NewManifestBuilder()
	var size int64
	for buf := make([]byte, addBuffer); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
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
		case want > 0 && size != want:
			return nil, fmt.Errorf("%w: the source ended after %d of %d bytes; next: add it again", wim.ErrTruncated, size, want)
		}
		return builder.Manifest(), nil
	}
}

// inspect holds the file for a whole WIM.
func inspect(ctx context.Context, f *os.File, size int64) (file *wim.File, integrity bool, err error) {
	if file, err = wim.Open(f, size); err != nil {
		return nil, false, err
	}
	if file.Split() {
		return nil, false, fmt.Errorf("%w: part %d of %d; next: wimlib-imagex join whole.wim *.swm, and add whole.wim", ErrSplit, file.Part, file.Parts)
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

// place makes the ingested file content of the library and the package known. mu must be held.
func (l *Library) place(p Package, temporary string, manifest []byte) (_ Package, alreadyThere bool, err error) {
	packages := slices.Clone(l.packages)
	at := slices.IndexFunc(packages, func(q Package) bool { return q.Name == p.Name && q.Version == p.Version })
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
	for _, i := range l.having(p.Digest) {
		packages[i].OutOfService, packages[i].oci, packages[i].stored = "", p.oci, p.stored
	}
	if at < 0 {
		packages = append(packages, p)
		at = len(packages) - 1
	} else {
		alreadyThere = true
	}
	if err := l.commit(packages); err != nil {
		return p, false, errors.Join(err, l.sweep())
	}
	return packages[at], alreadyThere, l.sweep()
}

// placeBlobs puts a package's blobs into their places.
func (l *Library) placeBlobs(p *Package, temporary string, manifest []byte) error {
	sum := hex.EncodeToString(p.SHA256[:])
	settings, err := json.Marshal(config{
		Digest: p.Digest.String(), SHA256: sum, Size: p.Size, Compression: p.Compression, Pipable: p.Pipable, Solid: p.Solid,
		IntegrityChecked: p.IntegrityChecked, Images: p.Images,
	})
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
