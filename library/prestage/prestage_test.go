package prestage

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"wimcast/crypto"
	"wimcast/library/release"
)

// sample makes a release of a content of a few chunks, two of which are the same.
func sample(t *testing.T) (*Release, map[digest.Digest][]byte) {
	t.Helper()
	const chunk = 16 * crypto.BlockSize
	layout := release.NewLayout(4*chunk+1000, false)
	parts := [][]byte{make([]byte, layout.ManifestLen())}
	for c := range layout.Chunks() {
		b := make([]byte, layout.ChunkLen(c))
		seed := byte(c)
		if c == 3 {
			seed = 1 // once more
		}
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
		parts = append(parts, b)
	}
	blobs := map[digest.Digest][]byte{}
	var layers []v1.Descriptor
	for i, b := range parts {
		d := v1.Descriptor{MediaType: release.MediaChunk, Digest: digest.FromBytes(b), Size: int64(len(b))}
		if i == 0 {
			d.MediaType = release.MediaManifest
		}
		layers = append(layers, d)
		blobs[d.Digest] = b
	}
	at := time.Date(2026, 11, 27, 2, 0, 0, 500, time.UTC)
	rel := &release.Release{
		Name: "w11", Version: "2026.11", Revision: 3, Made: at, Content: json.RawMessage(`{}`), Size: layout.Size, ChunkBlocks: layout.ChunkBlocks,
		Digest: crypto.Hash{1}.String(),
	}
	document, manifest, err := rel.Seal(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), layers)
	if err != nil {
		t.Fatal(err)
	}
	return &Release{
		Tag: release.Tag(rel.Reference(), 3), Made: at, Manifest: manifest, Document: document, Layers: layers,
		Layer: func(i int) (io.ReaderAt, error) { return bytes.NewReader(parts[i]), nil },
	}, blobs
}

func written(t *testing.T, r *Release) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := r.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads a file as whoever imports it does.
func readAll(r io.Reader) (*Reader, map[digest.Digest][]byte, error) {
	p, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	got := map[digest.Digest][]byte{}
	for {
		d, body, err := p.Next()
		if errors.Is(err, io.EOF) {
			return p, got, nil
		}
		if err != nil {
			return p, got, err
		}
		b, err := io.ReadAll(body)
		if err != nil {
			return p, got, err
		}
		got[d.Digest] = b
	}
}

// TestFile writes a file and reads it again.
func TestFile(t *testing.T) {
	r, blobs := sample(t)
	file := written(t, r)
	if size, err := r.Size(); err != nil || size != int64(len(file)) {
		t.Errorf("size %d, %v; it has %d bytes", size, err, len(file))
	}
	if !bytes.Equal(file, written(t, r)) {
		t.Error("another file each time")
	}
	p, got, err := readAll(bytes.NewReader(file))
	if err != nil || !bytes.Equal(p.Manifest, r.Manifest) || !bytes.Equal(p.Document, r.Document) || len(got) != len(blobs) {
		t.Fatalf("%d blobs, %v", len(got), err)
	}
	for d, b := range blobs {
		if !bytes.Equal(got[d], b) {
			t.Errorf("blob %s differs", d)
		}
	}
	again, _, err := readAll(bytes.NewReader(repack(t, file, func(h *tar.Header, b []byte) []byte {
		h.Name = "./" + h.Name // as tar does that is told to pack .
		return b
	})))
	if err != nil || !bytes.Equal(again.Manifest, r.Manifest) {
		t.Errorf("packed again in order: %v", err)
	}
}

// TestFileForOthers reads a file with ORAS's own code for OCI image layouts in tar archives.
func TestFileForOthers(t *testing.T) {
	r, blobs := sample(t)
	name := filepath.Join(t.TempDir(), "w11.tar")
	if err := os.WriteFile(name, written(t, r), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := oci.NewFromTar(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.Resolve(t.Context(), r.Tag)
	if err != nil || d.ArtifactType != release.ArtifactType {
		t.Fatalf("%+v, %v", d, err)
	}
	parts, err := content.Successors(t.Context(), store, d)
	if err != nil || len(parts) != 1+len(r.Layers) {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for _, part := range parts[1:] {
		b, err := content.FetchAll(t.Context(), store, part) // it proves the digest
		if err != nil || !bytes.Equal(b, blobs[part.Digest]) {
			t.Errorf("%s: %v", part.Digest, err)
		}
	}
}

// TestFileCut cuts a file short at every block and a little beyond, and changes what it has.
func TestFileCut(t *testing.T) {
	r, blobs := sample(t)
	file := written(t, r)
	ends := map[string]int{}
	for at := 0; at < len(file)-2*block; at += 600_000 - 600_000%block {
		for _, n := range []int{at, at + 7} {
			_, got, err := readAll(bytes.NewReader(file[:n]))
			whole := len(got) == len(blobs)
			for d, b := range got {
				whole = whole && bytes.Equal(b, blobs[d])
			}
			switch {
			case whole && err == nil:
				t.Errorf("all of it in %d of %d bytes", n, len(file))
			case errors.Is(err, ErrCut):
				ends["cut"]++
			case errors.Is(err, ErrForm):
				ends["form"]++
			case err == nil:
				ends["between"]++ // whoever keeps the layers sees that some are missing
			default:
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	if ends["cut"] == 0 || ends["form"] == 0 {
		t.Error(ends)
	}
}

// repack packs a file again, each entry changed; nil leaves it out.
func repack(t *testing.T, file []byte, change func(*tar.Header, []byte) []byte) []byte {
	t.Helper()
	in := tar.NewReader(bytes.NewReader(file))
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if b = change(h, b); b == nil {
			continue
		}
		h.Size = int64(len(b))
		if err := errors.Join(w.WriteHeader(h), second(w.Write(b))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func second(_ int, err error) error { return err }

// TestFileRefused holds what isn't taken.
func TestFileRefused(t *testing.T) {
	r, _ := sample(t)
	file := written(t, r)
	manifest, document := blobPrefix+digest.FromBytes(r.Manifest).Encoded(), blobPrefix+digest.FromBytes(r.Document).Encoded()
	without := func(name string) []byte {
		return repack(t, file, func(h *tar.Header, b []byte) []byte {
			if h.Name == name {
				return nil
			}
			return b
		})
	}
	replaced := func(name string, with []byte) []byte {
		return repack(t, file, func(h *tar.Header, b []byte) []byte {
			if h.Name == name {
				return with
			}
			return b
		})
	}
	first := blobPrefix + r.Layers[1].Digest.Encoded()
	for want, bad := range map[string][]byte{
		"it has no index.json":          {},
		"ends too early":                []byte("hello"),
		"invalid tar header":            bytes.Repeat([]byte("hello"), 1000),
		"blobs come before index.json":  without(indexName),
		"blobs come before":             without(manifest),
		"blobs come before " + document: without(document),
		"its index doesn't parse":       replaced(indexName, []byte("{")),
		"names 0 manifests":             replaced(indexName, []byte(`{"manifests":[]}`)),
		"names 2 manifests":             replaced(indexName, []byte(`{"manifests":[{},{}]}`)),
		"digest \"sha512:x\"":           replaced(indexName, []byte(`{"manifests":[{"mediaType":"`+v1.MediaTypeImageManifest+`","digest":"sha512:x","size":10}]}`)),
		"of 99999999 bytes":             replaced(indexName, []byte(`{"manifests":[{"mediaType":"`+v1.MediaTypeImageManifest+`","digest":"sha256:x","size":99999999}]}`)),
		"at most 1048576 are read":      replaced(indexName, make([]byte, maxIndex+1)),
		"another digest":                replaced(manifest, []byte("{}")),
		"has 5 bytes, want":             replaced(first, []byte("short")),
		"full of other things":          others(t, file),
	} {
		_, _, err := readAll(bytes.NewReader(bad))
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrForm) && !errors.Is(err, ErrCut) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// others puts more into a file than anybody did who packed it again.
func others(t *testing.T, file []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range maxOthers + 1 {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("d%d/", i), Mode: 0o700}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), file...)
}

// TestWriteHoldsLayers has content change under a release.
func TestWriteHoldsLayers(t *testing.T) {
	r, _ := sample(t)
	right := r.Layer
	r.Layer = func(i int) (io.ReaderAt, error) {
		if i == 2 {
			return bytes.NewReader(make([]byte, r.Layers[2].Size)), nil
		}
		return right(i)
	}
	if err := r.Write(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "layer 2: its content makes sha256:") {
		t.Error(err)
	}
	r.Layer = func(int) (io.ReaderAt, error) { return bytes.NewReader(nil), nil }
	if err := r.Write(t.Context(), io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// FuzzReader reads what somebody else wrote.
func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range map[string]string{indexName: `{"manifests":[{"mediaType":"` + v1.MediaTypeImageManifest + `","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2}]}`, blobPrefix + strings.Repeat("0", 64): "{}"} {
		_ = w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600})
		_, _ = fmt.Fprint(w, text)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = readAll(bytes.NewReader(b)) })
}
