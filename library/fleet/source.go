package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/release"
)

// errEnds says that something was read beyond its end.
var errEnds = errors.New("it ends there")

// source is a content as it goes into a registry: sealed where it shall be. Chunks of it are made when they are read, from blocks
// that are proven in the same call; the same key and content always give the same bytes. Safe for concurrent use.
type source struct {
	content *library.Content
	layout  release.Layout
	sealer  *release.Sealer // nil: it isn't sealed
}

// newSource returns the source of an open content; key is nil where it isn't sealed. The content stays the caller's.
func newSource(c *library.Content, layout release.Layout, key *[release.KeySize]byte) (*source, error) {
	s := &source{content: c, layout: layout}
	if key != nil {
		var err error
		if s.sealer, err = release.NewSealer(*key); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// manifest returns the manifest of blocks, as it is stored.
func (s *source) manifest() ([]byte, error) {
	b := s.content.Manifest().Marshal()
	if s.sealer == nil {
		return b, nil
	}
	return s.sealer.Seal(nil, release.ManifestPlace, b)
}

// block appends block i as it is stored to dst. plain has room for a block.
func (s *source) block(dst []byte, i int, plain []byte) ([]byte, error) {
	n, err := s.content.ReadBlock(i, plain)
	if err != nil {
		return nil, err
	}
	if s.sealer == nil {
		return append(dst, plain[:n]...), nil
	}
	return s.sealer.Seal(dst, uint64(i), plain[:n])
}

// chunk is one chunk of a source. It keeps one block. For one reader at a time.
type chunk struct {
	source *source
	number int
	stride int64 // of blocks, as they are stored
	at     int   // the block that is in stored; -1: none
	plain  []byte
	stored []byte
}

var _ io.ReaderAt = (*chunk)(nil)

func (s *source) chunk(number int) *chunk {
	stride := int64(crypto.BlockSize)
	if s.sealer != nil {
		stride += release.Overhead
	}
	return &chunk{source: s, number: number, stride: stride, at: -1, plain: make([]byte, crypto.BlockSize)}
}

// ReadAt implements io.ReaderAt. Who reads in order has each block made once.
func (c *chunk) ReadAt(b []byte, off int64) (int, error) {
	size, first := c.source.layout.ChunkLen(c.number), c.number*c.source.layout.ChunkBlocks
	n := 0
	for n < len(b) {
		if off >= size {
			return n, io.EOF
		}
		i := first + int(off/c.stride)
		if i != c.at {
			c.at = -1
			stored, err := c.source.block(c.stored[:0], i, c.plain)
			if err != nil {
				return n, err
			}
			c.stored, c.at = stored, i
		}
		within := off % c.stride
		if within >= int64(len(c.stored)) {
			return n, fmt.Errorf("chunk %d: %w", c.number, errEnds)
		}
		m := copy(b[n:], c.stored[within:])
		n += m
		off += int64(m)
	}
	return n, nil
}

// inMemory is up to which size a chunk is kept whole while it is sent, in bytes. Larger ones, of contents beyond 47 GB, are made
// twice, for their digest and for sending; memory then is a block each.
const inMemory = 4 << 20

// hold returns the bytes of a chunk to be read more than once.
func (s *source) hold(number int) (io.ReaderAt, error) {
	c, size := s.chunk(number), s.layout.ChunkLen(number)
	if size > inMemory {
		return c, nil
	}
	b := make([]byte, size)
	if _, err := c.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}
