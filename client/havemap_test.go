package client

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"wimcast/crypto"
)

// sampleMap is a have-map of an image of three blocks and a bit.
func sampleMap(withManifest bool) *haveMap {
	const size = 3*crypto.BlockSize + 5
	m := &haveMap{digest: crypto.BlockHash([]byte("sample")), size: size, have: NewBitmap(4)}
	m.have.Set(0)
	m.have.Set(3)
	if withManifest {
		m.manifest = (&crypto.Manifest{Size: size, Blocks: make([]crypto.Hash, 4)}).Marshal()
	}
	return m
}

func TestHaveMapGolden(t *testing.T) {
	// Written by hand from the layout in havemap.go.
	want := hex.EncodeToString([]byte("wimcast have-map")) + "0001" +
		"0000000000084005" + "0002c000" + sampleMap(false).digest.String() +
		"0000000000000004" + "09" + "0000000000000000"
	sum, _ := hex.DecodeString(want)
	want += crypto.BlockHash(sum).String()
	if got := hex.EncodeToString(sampleMap(false).marshal()); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestHaveMapRoundTrip(t *testing.T) {
	for _, m := range []*haveMap{
		sampleMap(false),
		sampleMap(true),
		{have: NewBitmap(0)},
	} {
		b := m.marshal()
		if int64(len(b)) > haveMapLimit(m.size) || len(m.manifest) > 0 && int64(len(b)) != haveMapLimit(m.size) {
			t.Errorf("%d bytes, limit %d", len(b), haveMapLimit(m.size))
		}
		got, err := parseHaveMap(b)
		if err != nil {
			t.Fatal(err)
		}
		if got.digest != m.digest || got.size != m.size || !bytes.Equal(got.manifest, m.manifest) ||
			!slices.Equal(slices.Collect(got.have.All()), slices.Collect(m.have.All())) {
			t.Errorf("%+v became %+v", m, got)
		}
	}
}

// Every way to tear or change a have-map must be noticed.
func TestHaveMapTorn(t *testing.T) {
	whole := sampleMap(true).marshal()
	for n := range whole {
		if _, err := parseHaveMap(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were taken for a whole have-map", n, len(whole))
		}
		changed := bytes.Clone(whole)
		changed[n] ^= 0x10
		if _, err := parseHaveMap(changed); err == nil {
			t.Errorf("a change of byte %d went unnoticed", n)
		}
	}
}

// With a right checksum, what it covers must still make sense.
func TestHaveMapRefuses(t *testing.T) {
	reseal := func(b []byte) []byte {
		body := b[:len(b)-32]
		sum := crypto.BlockHash(body)
		return append(bytes.Clone(body), sum[:]...)
	}
	const sizeAt, blockAt, bitsAt = 18, 26, 62
	for name, change := range map[string]func(b []byte) []byte{
		"huge image":        func(b []byte) []byte { b[sizeAt] = 0xff; return b },
		"other blocks":      func(b []byte) []byte { b[blockAt+3] = 1; return b },
		"more blocks":       func(b []byte) []byte { b[bitsAt+7] = 5; return b },
		"huge bitmap":       func(b []byte) []byte { b[bitsAt] = 0xff; return b },
		"bits beyond":       func(b []byte) []byte { b[bitsAt+8] = 0x19; return b },
		"manifest's length": func(b []byte) []byte { b[bitsAt+9+7]++; return b },
		"trailing byte":     func(b []byte) []byte { return append(b, 0) },
		"one image more":    func(b []byte) []byte { b[sizeAt+4] = 1; return b },
	} {
		if _, err := parseHaveMap(reseal(change(sampleMap(true).marshal()))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := parseHaveMap(reseal(sampleMap(true).marshal())); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
}

func FuzzParseHaveMap(f *testing.F) {
	f.Add(sampleMap(false).marshal())
	f.Add(sampleMap(true).marshal())
	f.Add([]byte(haveMapMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer doesn't find checksums: put the right one behind what it made.
		sum := crypto.BlockHash(b)
		for _, b := range [][]byte{b, append(bytes.Clone(b), sum[:]...)} {
			m, err := parseHaveMap(b)
			if err != nil {
				continue
			}
			if got := m.marshal(); !bytes.Equal(got, b) {
				t.Fatalf("read % x, wrote % x", b, got)
			}
			if int64(len(b)) > haveMapLimit(m.size) {
				t.Fatalf("%d bytes for an image of %d", len(b), m.size)
			}
		}
	})
}

func FuzzBitmap(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 11, 9, 4})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 249})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Bitmap
		if m.UnmarshalBinary(b) != nil {
			return
		}
		if got, _ := m.MarshalBinary(); !bytes.Equal(got, b) {
			t.Fatalf("read % x, wrote % x", b, got)
		}
	})
}
