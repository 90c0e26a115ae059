package wim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestIntegrity flips each chunk of files with all sorts of chunks.
func TestIntegrity(t *testing.T) {
	for _, c := range []struct{ data, chunk int }{
		{0, 1 << 20},
		{0, 1},
		{50, 100},
		{50, 99},
		{50, 101},
		{900, 100},
		{950, 100},
		{5000, 4096},
		{integrityRun * 5 / 2, integrityRun},
		{integrityRun * 5 / 2, integrityRun*3/2 + 1},
		{integrityRun * 3, 10 << 20},
	} {
		t.Run(fmt.Sprintf("%d by %d", c.data, c.chunk), func(t *testing.T) {
			b, at := sample{images: 1, data: c.data, chunk: c.chunk}.build()
			f := mustOpen(t, b)
			total := at.xml - 208
			var told []int64
			err := f.VerifyIntegrity(t.Context(), func(done, all int64) {
				if all != int64(total) {
					t.Errorf("%d of %d, want %d", done, all, total)
				}
				told = append(told, done)
			})
			if err != nil {
				t.Fatal(err)
			}
			var want []int64
			for off := c.chunk; off < total; off += c.chunk {
				want = append(want, int64(off))
			}
			if want = append(want, int64(total)); !slices.Equal(told, want) {
				t.Errorf("told %v, want %v", told, want)
			}
			for off := 208; off < at.xml; off += c.chunk {
				for _, i := range []int{off, min(off+c.chunk, at.xml) - 1} {
					b[i] ^= 0x10
					err := f.VerifyIntegrity(t.Context(), nil)
					if !errors.Is(err, ErrDamaged) {
						t.Errorf("byte %d flipped: %v", i, err)
					}
					b[i] ^= 0x10
				}
			}
			// It covers no byte of the XML, and all of its own sums.
			b[at.xml+20] ^= 0x10
			if err := f.VerifyIntegrity(t.Context(), nil); err != nil {
				t.Error(err)
			}
			for i := at.integrity; i < at.end; i += max(1, (at.end-at.integrity)/100) {
				if at.integrity+8 <= i && i < at.integrity+12 && c.chunk > total/2 {
					continue // one chunk or two may be of another length and say the same
				}
				b[i] ^= 0x10
				if err := f.VerifyIntegrity(t.Context(), nil); !errors.Is(err, ErrDamaged) {
					t.Errorf("byte %d of the table flipped: %v", i-at.integrity, err)
				}
				b[i] ^= 0x10
			}
		})
	}
}

func TestIntegrityNone(t *testing.T) {
	b, _ := sample{images: 1, data: 100}.build()
	if err := mustOpen(t, b).VerifyIntegrity(t.Context(), nil); err != ErrNoIntegrity { //nolint:errorlint // not even wrapped
		t.Error(err)
	}
}

// TestIntegrityTable sets the table's own fields to everything of interest.
func TestIntegrityTable(t *testing.T) {
	b, at := sample{images: 1, data: 900, chunk: 100}.build()
	f := mustOpen(t, b)
	good := slices.Clone(b)
	for i := range 3 {
		field := b[at.integrity+4*i:]
		is := binary.LittleEndian.Uint32(field)
		for _, v := range []uint32{0, 1, is - 1, is + 1, is * 2, 1 << 16, 1 << 31, 1<<32 - 1} {
			binary.LittleEndian.PutUint32(field, v)
			var err error
			if took := allocated(func() { err = f.VerifyIntegrity(t.Context(), nil) }); took > 1<<20 {
				t.Errorf("field %d = %d: took %d bytes", i, v, took)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("field %d = %d: %v", i, v, err)
			}
		}
		copy(b, good)
	}
	// Table, size and count agree, but not with the file; or count and file, but not with the size.
	chunks := uint32(at.end-at.integrity-integrityHeader) / 20
	for _, c := range []struct{ sums, count uint32 }{
		{chunks - 1, chunks - 1}, {chunks - 1, chunks}, {0, 0}, {0, chunks}, {chunks, chunks - 1}, {chunks, chunks + 1},
	} {
		binary.LittleEndian.PutUint32(b[at.integrity:], integrityHeader+20*c.sums)
		binary.LittleEndian.PutUint32(b[at.integrity+4:], c.count)
		f.Header.Integrity.Size = uint64(integrityHeader + 20*c.sums)
		f.Header.Integrity.OriginalSize = f.Header.Integrity.Size
		if err := f.VerifyIntegrity(t.Context(), nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d sums, count %d: %v", c.sums, c.count, err)
		}
	}
	copy(b, good)
	// A table of more than the bound lies in a file of nearly no bytes.
	f.Header.Integrity.Size, f.Header.Integrity.OriginalSize = maxIntegrity+1, maxIntegrity+1
	if took := allocated(func() {
		if err := f.VerifyIntegrity(t.Context(), nil); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	}); took > 1<<20 {
		t.Errorf("took %d bytes", took)
	}
}

// TestIntegrityMemory holds that a chunk's length doesn't say how much memory is taken.
func TestIntegrityMemory(t *testing.T) {
	b, _ := sample{images: 1, data: 8 * integrityRun, chunk: 1 << 30}.build()
	f := mustOpen(t, b)
	if took := allocated(func() {
		if err := f.VerifyIntegrity(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}); took > 2*integrityRun {
		t.Errorf("took %d bytes", took)
	}
}

func TestIntegrityCancelled(t *testing.T) {
	b, at := sample{images: 1, data: 900, chunk: 100}.build()
	f := mustOpen(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := f.VerifyIntegrity(ctx, func(_, _ int64) {
		if calls++; calls == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) || calls != 3 {
		t.Errorf("%v after %d of %d chunks", err, calls, (at.xml-208)/100)
	}
}
