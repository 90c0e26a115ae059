package client

import (
	"encoding/binary"
	"errors"
	"fmt"

	"wimcast/crypto"
)

// The have-map on disk, version 1. All integers are big-endian.
//
//	"wimcast have-map" 0x00 0x01
//	u64 image size | u32 block size | digest (32)
//	u64 blocks | one bit a block, lowest first, unused bits zero
//	u64 manifest length | manifest, as docs/protocol.md section 3 has it; length 0: not kept
//	BLAKE3-256 of all before (32)
//
// The checksum is there against torn writes, not against forgers: nothing here
// is believed before it is hashed.
const (
	haveMapMagic  = "wimcast have-map\x00\x01" // the last byte is the version
	haveMapHeader = len(haveMapMagic) + 8 + 4 + len(crypto.Hash{})
)

// haveMap is what a have-map says.
type haveMap struct {
	digest   crypto.Hash
	size     int64   // of the image
	have     *Bitmap // the blocks that are on the disk
	manifest []byte  // marshalled; empty where it wasn't whole yet
}

// haveMapLimit returns the greatest length of the have-map of an image of size bytes.
func haveMapLimit(size int64) int64 {
	return int64(haveMapHeader) + 8 + int64(bitmapBytes(crypto.BlockCount(size))) +
		8 + crypto.ManifestLen(size) + int64(len(crypto.Hash{}))
}

// marshal returns the have-map's one canonical form.
func (m *haveMap) marshal() []byte {
	b := make([]byte, 0, haveMapHeader+8+bitmapBytes(m.have.Len())+8+len(m.manifest)+len(crypto.Hash{}))
	b = append(b, haveMapMagic...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.size))
	b = binary.BigEndian.AppendUint32(b, crypto.BlockSize)
	b = append(b, m.digest[:]...)
	b, _ = m.have.AppendBinary(b) // never fails
	b = binary.BigEndian.AppendUint64(b, uint64(len(m.manifest)))
	b = append(b, m.manifest...)
	sum := crypto.BlockHash(b)
	return append(b, sum[:]...)
}

// parseHaveMap reads what marshal wrote and nothing else. It allocates no more
// than b takes. The manifest aliases b.
func parseHaveMap(b []byte) (*haveMap, error) {
	if len(b) < haveMapHeader || string(b[:len(haveMapMagic)]) != haveMapMagic {
		return nil, errors.New("parse have-map: not a have-map of version 1")
	}
	end := len(b) - len(crypto.Hash{})
	if end < haveMapHeader || crypto.BlockHash(b[:end]) != crypto.Hash(b[end:]) {
		return nil, errors.New("parse have-map: the checksum doesn't fit")
	}
	rest := b[len(haveMapMagic):end]
	size, blockSize := binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:])
	if size > crypto.MaxImageSize || blockSize != crypto.BlockSize {
		return nil, fmt.Errorf("parse have-map: %d bytes in blocks of %d", size, blockSize)
	}
	m := &haveMap{size: int64(size), digest: crypto.Hash(rest[12:44]), have: new(Bitmap)}
	rest = rest[44:]
	bitmap := 8 + bitmapBytes(crypto.BlockCount(m.size))
	if len(rest) < bitmap+8 {
		return nil, errors.New("parse have-map: too short for its image")
	}
	if err := m.have.UnmarshalBinary(rest[:bitmap]); err != nil {
		return nil, fmt.Errorf("parse have-map: %w", err)
	}
	if m.have.Len() != crypto.BlockCount(m.size) {
		return nil, fmt.Errorf("parse have-map: %d blocks for an image of %d bytes", m.have.Len(), m.size)
	}
	length := binary.BigEndian.Uint64(rest[bitmap:])
	m.manifest = rest[bitmap+8:]
	if length != uint64(len(m.manifest)) || length != 0 && int64(length) != crypto.ManifestLen(m.size) {
		return nil, fmt.Errorf("parse have-map: a manifest of %d bytes for an image of %d", length, m.size)
	}
	return m, nil
}
