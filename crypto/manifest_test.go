package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// pattern is the input of BLAKE3's published test vectors: 0, 1, … 250, 0, 1, …
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// TestTwinAgainstPublishedVectors holds the slow BLAKE3 of these tests against
// test_vectors.json of the BLAKE3 project (first 32 bytes), and the fast one too.
func TestTwinAgainstPublishedVectors(t *testing.T) {
	for n, want := range map[int]string{
		0:       "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:       "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024:    "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		1025:    "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
		31_744:  "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
		102_400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
	} {
		if got := hex.EncodeToString(slowBlake3(pattern(n))); got != want {
			t.Errorf("twin of %d bytes: %s, want %s", n, got, want)
		}
		if got := BlockHash(pattern(n)).String(); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

// testSizes are where blocks, and manifests of blocks, begin and end.
func testSizes() []int64 {
	return []int64{0, 1, 2, 63, 64, 65, 1023, 1024, 1025, 65_537, BlockSize - 1, BlockSize, BlockSize + 1, 2*BlockSize - 1, 2 * BlockSize, 2*BlockSize + 1, 5*BlockSize + 12_345}
}

// twinBlocks cuts an image the obvious way.
func twinBlocks(image []byte) (blocks [][]byte) {
	for at := 0; at < len(image); at += 180_224 {
		blocks = append(blocks, image[at:min(at+180_224, len(image))])
	}
	return blocks
}

// TestManifestAgainstTwin builds manifests by writes of every kind of length and
// compares with the format as docs/protocol.md, section 3, words it.
func TestManifestAgainstTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, size := range testSizes() {
		image := pattern(int(size))
		sum := sha256.Sum256(image)
		want := slices.Concat([]byte("wimcast manifest\x00\x01"), binary.BigEndian.AppendUint64(nil, uint64(size)), sum[:])
		for _, block := range twinBlocks(image) {
			want = append(want, slowBlake3(block)...)
		}
		digest := []byte("wimcast manifest root v1")
		digest = binary.BigEndian.AppendUint64(digest, uint64(size))
		digest = binary.BigEndian.AppendUint64(digest, uint64(len(want)))
		for _, block := range twinBlocks(want) {
			digest = append(digest, slowBlake3(block)...)
		}
		for name, step := range map[string]func() int{
			"at once":  func() int { return max(len(image), 1) },
			"blocks":   func() int { return BlockSize },
			"32 KiB":   func() int { return 32 << 10 },
			"at will":  func() int { return 1 + random.IntN(3*BlockSize) },
			"off by 1": func() int { return BlockSize - 1 },
		} {
			b := NewManifestBuilder()
			for rest := image; len(rest) > 0; {
				n := min(step(), len(rest))
				if got, err := b.Write(rest[:n]); got != n || err != nil {
					t.Fatalf("Write: %d, %v", got, err)
				}
				rest = rest[n:]
			}
			m := b.Manifest()
			if got := m.Marshal(); !bytes.Equal(got, want) {
				t.Errorf("size %d, %s: manifest of %d bytes differs from its twin of %d", size, name, len(got), len(want))
			}
			if got := m.Digest(); !bytes.Equal(got[:], slowBlake3(digest)) {
				t.Errorf("size %d, %s: digest differs from its twin", size, name)
			}
			if m.Size != size || m.SHA256 != sum || len(m.Blocks) != len(twinBlocks(image)) {
				t.Errorf("size %d, %s: %d bytes, %d blocks", size, name, m.Size, len(m.Blocks))
			}
		}
	}
}

// TestLastBlock: count and lengths cover an image exactly, for every length of
// the last block.
func TestLastBlock(t *testing.T) {
	for _, whole := range []int64{0, 1, 7} {
		for last := int64(0); last <= BlockSize; last++ {
			size := whole*BlockSize + last
			want := whole
			if last > 0 {
				want++
			}
			n := BlockCount(size)
			if int64(n) != want {
				t.Fatalf("size %d: %d blocks, want %d", size, n, want)
			}
			sum := int64(0)
			for i := range n {
				l := BlockLen(size, i)
				if l < 1 || l > BlockSize || (i < n-1 && l != BlockSize) {
					t.Fatalf("size %d: block %d of %d has %d bytes", size, i, n, l)
				}
				sum += int64(l)
			}
			if sum != size {
				t.Fatalf("size %d: blocks sum up to %d", size, sum)
			}
		}
	}
	if n := BlockCount(MaxImageSize); n != (1<<46)/180_224+1 || BlockLen(MaxImageSize, n-1) != (1<<46)%180_224 {
		t.Errorf("of the largest image: %d blocks, the last of %d bytes", n, BlockLen(MaxImageSize, n-1))
	}
}

// TestDigestGolden holds the names of content for ever: libraries and have-maps
// on disk carry them. TestManifestAgainstTwin held the twin against the same.
func TestDigestGolden(t *testing.T) {
	for size, want := range digestGolden {
		b := NewManifestBuilder()
		_, _ = b.Write(pattern(size))
		if got := b.Manifest().Digest().String(); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}

var digestGolden = map[int]string{
	0:             "4bde22672ed76a447612bef6e3f49aed93ae9befb64cde45c844084aa48da3f1",
	1:             "88aea4ad38d113a946ac4aea5ff36b0d1a39f9f71f90bb67c9023b08ad931f48",
	BlockSize - 1: "8acb56a0f95fa4638edb549bc4caa4579884fd3a46d8fc24b0c24a36eb16a41f",
	BlockSize:     "0ae31dac31b0fde13a9d94414c60d82dc442651ea7397834da8f2671dd4cfe52",
	BlockSize + 1: "c18510524edf1cb29c4659134005ca1914442b96af15d48340987bf18f8534a9",
}

// TestRootsOfALongManifest: a manifest that is itself of many blocks, which
// takes an image of about a gigabyte for each; only hashes are needed.
func TestRootsOfALongManifest(t *testing.T) {
	for _, blocks := range []int{5629, 5630, 5631, 20_000} { // 5,630 hashes and the header are just more than one block
		m := &Manifest{Size: int64(blocks) * BlockSize, Blocks: make([]Hash, blocks)}
		for i := range m.Blocks {
			binary.BigEndian.PutUint64(m.Blocks[i][:], uint64(i))
		}
		text := m.Marshal()
		if int64(len(text)) != ManifestLen(m.Size) {
			t.Fatalf("%d bytes, ManifestLen says %d", len(text), ManifestLen(m.Size))
		}
		roots := Roots(text)
		if want := twinBlocks(text); len(roots) != len(want) {
			t.Fatalf("%d roots, want %d", len(roots), len(want))
		} else {
			for i := range want {
				if !bytes.Equal(roots[i][:], slowBlake3(want[i])) {
					t.Errorf("root %d of %d differs from its twin", i, len(roots))
				}
			}
		}
		before := Digest(m.Size, roots)
		for i := range roots {
			changed := slices.Clone(roots)
			changed[i][31] ^= 1
			if Digest(m.Size, changed) == before {
				t.Errorf("root %d of %d doesn't matter", i, len(roots))
			}
		}
		if Digest(m.Size-1, roots) == before {
			t.Error("the size doesn't matter")
		}
	}
}

func buildManifest(n int) *Manifest {
	b := NewManifestBuilder()
	_, _ = b.Write(pattern(n))
	return b.Manifest()
}

func TestParseManifest(t *testing.T) {
	for _, size := range testSizes() {
		m := buildManifest(int(size))
		text := m.Marshal()
		got, err := ParseManifest(text)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if got.Size != m.Size || got.SHA256 != m.SHA256 || !slices.Equal(got.Blocks, m.Blocks) || !bytes.Equal(got.Marshal(), text) {
			t.Errorf("size %d: doesn't round trip", size)
		}
		for _, n := range []int{0, 1, len(text) / 2, len(text) - 1} {
			if _, err := ParseManifest(text[:n]); err == nil {
				t.Errorf("size %d: accepts the first %d of %d bytes", size, n, len(text))
			}
		}
		for extra := range 33 {
			if _, err := ParseManifest(append(bytes.Clone(text), make([]byte, extra)...)); (err == nil) != (extra == 0) {
				t.Errorf("size %d: %d bytes behind: %v", size, extra, err)
			}
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	good := buildManifest(1).Marshal()
	size := func(n uint64) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint64(b[len(manifestMagic):], n)
		return b
	}
	for name, tc := range map[string]struct {
		text []byte
		says string
	}{
		"another magic":        {append([]byte("Wimcast"), good[7:]...), "not a wimcast manifest"},
		"another version":      {append([]byte(manifestMagic[:len(manifestMagic)-1]+"\x02"), good[len(manifestMagic):]...), "version 1"},
		"size beyond all":      {size(MaxImageSize + 1), "beyond"},
		"size of all ones":     {size(1<<64 - 1), "beyond"},
		"sign bit":             {size(1 << 63), "beyond"},
		"largest, no hashes":   {size(MaxImageSize), "want"},
		"two blocks, one hash": {size(BlockSize + 1), "want"},
		"no block, one hash":   {size(0), "want"},
	} {
		if _, err := ParseManifest(tc.text); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
	// A claim costs nothing: refusing it allocates no room for its hashes.
	hostile := size(MaxImageSize)
	if n := testing.AllocsPerRun(10, func() { _, _ = ParseManifest(hostile) }); n > 20 {
		t.Errorf("refusing allocates %v times", n)
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, size := range []int{0, 1, BlockSize, 3*BlockSize + 7} {
		f.Add(buildManifest(size).Marshal())
	}
	hostile := buildManifest(1).Marshal()
	binary.BigEndian.PutUint64(hostile[len(manifestMagic):], 1<<63-1)
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Marshal(), text) {
			t.Fatal("accepts a form that isn't the canonical one")
		}
		if m.Size < 0 || m.Size > MaxImageSize || len(m.Blocks) != BlockCount(m.Size) {
			t.Fatalf("size %d with %d blocks", m.Size, len(m.Blocks))
		}
	})
}

func TestParseHash(t *testing.T) {
	h := BlockHash([]byte("x"))
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "00", h.String()[1:], h.String() + "00", h.String()[:62] + "zz", " " + h.String()[1:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("accepts %q", bad)
		}
	}
}
