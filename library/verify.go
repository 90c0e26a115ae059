package library

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wimcast/crypto"
)

// Verify hashes everything that is stored of a package again: each block against the
// manifest, the whole file against its SHA-256, the descriptions against their digests. What
// holds is in service again; what doesn't is out of service, and the error is a *DamagedError.
// progress, if not nil, is told the bytes hashed so far. A package that is whole may be cast meanwhile.
func (l *Library) Verify(ctx context.Context, ref string, progress func(done, total int64)) (Package, error) {
	p, err := l.Get(ref)
	if err != nil {
		return p, err
	}
	fresh := p
	if fresh.stored, err = l.load(&p); err != nil {
		return p, l.damaged(&p, err)
	}
	fresh.generation = p.generation
	c, err := l.openBlobs(&fresh)
	if err != nil {
		return p, err
	}
	defer func() { _ = c.Close() }()
	sum := sha256.New()
	buf := make([]byte, crypto.BlockSize)
	for i := range c.manifest.Blocks {
		if err := ctx.Err(); err != nil {
			return p, fmt.Errorf("verify package %s: %w", p.Reference(), err)
		}
		n, err := c.ReadBlock(i, buf)
		if err != nil {
			return p, err
		}
		_, _ = sum.Write(buf[:n])
		if progress != nil {
			progress(int64(i)*crypto.BlockSize+int64(n), fresh.Size)
		}
	}
	if !bytes.Equal(sum.Sum(nil), fresh.SHA256[:]) {
		return p, l.damaged(&p, errors.New("its SHA-256 isn't the one that it was added with"))
	}
	if err := l.backInService(&fresh); err != nil {
		return p, fmt.Errorf("verify package %s: %w", p.Reference(), err)
	}
	return l.Get(p.Reference())
}
