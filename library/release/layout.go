package release

import (
	"fmt"

	"wimcast/crypto"
)

const (
	// leastChunk is how many blocks a chunk has: 2.9 MB. What changes in an image moves by chunks, and each costs the registry a
	// request; 5 GB are 1,800.
	leastChunk = 16
	// maxChunks bounds a manifest: at 150 bytes each 16,384 make 2.5 MB, and registries take 4 MiB.
	maxChunks = 16_384
	// maxChunkBlocks bounds what a document may claim: 64 TiB in 16,384 chunks.
	maxChunkBlocks = 1 << 16
)

// Layout is how a content lies in chunks. The grid is fixed: chunk c has the blocks from c·ChunkBlocks on.
type Layout struct {
	Size        int64 // of the content, in bytes
	ChunkBlocks int   // blocks in each chunk but the last
	Sealed      bool  // each block is Overhead bytes longer
}

// NewLayout returns the layout of a content of size bytes.
func NewLayout(size int64, sealed bool) Layout {
	l := Layout{size, leastChunk, sealed}
	for l.Chunks() > maxChunks {
		l.ChunkBlocks *= 4
	}
	return l
}

// check holds a layout that came from outside.
func (l Layout) check() error {
	if l.Size <= 0 || l.Size > crypto.MaxImageSize || l.ChunkBlocks < 1 || l.ChunkBlocks > maxChunkBlocks || l.Chunks() > maxChunks {
		return fmt.Errorf("content of %d bytes in chunks of %d blocks: beyond what a release can be", l.Size, l.ChunkBlocks)
	}
	return nil
}

// Chunks returns how many chunks there are.
func (l Layout) Chunks() int {
	return (crypto.BlockCount(l.Size) + l.ChunkBlocks - 1) / l.ChunkBlocks
}

// Blocks returns which blocks chunk c has: from first to before end.
func (l Layout) Blocks(c int) (first, end int) {
	first = c * l.ChunkBlocks
	return first, min(first+l.ChunkBlocks, crypto.BlockCount(l.Size))
}

// ChunkLen returns the length of chunk c in bytes, as it is stored.
func (l Layout) ChunkLen(c int) int64 {
	first, end := l.Blocks(c)
	n := int64(end-first-1)*int64(crypto.BlockSize+l.overhead()) + int64(crypto.BlockLen(l.Size, end-1)+l.overhead())
	return n
}

// Find returns where block i lies: in which chunk, and there from which byte and how many as stored.
func (l Layout) Find(i int) (chunk int, offset int64, length int) {
	chunk = i / l.ChunkBlocks
	return chunk, int64(i%l.ChunkBlocks) * int64(crypto.BlockSize+l.overhead()), crypto.BlockLen(l.Size, i) + l.overhead()
}

// Stored returns the length of all chunks together, in bytes.
func (l Layout) Stored() int64 {
	return l.Size + int64(crypto.BlockCount(l.Size))*int64(l.overhead())
}

// ManifestLen returns the length of the manifest of blocks, as it is stored.
func (l Layout) ManifestLen() int64 { return crypto.ManifestLen(l.Size) + int64(l.overhead()) }

func (l Layout) overhead() int {
	if l.Sealed {
		return Overhead
	}
	return 0
}
