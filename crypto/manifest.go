package crypto

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/zeebo/blake3"
)

// BlockSize is the size of every block of an image but its last, in bytes. It
// is a property of the image, not of a session: library, manifest, have-map,
// unicast and sessions all count in blocks (docs/protocol.md, section 2).
const BlockSize = 180_224

// Hash is a BLAKE3-256 hash.
type Hash [32]byte

// String returns the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String wrote.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("parse hash %q: not 64 hexadecimal digits", s)
	}
	copy(h[:], b)
	return h, nil
}

// BlockHash returns the hash that proves a block. Padding isn't hashed: b is
// exactly the block's bytes of the image.
func BlockHash(b []byte) Hash { return blake3.Sum256(b) }

// Manifest layout (docs/protocol.md, section 3).
const (
	manifestMagic  = "wimcast manifest\x00\x01" // the last byte is the version
	manifestHeader = len(manifestMagic) + 8 + sha256.Size
	rootLabel      = "wimcast manifest root v1"
	// MaxImageSize bounds what a manifest may claim: 64 TiB, so that block
	// numbers stay far from the end of 32 bits and hostile sizes fail early.
	MaxImageSize = 1 << 46
)

// Manifest says what an image is, block by block. It is immutable once built.
type Manifest struct {
	Size   int64    // of the image, in bytes
	SHA256 [32]byte // of the image
	Blocks []Hash   // one for each block, in order
}

// BlockCount returns how many blocks size bytes make; zero bytes make none.
func BlockCount(size int64) int { return int((size + BlockSize - 1) / BlockSize) }

// BlockLen returns the length of block i of a thing of size bytes.
func BlockLen(size int64, i int) int {
	return int(min(BlockSize, size-int64(i)*BlockSize))
}

// ManifestLen returns the length of the marshalled manifest of an image of size
// bytes.
func ManifestLen(size int64) int64 {
	return int64(manifestHeader) + int64(BlockCount(size))*int64(len(Hash{}))
}

// Marshal returns the manifest's one canonical form.
func (m *Manifest) Marshal() []byte {
	b := make([]byte, 0, ManifestLen(m.Size))
	b = append(b, manifestMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))
	b = append(b, m.SHA256[:]...)
	for i := range m.Blocks {
		b = append(b, m.Blocks[i][:]...)
	}
	return b
}

// ParseManifest reads what Marshal wrote. It accepts nothing else: lengths must
// fit exactly. It doesn't prove anything; compare with a digest first.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) < manifestHeader || string(b[:len(manifestMagic)]) != manifestMagic {
		return nil, errors.New("parse manifest: not a wimcast manifest of version 1")
	}
	size := binary.BigEndian.Uint64(b[len(manifestMagic):])
	if size > MaxImageSize {
		return nil, fmt.Errorf("parse manifest: image size %d is beyond %d", size, int64(MaxImageSize))
	}
	m := &Manifest{Size: int64(size)}
	if int64(len(b)) != ManifestLen(m.Size) {
		return nil, fmt.Errorf("parse manifest: %d bytes for an image of %d, want %d", len(b), size, ManifestLen(m.Size))
	}
	copy(m.SHA256[:], b[len(manifestMagic)+8:])
	m.Blocks = make([]Hash, BlockCount(m.Size))
	for i := range m.Blocks {
		copy(m.Blocks[i][:], b[manifestHeader+i*len(Hash{}):])
	}
	return m, nil
}

// Roots returns the hash of each block of a marshalled manifest.
func Roots(manifest []byte) []Hash {
	roots := make([]Hash, 0, BlockCount(int64(len(manifest))))
	for len(manifest) > 0 {
		n := min(BlockSize, len(manifest))
		roots = append(roots, BlockHash(manifest[:n]))
		manifest = manifest[n:]
	}
	return roots
}

// Digest names content: it covers the image's size, the manifest's length and
// the list of the hashes of the manifest's blocks, which cover the rest. The welcome carries it.
func Digest(size int64, roots []Hash) Hash {
	h := blake3.New()
	_, _ = h.Write([]byte(rootLabel))
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(size))
	binary.BigEndian.PutUint64(n[8:], uint64(ManifestLen(size)))
	_, _ = h.Write(n[:])
	for i := range roots {
		_, _ = h.Write(roots[i][:])
	}
	var d Hash
	h.Sum(d[:0])
	return d
}

// Digest returns the digest that names the manifest's image.
func (m *Manifest) Digest() Hash { return Digest(m.Size, Roots(m.Marshal())) }

// ManifestBuilder computes the manifest of the bytes written to it. The zero
// value isn't ready; use NewManifestBuilder. It is not safe for concurrent use.
type ManifestBuilder struct {
	sha   hash.Hash
	block []byte // the bytes of the open block
	m     Manifest
}

var _ io.Writer = (*ManifestBuilder)(nil)

// NewManifestBuilder returns a builder for one image.
func NewManifestBuilder() *ManifestBuilder {
	return &ManifestBuilder{sha: sha256.New(), block: make([]byte, 0, BlockSize)}
}

// Write adds the image's next bytes. It never fails.
func (b *ManifestBuilder) Write(p []byte) (int, error) {
	n := len(p)
	_, _ = b.sha.Write(p)
	b.m.Size += int64(n)
	for len(p) > 0 {
		if len(b.block) == 0 && len(p) >= BlockSize {
			b.m.Blocks = append(b.m.Blocks, BlockHash(p[:BlockSize]))
			p = p[BlockSize:]
			continue
		}
		take := min(BlockSize-len(b.block), len(p))
		b.block = append(b.block, p[:take]...)
		p = p[take:]
		if len(b.block) == BlockSize {
			b.flush()
		}
	}
	return n, nil
}

func (b *ManifestBuilder) flush() {
	if len(b.block) > 0 {
		b.m.Blocks = append(b.m.Blocks, BlockHash(b.block))
		b.block = b.block[:0]
	}
}

// Manifest ends the image and returns its manifest. The builder can't be used
// afterwards.
func (b *ManifestBuilder) Manifest() *Manifest {
	b.flush()
	b.sha.Sum(b.m.SHA256[:0])
	return &b.m
}
