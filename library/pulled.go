package library

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/release"
)

// Site is where the packages of a point come from.
type Site struct {
	// Point is the name that the site knows the point by.
	Point string
	// Key is what releases are signed with.
	Key ed25519.PublicKey
	// OpenKey unwraps a content key. The error wraps release.ErrNotRecipient where the package isn't for this point.
	OpenKey func(wrapped []byte) ([release.KeySize]byte, error)
}

// OpenPoint opens the library of a point, as [Open] does. Packages that were pulled are proven to be the site's; those that aren't
// go out of service.
func OpenPoint(dir string, site *Site) (*Library, error) { return open(dir, site, func(string) {}) }

// Pulled reports whether the package came from a site.
func (p *Package) Pulled() bool { return p.Revision > 0 }

// Release returns the digest of the release's manifest of a pulled package, "" of another.
func (p *Package) Release() digest.Digest {
	if !p.Pulled() {
		return ""
	}
	return p.oci.Digest
}

// sharesContent reports whether two packages have the same files.
func (p *Package) sharesContent(q *Package) bool {
	switch {
	case p.Digest != q.Digest || p.Pulled() != q.Pulled():
		return false
	case !p.Pulled():
		return true
	case p.release == nil || q.release == nil: // what it had isn't known
		return p.oci.Digest == q.oci.Digest
	}
	return p.release.Layers == q.release.Layers
}

// ofSite refuses what only the site does.
func (l *Library) ofSite(what string, p *Package, next string) error {
	return fmt.Errorf("%s package %s: %w; next: at the site, %s", what, p.Reference(), ErrFromSite, next)
}

// nameIsFree is namePulled for those who don't hold mu; "" is free.
func (l *Library) nameIsFree(name string) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.namePulled(name)
}

// namePulled refuses a name that pulled packages have. mu must be held.
func (l *Library) namePulled(name string) error {
	for i := range l.packages {
		if p := &l.packages[i]; p.Pulled() && p.Name == name {
			return fmt.Errorf("%w: %s has that name; next: add it at the site, or here with another --name", ErrFromSite, p.Reference())
		}
	}
	return nil
}

// annotatePulled makes a package's line of index.json that of a release.
func annotatePulled(d *v1.Descriptor, p *Package) {
	d.ArtifactType = release.ArtifactType
	d.Annotations[keyRevision] = strconv.FormatInt(p.Revision, 10)
	for key, is := range map[string]bool{keyCurrent: p.Current, keyPrestaged: p.Prestaged} {
		if is {
			d.Annotations[key] = strconv.FormatBool(is)
		}
	}
}

// parsePulled reads what annotatePulled wrote.
func parsePulled(p *Package, d *v1.Descriptor) (err error) {
	text := d.Annotations[keyRevision]
	switch {
	case d.ArtifactType != release.ArtifactType && text == "":
		return nil
	case d.ArtifactType != release.ArtifactType:
		return fmt.Errorf("annotation %s: on a package that was added here", keyRevision)
	}
	if p.Revision, err = strconv.ParseInt(text, 10, 64); err != nil || p.Revision < 1 {
		return fmt.Errorf("annotation %s: %q is no revision", keyRevision, text)
	}
	p.Current, p.Prestaged = d.Annotations[keyCurrent] == "true", d.Annotations[keyPrestaged] == "true"
	return nil
}

// loadPulled reads what is stored of a pulled package, and proves that the site released it as it stands in index.json. Of
// the blobs only the size is looked at.
func (l *Library) loadPulled(p *Package) (s stored, err error) {
	raw, err := l.readBlob(&p.oci, release.MaxManifest)
	if err != nil {
		return s, fmt.Errorf("release manifest: %w", err)
	}
	m, err := release.ParseManifest(raw)
	if err != nil {
		return s, err
	}
	document, err := l.readBlob(&m.Document, release.MaxDocument)
	if err != nil {
		return s, fmt.Errorf("release document: %w", err)
	}
	q, err := l.prove(m, document)
	if err != nil {
		return s, err
	}
	if q.Reference() != p.Reference() || q.Revision != p.Revision || q.Flags != p.Flags || q.Comment != p.Comment || q.Digest != p.Digest {
		return s, errors.New("the library's index says something else of it than the site signed")
	}
	if _, err := l.sealer(&q.stored); err != nil {
		return s, err
	}
	missing := 0
	for _, d := range m.Layers {
		info, err := l.root.Stat(blobPath(d.Digest))
		if passing(err) {
			return s, err
		}
		if err != nil || info.Size() != d.Size {
			missing++
		}
	}
	if missing > 0 { // what it has is known all the same
		return q.stored, fmt.Errorf("%d of its %d blobs are missing or cut short", missing, len(m.Layers))
	}
	return q.stored, nil
}

// errNoSite says that nobody knows whom a pulled package is to be of.
var errNoSite = errors.New("it came from a site, and this daemon is no point of one (point.bundle)")

// prove returns the package that a release is. What isn't the site's wraps release.ErrOrigin.
func (l *Library) prove(m *release.Manifest, document []byte) (p Package, err error) {
	if l.site == nil {
		return p, errNoSite
	}
	r, err := m.Open(document, l.site.Key)
	if err != nil {
		return p, err
	}
	p = Package{
		Name: r.Name, Version: r.Version, Comment: r.Comment, Revision: r.Revision,
		Flags: Flags{AllowMulticast: r.AllowMulticast, Encrypt: r.Encrypt, MulticastOnly: r.MulticastOnly},
	}
	if err := errors.Join(checkName(p.Name), checkVersion(p.Version), checkComment(p.Comment), p.Flags.check(p.Reference())); err != nil {
		return p, fmt.Errorf("release: %w", err)
	}
	if p.Digest, err = crypto.ParseHash(r.Digest); err != nil {
		return p, fmt.Errorf("release: %w", err)
	}
	var c config
	if err := json.Unmarshal(r.Content, &c); err != nil {
		return p, fmt.Errorf("release: what it says of the content: %w", err)
	}
	sum, err := hex.DecodeString(c.SHA256)
	if err != nil || len(sum) != len(p.SHA256) || c.Digest != r.Digest || c.Size != r.Size {
		return p, errors.New("release: what it says of the content isn't of this content")
	}
	copy(p.SHA256[:], sum)
	p.Size, p.Images, p.Compression, p.Pipable, p.Solid, p.IntegrityChecked = c.Size, c.Images, c.Compression, c.Pipable, c.Solid, c.IntegrityChecked
	r.Content = nil // it is in the fields now
	p.release, p.config, p.manifest, p.chunks = r, m.Document, m.Layers[0], m.Layers[1:]
	return p, nil
}

// sealer returns what opens the content, nil where it isn't sealed. The key is in memory only.
func (l *Library) sealer(s *stored) (*release.Sealer, error) {
	if !s.release.Sealed() {
		return nil, nil //nolint:nilnil // nothing is sealed
	}
	key, err := l.site.OpenKey(s.release.Keys)
	if err != nil {
		return nil, err
	}
	return release.NewSealer(key)
}
