package release

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
)

// Media types of a release.
const (
	ArtifactType   = "application/vnd.wimcast.release.v1"
	MediaDocument  = "application/vnd.wimcast.release.document.v1+json"
	MediaManifest  = "application/vnd.wimcast.manifest.v1"
	MediaChunk     = "application/vnd.wimcast.chunk.v1"
	keySignature   = "vnd.wimcast.signature"
	documentFormat = 1
)

// Bounds of what is read, in bytes.
const (
	MaxManifest = 4 << 20 // of an OCI manifest; registries take no more
	MaxDocument = 8 << 20 // of a release document, most of which is the description of the images in a WIM
)

// Release is a version of a package as the site describes it.
type Release struct {
	Format   int       `json:"format"`   // 1
	Name     string    `json:"name"`     // as in the library
	Version  string    `json:"version"`  // may be empty
	Comment  string    `json:"comment"`  // may be empty
	Revision int64     `json:"revision"` // rises with everything that the site releases; from 1
	Made     time.Time `json:"made"`     // by the site's clock; for people

	AllowMulticast bool `json:"allow_multicast"`
	Encrypt        bool `json:"encrypt"`
	MulticastOnly  bool `json:"multicast_only"`

	// Content is what the library says of the content (its compression, its images); opaque here.
	Content     json.RawMessage `json:"content"`
	Digest      string          `json:"digest"` // of the content, as sessions name it (crypto.Digest)
	Size        int64           `json:"size"`   // of the content, in bytes
	ChunkBlocks int             `json:"chunk_blocks"`
	// Layers is the SHA-256, in hexadecimal, of the layers' digests in their order, each followed by a line feed: what proves them all.
	Layers string `json:"layers"`
	// Keys is the content key, wrapped by age to the points; empty where the content isn't sealed.
	Keys []byte `json:"keys,omitempty"`
}

// Layout returns how the content lies in chunks.
func (r *Release) Layout() Layout { return Layout{r.Size, r.ChunkBlocks, r.Sealed()} }

// Sealed reports whether the content is sealed.
func (r *Release) Sealed() bool { return len(r.Keys) > 0 }

// Reference returns name@version, or the name where there is no version.
func (r *Release) Reference() string {
	if r.Version == "" {
		return r.Name
	}
	return r.Name + "@" + r.Version
}

// Seal makes the OCI manifest of a release. Layers are the manifest of blocks, then the chunks in order. It fills in Format and
// Layers, and returns the release document, which is the manifest's config, and the manifest.
func (r *Release) Seal(key ed25519.PrivateKey, layers []v1.Descriptor) (document, manifest []byte, err error) {
	r.Format, r.Layers = documentFormat, sumLayers(layers)
	if document, err = json.Marshal(r); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", r.Reference(), err)
	}
	if len(document) > MaxDocument {
		return nil, nil, fmt.Errorf("release %s: its document has %d bytes, at most %d are taken", r.Reference(), len(document), MaxDocument)
	}
	if err := r.checkLayers(layers); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", r.Reference(), err)
	}
	manifest, err = json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config:      v1.Descriptor{MediaType: MediaDocument, Digest: digest.FromBytes(document), Size: int64(len(document))},
		Layers:      layers,
		Annotations: map[string]string{keySignature: sign(key, signsRelease, document), v1.AnnotationTitle: r.Reference()},
	})
	if err == nil && len(manifest) > MaxManifest {
		err = fmt.Errorf("its manifest has %d bytes, registries take %d", len(manifest), MaxManifest)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", r.Reference(), err)
	}
	return document, manifest, nil
}

// Manifest is an OCI manifest of a release or of assignments, parsed. It proves nothing yet.
type Manifest struct {
	Document  v1.Descriptor   // the config
	Layers    []v1.Descriptor // of a release: the manifest of blocks, then the chunks in order
	Signature string
}

// ParseManifest reads an OCI manifest of the artifact type.
func parseManifest(b []byte, artifactType, document string, limit int64) (*Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil || len(b) > MaxManifest || m.MediaType != v1.MediaTypeImageManifest || m.ArtifactType != artifactType {
		return nil, fmt.Errorf("it isn't a manifest of %s", artifactType)
	}
	if err := checkDescriptor(&m.Config, document); err != nil {
		return nil, err
	}
	if m.Config.Size > limit {
		return nil, fmt.Errorf("its document has %d bytes, at most %d are taken", m.Config.Size, limit)
	}
	return &Manifest{m.Config, m.Layers, m.Annotations[keySignature]}, nil
}

// ParseManifest reads the OCI manifest of a release. Open proves it.
func ParseManifest(b []byte) (*Manifest, error) {
	m, err := parseManifest(b, ArtifactType, MediaDocument, MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("parse release: %w", err)
	}
	return m, nil
}

// Open proves a release: that the document is the manifest's, that the site signed it, and that the layers are those that it means.
// The errors wrap ErrOrigin where the site didn't.
func (m *Manifest) Open(document []byte, site ed25519.PublicKey) (*Release, error) {
	r, err := m.open(document, site)
	if err != nil {
		return nil, fmt.Errorf("open release %.12s: %w", m.Document.Digest.Encoded(), err)
	}
	return r, nil
}

func (m *Manifest) open(document []byte, site ed25519.PublicKey) (*Release, error) {
	if digest.FromBytes(document) != m.Document.Digest {
		return nil, errors.New("the document doesn't match its digest")
	}
	if err := verify(site, signsRelease, document, m.Signature); err != nil {
		return nil, err
	}
	r := &Release{}
	if err := json.Unmarshal(document, r); err != nil {
		return nil, fmt.Errorf("the document doesn't parse: %w", err)
	}
	switch {
	case r.Format != documentFormat:
		return nil, fmt.Errorf("its format is %d, this program reads %d; next: install a newer wimcastd", r.Format, documentFormat)
	case r.Revision < 1:
		return nil, fmt.Errorf("revision %d", r.Revision)
	case r.Layers != sumLayers(m.Layers):
		return nil, errors.New("its layers aren't those that were signed")
	}
	if _, err := crypto.ParseHash(r.Digest); err != nil {
		return nil, err
	}
	return r, r.checkLayers(m.Layers)
}

// checkLayers holds layers against what the document says of the content.
func (r *Release) checkLayers(layers []v1.Descriptor) error {
	l := r.Layout()
	if err := l.check(); err != nil {
		return err
	}
	if len(layers) != 1+l.Chunks() {
		return fmt.Errorf("%d layers, want the manifest of blocks and %d chunks", len(layers), l.Chunks())
	}
	for i := range layers {
		mediaType, size := MediaManifest, l.ManifestLen()
		if i > 0 {
			mediaType, size = MediaChunk, l.ChunkLen(i-1)
		}
		if err := checkDescriptor(&layers[i], mediaType); err != nil {
			return err
		}
		if layers[i].Size != size {
			return fmt.Errorf("layer %d has %d bytes, want %d", i, layers[i].Size, size)
		}
	}
	return nil
}

func checkDescriptor(d *v1.Descriptor, mediaType string) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
		return fmt.Errorf("digest %.100q of %d bytes, want SHA-256", d.Digest, d.Size)
	}
	if d.MediaType != mediaType {
		return fmt.Errorf("media type %.100q, want %s", d.MediaType, mediaType)
	}
	return nil
}

func sumLayers(layers []v1.Descriptor) string {
	h := sha256.New()
	for i := range layers {
		_, _ = fmt.Fprintf(h, "%s\n", layers[i].Digest)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// maxSlug bounds the readable part of a tag; a tag has 128 characters.
const maxSlug = 80

// Tag returns the tag of a release: something readable, a part of the reference's hash that makes it unambiguous, and the revision.
func Tag(reference string, revision int64) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, reference)
	sum := sha256.Sum256([]byte(reference))
	return fmt.Sprintf("p-%s-%x-r%d", slug[:min(len(slug), maxSlug)], sum[:4], revision)
}
