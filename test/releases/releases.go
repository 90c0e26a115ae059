// Package releases makes small releases for tests: what a site pushes, as bytes by their digests.
package releases

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/release"
)

// Site is who signs.
type Site struct {
	Public  ed25519.PublicKey
	private ed25519.PrivateKey
}

// NewSite returns a site with a key of its own for each seed.
func NewSite(seed byte) *Site {
	private := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), seed))
	return &Site{private.Public().(ed25519.PublicKey), private} //nolint:forcetypeassert // it is one (crypto/ed25519)
}

// Release is one as it goes to a registry.
type Release struct {
	Document, Manifest []byte
	Layers             []v1.Descriptor
	Blobs              map[digest.Digest][]byte // all but the manifest
}

// Digest names the manifest.
func (r *Release) Digest() digest.Digest { return digest.FromBytes(r.Manifest) }

// Assigned is the release in assignments.
func (r *Release) Assigned(about *release.Release, current bool) release.Assigned {
	return release.Assigned{
		Reference: about.Reference(), Current: current, Revision: about.Revision, Manifest: r.Digest(), Size: int64(len(r.Manifest)), Priority: release.Medium,
	}
}

// Make makes a release of content: about says what it is called, its flags, revision and description; the rest is filled in. With recipients the content is
// sealed under key for them.
func (s *Site) Make(about *release.Release, content []byte, key [release.KeySize]byte, recipients ...string) (*Release, error) {
	builder := crypto.NewManifestBuilder()
	_, _ = builder.Write(content)
	blocks := builder.Manifest()
	layout := release.NewLayout(int64(len(content)), len(recipients) > 0)
	about.Digest, about.Size, about.ChunkBlocks, about.Made, about.Keys = blocks.Digest().String(), layout.Size, layout.ChunkBlocks, time.Unix(1_790_000_000, 0).UTC(), nil
	var sealer *release.Sealer
	if len(recipients) > 0 {
		var err error
		if about.Keys, err = release.Wrap(key, recipients); err != nil {
			return nil, err
		}
		if sealer, err = release.NewSealer(key); err != nil {
			return nil, err
		}
	}
	out := &Release{Blobs: map[digest.Digest][]byte{}}
	add := func(mediaType string, b []byte) {
		d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		out.Layers = append(out.Layers, d)
		out.Blobs[d.Digest] = b
	}
	seal := func(dst []byte, place uint64, block []byte) ([]byte, error) {
		if sealer == nil {
			return append(dst, block...), nil
		}
		return sealer.Seal(dst, place, block)
	}
	b, err := seal(nil, release.ManifestPlace, blocks.Marshal())
	if err != nil {
		return nil, err
	}
	add(release.MediaManifest, b)
	for c := range layout.Chunks() {
		var chunk []byte
		first, end := layout.Blocks(c)
		for i := first; i < end; i++ {
			from := i * crypto.BlockSize
			if chunk, err = seal(chunk, uint64(i), content[from:from+crypto.BlockLen(layout.Size, i)]); err != nil {
				return nil, err
			}
		}
		add(release.MediaChunk, chunk)
	}
	if out.Document, out.Manifest, err = about.Seal(s.private, out.Layers); err != nil {
		return nil, fmt.Errorf("make release: %w", err)
	}
	out.Blobs[digest.FromBytes(out.Document)] = out.Document
	return out, nil
}

// Assign makes assignments: document and manifest.
func (s *Site) Assign(a *release.Assignments) (document, manifest []byte, err error) {
	return a.Seal(s.private)
}
