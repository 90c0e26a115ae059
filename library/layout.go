package library

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/release"
	"wimcast/library/wim"
	"wimcast/statefile"
)

// Media types of the library's blobs.
const (
	artifactType      = "application/vnd.wimcast.package.v1"
	mediaTypeConfig   = "application/vnd.wimcast.package.config.v1+json"
	mediaTypeContent  = "application/vnd.wimcast.image.wim"
	mediaTypeManifest = "application/vnd.wimcast.manifest.v1"
)

// Annotations of a package in index.json: all of it that can change, and its digest.
const (
	keyName           = "vnd.wimcast.name"
	keyVersion        = "vnd.wimcast.version"
	keyComment        = "vnd.wimcast.comment"
	keyAdded          = "vnd.wimcast.added"
	keyRestored       = "vnd.wimcast.restored"
	keyDigest         = "vnd.wimcast.digest"
	keyAllowMulticast = "vnd.wimcast.allow-multicast"
	keyEncrypt        = "vnd.wimcast.encrypt"
	keyMulticastOnly  = "vnd.wimcast.multicast-only"
	keyOutOfService   = "vnd.wimcast.out-of-service"
	keySource         = "vnd.wimcast.source"
	keyAgain          = "vnd.wimcast.source-again"
	keyIndex          = "vnd.wimcast.source-index"
	keyValidated      = "vnd.wimcast.validated"
	keyRevision       = "vnd.wimcast.revision"
	keyCurrent        = "vnd.wimcast.current"
	keyPrestaged      = "vnd.wimcast.prestaged"
)

// Places in the layout, and bounds of what is read from it.
const (
	blobDir    = v1.ImageBlobsDir + "/sha256"
	ingestDir  = "ingest"
	pendingDir = "pending"

	maxIndex = 64 << 20
	maxOCI   = 1 << 20
	maxJSON  = 128 << 20
)

const (
	dirMode  = 0o750
	fileMode = 0o640
)

// keep adds the names of the package's blobs to a set.
func (p *Package) keep(set map[string]bool) {
	for _, d := range []v1.Descriptor{p.oci, p.config, p.manifest} {
		set[d.Digest.Encoded()] = true
	}
	if !p.Pulled() {
		set[p.content.Digest.Encoded()] = true
	}
	for i := range p.chunks {
		set[p.chunks[i].Digest.Encoded()] = true
	}
}

// config is the blob that says what is in a content. It depends on the content alone.
type config struct {
	Digest           string          `json:"digest"`
	SHA256           string          `json:"sha256"`
	Size             int64           `json:"size"`
	Compression      wim.Compression `json:"compression"`
	Pipable          bool            `json:"pipable,omitempty"`
	Solid            bool            `json:"solid,omitempty"`
	IntegrityChecked bool            `json:"integrityChecked,omitempty"`
	Images           []wim.Image     `json:"images"`
}

// blobPath returns where a blob lies. The digest must be a valid SHA-256.
func blobPath(d digest.Digest) string { return path.Join(blobDir, d.Encoded()) }

// checkDescriptor holds a descriptor that was read from disk.
func checkDescriptor(d *v1.Descriptor, mediaType string) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("descriptor of %s has the digest %q, want SHA-256", mediaType, d.Digest)
	}
	if d.MediaType != mediaType || d.Size < 0 {
		return fmt.Errorf("descriptor of %q with %d bytes, want %s", d.MediaType, d.Size, mediaType)
	}
	return nil
}

// index marshals the packages as index.json.
func index(packages []Package) ([]byte, error) {
	out := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	for i := range packages {
		p := &packages[i]
		d := p.oci
		d.ArtifactType = artifactType
		d.Annotations = map[string]string{
			v1.AnnotationRefName: p.Reference(),
			keyName:              p.Name,
			keyVersion:           p.Version,
			keyComment:           p.Comment,
			keyAdded:             p.Added.Format(time.RFC3339Nano),
			keyDigest:            p.Digest.String(),
			keyAllowMulticast:    strconv.FormatBool(p.Flags.AllowMulticast),
			keyEncrypt:           strconv.FormatBool(p.Flags.Encrypt),
			keyMulticastOnly:     strconv.FormatBool(p.Flags.MulticastOnly),
		}
		if !p.Restored.IsZero() {
			d.Annotations[keyRestored] = p.Restored.Format(time.RFC3339Nano)
		}
		for key, value := range map[string]string{keyOutOfService: p.OutOfService, keySource: p.Source, keyAgain: p.Again} {
			if value != "" {
				d.Annotations[key] = value
			}
		}
		if p.Index > 0 {
			d.Annotations[keyIndex] = strconv.Itoa(p.Index)
		}
		if !p.Validated.IsZero() {
			d.Annotations[keyValidated] = p.Validated.Format(time.RFC3339Nano)
		}
		if p.Pulled() {
			annotatePulled(&d, p)
		}
		out.Manifests = append(out.Manifests, d)
	}
	return json.MarshalIndent(out, "", "  ")
}

// parsePackage reads a package's line of index.json.
func parsePackage(d *v1.Descriptor) (p Package, err error) {
	if err := checkDescriptor(d, v1.MediaTypeImageManifest); err != nil {
		return p, err
	}
	if d.ArtifactType != artifactType && d.ArtifactType != release.ArtifactType {
		return p, fmt.Errorf("artifact type %q, want %s: the folder is the daemon's own, keep other artifacts elsewhere", d.ArtifactType, artifactType)
	}
	a := d.Annotations
	p = Package{Name: a[keyName], Version: a[keyVersion], Comment: a[keyComment], OutOfService: a[keyOutOfService], Source: a[keySource], Again: a[keyAgain], oci: *d}
	p.oci.Annotations = nil
	var errs [12]error
	errs[11] = parsePulled(&p, d)
	errs[0], errs[1], errs[2] = checkName(p.Name), checkVersion(p.Version), checkComment(p.Comment)
	p.Added, errs[3] = time.Parse(time.RFC3339Nano, a[keyAdded])
	p.Digest, errs[4] = crypto.ParseHash(a[keyDigest])
	for flag, key := range map[*bool]string{
		&p.Flags.AllowMulticast: keyAllowMulticast, &p.Flags.Encrypt: keyEncrypt, &p.Flags.MulticastOnly: keyMulticastOnly,
	} {
		var bad error
		if *flag, bad = strconv.ParseBool(a[key]); bad != nil {
			errs[5] = fmt.Errorf("annotation %s: %q is neither true nor false", key, a[key])
		}
	}
	errs[6] = p.Flags.check(p.Reference())
	if restored := a[keyRestored]; restored != "" {
		p.Restored, errs[10] = time.Parse(time.RFC3339Nano, restored)
	}
	errs[7] = errors.Join(checkSource(p.Source), checkSource(p.Again))
	if text := a[keyIndex]; text != "" {
		if p.Index, errs[8] = strconv.Atoi(text); p.Index < 0 {
			errs[8] = fmt.Errorf("annotation %s: %q is no index", keyIndex, text)
		}
	}
	if text := a[keyValidated]; text != "" { // of those that an older daemon added there is none
		p.Validated, errs[9] = time.Parse(time.RFC3339Nano, text)
	}
	return p, errors.Join(errs[:]...)
}

// load reads what is stored of a package's content from its OCI manifest and config.
// Both are held against their SHA-256; of the big blobs only the size is.
func (l *Library) load(p *Package) (s stored, err error) {
	if p.Pulled() {
		return l.loadPulled(p)
	}
	b, err := l.readBlob(&p.oci, maxOCI)
	if err != nil {
		return s, fmt.Errorf("OCI manifest: %w", err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil || len(m.Layers) != 2 {
		return s, errors.New("OCI manifest: not one of wimcast")
	}
	s.config, s.content, s.manifest = m.Config, m.Layers[0], m.Layers[1]
	if err := errors.Join(checkDescriptor(&s.config, mediaTypeConfig), checkDescriptor(&s.content, mediaTypeContent), checkDescriptor(&s.manifest, mediaTypeManifest)); err != nil {
		return s, fmt.Errorf("OCI manifest: %w", err)
	}
	if b, err = l.readBlob(&s.config, maxJSON); err != nil {
		return s, fmt.Errorf("config: %w", err)
	}
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return s, fmt.Errorf("config: %w", err)
	}
	sum, err := hex.DecodeString(c.SHA256)
	if err != nil || len(sum) != len(s.SHA256) || c.SHA256 != s.content.Digest.Encoded() || c.Digest != p.Digest.String() || c.Size != s.content.Size ||
		s.manifest.Size != crypto.ManifestLen(c.Size) {
		return s, errors.New("config: it isn't of this content")
	}
	copy(s.SHA256[:], sum)
	s.Size, s.Images, s.Compression, s.Pipable, s.Solid, s.IntegrityChecked = c.Size, c.Images, c.Compression, c.Pipable, c.Solid, c.IntegrityChecked
	for _, d := range []v1.Descriptor{s.content, s.manifest} {
		info, err := l.root.Stat(blobPath(d.Digest))
		if err != nil {
			return s, err
		}
		if info.Size() != d.Size {
			return s, fmt.Errorf("blob %s has %d bytes, %d were added", d.Digest, info.Size(), d.Size)
		}
	}
	return s, nil
}

// readBlob reads a small blob and proves it.
func (l *Library) readBlob(d *v1.Descriptor, limit int64) ([]byte, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, not between 0 and %d", d.Digest, d.Size, limit)
	}
	f, err := l.root.Open(blobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, d.Size+1) // one more than there should be
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	b = b[:n]
	if int64(n) != d.Size || digest.FromBytes(b) != d.Digest {
		return nil, fmt.Errorf("blob %s: its bytes don't match its digest", d.Digest)
	}
	return b, nil
}

// describe returns the descriptor of bytes.
func describe(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// writeBlob writes a small blob; the directory isn't synced yet.
func (l *Library) writeBlob(d *v1.Descriptor, b []byte) error {
	return l.replace(blobPath(d.Digest), b)
}

// replace writes a file so that it is there whole, or as it was. The caller syncs the directory.
func (l *Library) replace(name string, b []byte) error {
	if err := statefile.Write(l.root, path.Join(ingestDir, rand.Text()), name, fileMode, b, func() { l.step("rename " + name) }); err != nil {
		return l.full(err)
	}
	return nil
}

// createIngest creates a file of a new name to write into.
func (l *Library) createIngest() (*os.File, string, error) {
	name := path.Join(ingestDir, rand.Text())
	f, err := l.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, "", l.full(err)
	}
	return f, name, nil
}

// syncDir makes renames in a directory last.
func (l *Library) syncDir(name string) error {
	l.step("sync " + name)
	return statefile.SyncDir(l.root, name)
}

// sweep removes the blobs that no package names, no release that is being pulled, and no content that is open.
func (l *Library) sweep() error {
	keep := map[string]bool{}
	for i := range l.packages {
		p := &l.packages[i]
		if p.config.Digest == "" {
			return nil // what it had isn't known: keep everything
		}
		p.keep(keep)
	}
	for _, r := range l.pending {
		keepRelease(keep, r.manifest)
	}
	for c := range l.reading {
		c.pkg.keep(keep)
	}
	entries, err := fs.ReadDir(l.root.FS(), blobDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if keep[e.Name()] || !e.Type().IsRegular() {
			continue
		}
		l.step("sweep " + e.Name())
		if err := l.root.Remove(path.Join(blobDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
