package wim

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the format's own
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNoIntegrity says that a WIM has no integrity table. Microsoft's media have none.
var ErrNoIntegrity = errors.New("no integrity table")

const (
	integrityHeader = 12
	maxIntegrity    = 64 << 20 // 3 million chunks: 32 TiB of the usual 10 MiB
	integrityRun    = 1 << 20  // read at once
)

// VerifyIntegrity holds the file against its integrity table: SHA-1 of each chunk from the
// end of the header to the end of the lookup table. It covers neither header nor XML, and anybody
// can make one: it finds accidents, not attacks. progress, if not nil, is told the bytes done after each
// chunk. The errors are ErrNoIntegrity, ErrDamaged wrapped with the chunk, ErrTruncated, the
// context's, or the reader's.
func (f *File) VerifyIntegrity(ctx context.Context, progress func(done, total int64)) error {
	if f.Integrity == (Resource{}) {
		return ErrNoIntegrity
	}
	if err := f.verifyIntegrity(ctx, progress); err != nil {
		return fmt.Errorf("verify integrity: %w", err)
	}
	return nil
}

func (f *File) verifyIntegrity(ctx context.Context, progress func(done, total int64)) error {
	chunk, sums, err := f.readIntegrity()
	if err != nil {
		return err
	}
	end := f.integrityEnd()
	buf := make([]byte, min(chunk, end-HeaderSize, integrityRun))
	for off := int64(HeaderSize); off < end; {
		next := min(off+chunk, end)
		got, err := f.sum(ctx, off, next, buf)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, sums[:sha1.Size]) {
			return fmt.Errorf("%w: bytes %d to %d don't match its integrity table; copy the file again", ErrDamaged, off, next)
		}
		sums, off = sums[sha1.Size:], next
		if progress != nil {
			progress(off-HeaderSize, end-HeaderSize)
		}
	}
	return nil
}

// integrityEnd returns where the bytes that the integrity table covers end.
func (f *File) integrityEnd() int64 { return int64(f.Header.Lookup.Offset + f.Header.Lookup.Size) }

// readIntegrity returns the length of a chunk, in bytes from 1 to 2^32-1, and the chunks' sums.
func (f *File) readIntegrity() (chunk int64, sums []byte, err error) {
	table := f.Header.Integrity
	if err := checkTable("integrity table", table, maxIntegrity); err != nil {
		return 0, nil, err
	}
	if table.Size < integrityHeader {
		return 0, nil, fmt.Errorf("%w: its integrity table has %d bytes", ErrDamaged, table.Size)
	}
	b := make([]byte, table.Size)
	if err := readFull(f.r, b, int64(table.Offset)); err != nil {
		return 0, nil, err
	}
	le := binary.LittleEndian
	size, count, chunk := le.Uint32(b), le.Uint32(b[4:]), int64(le.Uint32(b[8:]))
	total := f.integrityEnd() - HeaderSize
	if uint64(size) != table.Size || uint64(size) != integrityHeader+uint64(count)*sha1.Size ||
		chunk == 0 || total < 0 || int64(count) != total/chunk+min(total%chunk, 1) {
		return 0, nil, fmt.Errorf("%w: its integrity table of %d bytes (%d by itself) names %d chunks of %d for %d bytes",
			ErrDamaged, table.Size, size, count, chunk, total)
	}
	return chunk, b[integrityHeader:], nil
}

// sum returns the SHA-1 of the bytes from off to end.
func (f *File) sum(ctx context.Context, off, end int64, buf []byte) ([]byte, error) {
	h := sha1.New() //nolint:gosec // the format's own
	for off < end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := buf[:min(int64(len(buf)), end-off)]
		if err := readFull(f.r, part, off); err != nil {
			return nil, err
		}
		_, _ = h.Write(part)
		off += int64(len(part))
	}
	return h.Sum(nil), nil
}
