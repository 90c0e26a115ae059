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

// Bounds of the integrity table.
const (
	integrityHeader = 12
	maxIntegrity    = 64 << 20
	minChunk        = 64 << 10
	maxChunk        = 128 << 20
)

// VerifyIntegrity holds the file against its integrity table: SHA-1 of each chunk from the
// end of the header to the end of the lookup table. It covers neither header nor XML. progress,
// if not nil, is told the bytes done after each chunk. The errors are ErrNoIntegrity,
// ErrDamaged wrapped with the chunk, the context's, or the reader's.
func (f *File) VerifyIntegrity(ctx context.Context, progress func(done, total int64)) error {
	table := f.Integrity
	if table.Size == 0 {
		return ErrNoIntegrity
	}
	if table.Size < integrityHeader || table.Size > maxIntegrity || table.Flags&Compressed != 0 {
		return fmt.Errorf("verify integrity: %w: its table has %d bytes", ErrDamaged, table.Size)
	}
	b := make([]byte, table.Size)
	if err := readFull(f.r, b, int64(table.Offset)); err != nil {
		return fmt.Errorf("verify integrity: %w", err)
	}
	size, count, chunk := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), int64(binary.LittleEndian.Uint32(b[8:]))
	end := int64(f.Header.Lookup.Offset + f.Header.Lookup.Size)
	total := end - HeaderSize
	if uint64(size) != table.Size || chunk < minChunk || chunk > maxChunk || total < 0 ||
		int64(count) != (total+chunk-1)/chunk || uint64(size) != integrityHeader+uint64(count)*sha1.Size {
		return fmt.Errorf("verify integrity: %w: its table of %d bytes names %d chunks of %d for %d bytes", ErrDamaged, size, count, chunk, total)
	}
	buf := make([]byte, min(chunk, total))
	for i, off := 0, int64(HeaderSize); off < end; i, off = i+1, off+chunk {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("verify integrity: %w", err)
		}
		part := buf[:min(chunk, end-off)]
		if err := readFull(f.r, part, off); err != nil {
			return fmt.Errorf("verify integrity: %w", err)
		}
		got := sha1.Sum(part) //nolint:gosec // the format's own
		if want := b[integrityHeader+i*sha1.Size:][:sha1.Size]; !bytes.Equal(got[:], want) {
			return fmt.Errorf("verify integrity: %w: bytes %d to %d don't match its integrity table; copy the file again", ErrDamaged, off, off+int64(len(part)))
		}
		if progress != nil {
			progress(off+int64(len(part))-HeaderSize, total)
		}
	}
	return nil
}
