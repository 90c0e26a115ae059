package prestage

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/release"
)

// Names in the archive.
const (
	layoutName = v1.ImageLayoutFile
	indexName  = v1.ImageIndexFile
	blobPrefix = v1.ImageBlobsDir + "/sha256/"
)

const (
	fileMode   = 0o644
	copyBuffer = 256 << 10
)

// Release is a release that is to be written.
type Release struct {
	Tag                string    // as it has in a registry
	Made               time.Time // when it was made
	Manifest, Document []byte
	Layers             []v1.Descriptor // as in the manifest
	// Layer returns the bytes of layer i, which must match its descriptor.
	Layer func(i int) (io.ReaderAt, error)
}

// Size returns how long the file will be, in bytes.
func (r *Release) Size() (int64, error) {
	files, err := r.head()
	if err != nil {
		return 0, err
	}
	size := int64(2 * block) // the archive's end
	for i := range files {
		size += block + padded(int64(len(files[i].bytes)))
	}
	for i := range r.once() {
		size += block + padded(r.Layers[i].Size)
	}
	return size, nil
}

// block is what tar counts in, in bytes.
const block = 512

func padded(n int64) int64 { return (n + block - 1) / block * block }

// file is a small one of the archive.
type file struct {
	name  string
	bytes []byte
}

// head returns what comes before the layers.
func (r *Release) head() ([]file, error) {
	layout, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return nil, fmt.Errorf("write layout: %w", err)
	}
	manifest := digest.FromBytes(r.Manifest)
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: v1.MediaTypeImageManifest, ArtifactType: release.ArtifactType, Digest: manifest, Size: int64(len(r.Manifest)),
			Annotations: map[string]string{v1.AnnotationRefName: r.Tag},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("write index: %w", err)
	}
	return []file{{layoutName, layout}, {indexName, index}, {blobPrefix + manifest.Encoded(), r.Manifest}, {blobPrefix + digest.FromBytes(r.Document).Encoded(), r.Document}}, nil
}

// once goes through the layers, by their numbers; those with the same bytes come once.
func (r *Release) once() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		seen := make(map[digest.Digest]bool, len(r.Layers))
		for i := range r.Layers {
			if d := r.Layers[i].Digest; !seen[d] {
				seen[d] = true
				if !yield(i) {
					return
				}
			}
		}
	}
}

// Write writes the file. Each layer is held against its digest as it goes out; a file that Write returned an error of isn't whole, and Reader says so.
func (r *Release) Write(ctx context.Context, w io.Writer) error {
	if err := r.write(ctx, w); err != nil {
		return fmt.Errorf("export %s: %w", r.Tag, err)
	}
	return nil
}

func (r *Release) write(ctx context.Context, w io.Writer) error {
	files, err := r.head()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for i := range files {
		if err := r.header(archive, files[i].name, int64(len(files[i].bytes))); err != nil {
			return err
		}
		if _, err := archive.Write(files[i].bytes); err != nil {
			return err
		}
	}
	buf := make([]byte, copyBuffer)
	for i := range r.once() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := r.layer(archive, i, buf); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return archive.Close()
}

func (r *Release) layer(archive *tar.Writer, i int, buf []byte) error {
	d := &r.Layers[i]
	content, err := r.Layer(i)
	if err != nil {
		return err
	}
	if err := r.header(archive, blobPrefix+d.Digest.Encoded(), d.Size); err != nil {
		return err
	}
	sum := sha256.New()
	for off := int64(0); off < d.Size; {
		n, err := content.ReadAt(buf[:min(int64(len(buf)), d.Size-off)], off)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		_, _ = sum.Write(buf[:n])
		if _, err := archive.Write(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	if got := digest.NewDigest(digest.SHA256, sum); got != d.Digest {
		return fmt.Errorf("its content makes %s, the release names %s", got, d.Digest)
	}
	return nil
}

func (r *Release) header(archive *tar.Writer, name string, size int64) error {
	return archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: fileMode, ModTime: r.Made.Truncate(time.Second), Format: tar.FormatPAX})
}
