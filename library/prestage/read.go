package prestage

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/release"
)

// Errors that the package's errors wrap.
var (
	// ErrForm: the file isn't one that Release.Write wrote.
	ErrForm = errors.New("it isn't a file of wimcast image export")
	// ErrCut: the file ends too early.
	ErrCut = errors.New("the file ends too early")
)

const (
	maxIndex = 1 << 20 // bytes; it has one descriptor
	// maxOthers bounds what else may be in an archive, in entries: what a tool put there that packed it again.
	maxOthers = 1000
)

// Reader reads a file from beginning to end.
type Reader struct {
	// Manifest and Document are the release's, as they were in the file: their digests fit, nothing else is proven.
	Manifest, Document []byte

	archive *tar.Reader
	layers  map[digest.Digest]v1.Descriptor // that have yet to come
	others  int
}

// NewReader reads what comes before the layers.
func NewReader(r io.Reader) (*Reader, error) {
	p := &Reader{archive: tar.NewReader(r)}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("import: %w", cut(err))
	}
	return p, nil
}

func (p *Reader) open() error {
	index, err := p.find(indexName, maxIndex)
	if err != nil {
		return err
	}
	var x v1.Index
	if err := json.Unmarshal(index, &x); err != nil {
		return fmt.Errorf("%w: its index doesn't parse", ErrForm)
	}
	switch {
	case len(x.Manifests) != 1:
		return fmt.Errorf("%w: its index names %d manifests, want one", ErrForm, len(x.Manifests))
	case x.Manifests[0].MediaType != v1.MediaTypeImageManifest || x.Manifests[0].Size < 1 || x.Manifests[0].Size > release.MaxManifest:
		return fmt.Errorf("%w: its index names a %.100q of %d bytes", ErrForm, x.Manifests[0].MediaType, x.Manifests[0].Size)
	}
	if p.Manifest, err = p.blob(&x.Manifests[0], release.MaxManifest); err != nil {
		return err
	}
	m, err := release.ParseManifest(p.Manifest)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	if p.Document, err = p.blob(&m.Document, release.MaxDocument); err != nil {
		return err
	}
	p.layers = make(map[digest.Digest]v1.Descriptor, len(m.Layers))
	for _, d := range m.Layers {
		if err := valid(&d); err != nil {
			return err
		}
		p.layers[d.Digest] = d
	}
	return nil
}

func valid(d *v1.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 {
		return fmt.Errorf("%w: digest %.100q of %d bytes, want SHA-256", ErrForm, d.Digest, d.Size)
	}
	return nil
}

// blob reads a small blob and proves it.
func (p *Reader) blob(d *v1.Descriptor, limit int64) ([]byte, error) {
	if err := valid(d); err != nil {
		return nil, err
	}
	b, err := p.find(blobPrefix+d.Digest.Encoded(), limit)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != d.Size || digest.FromBytes(b) != d.Digest {
		return nil, fmt.Errorf("%w: what is in blob %s has another digest", ErrForm, d.Digest)
	}
	return b, nil
}

// find reads the small file that has to come next; folders and the layout's version may be in between.
func (p *Reader) find(name string, limit int64) ([]byte, error) {
	for {
		h, err := p.next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: it has no %s", ErrForm, name)
		}
		if err != nil {
			return nil, err
		}
		switch is := entry(h.Name); {
		case is == name && h.Size <= limit:
			return io.ReadAll(io.LimitReader(p.archive, limit))
		case is == name:
			return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrForm, name, h.Size, limit)
		case strings.HasPrefix(is, blobPrefix):
			return nil, fmt.Errorf("%w: blobs come before %s, as in one that was packed again", ErrForm, name)
		}
	}
}

// next goes to the next regular file. The end is io.EOF.
func (p *Reader) next() (*tar.Header, error) {
	for {
		h, err := p.archive.Next()
		switch {
		case err != nil:
			return nil, err
		case h.Typeflag == tar.TypeReg:
			return h, nil
		}
		if p.others++; p.others > maxOthers {
			return nil, fmt.Errorf("%w: it is full of other things", ErrForm)
		}
	}
}

// entry is an archive's name for a file in the layout.
func entry(name string) string { return strings.TrimPrefix(name, "./") }

// Next goes to the next layer that is in the file. The reader is good until the next call; its bytes aren't proven. After the last it is io.EOF;
// whether that were all is for whoever keeps them to say.
func (p *Reader) Next() (v1.Descriptor, io.Reader, error) {
	d, err := p.nextLayer()
	if errors.Is(err, io.EOF) {
		return d, nil, io.EOF
	}
	if err != nil {
		return d, nil, fmt.Errorf("import: %w", cut(err))
	}
	return d, &layer{p.archive}, nil
}

func (p *Reader) nextLayer() (v1.Descriptor, error) {
	for {
		h, err := p.next()
		if err != nil {
			return v1.Descriptor{}, err
		}
		hex, isBlob := strings.CutPrefix(entry(h.Name), blobPrefix)
		d, ok := p.layers[digest.NewDigestFromEncoded(digest.SHA256, hex)]
		if isBlob && ok {
			if h.Size != d.Size {
				return d, fmt.Errorf("%w: blob %s has %d bytes, want %d", ErrForm, d.Digest, h.Size, d.Size)
			}
			delete(p.layers, d.Digest) // it isn't taken twice
			return d, nil
		}
		if p.others++; p.others > maxOthers {
			return d, fmt.Errorf("%w: it is full of other things", ErrForm)
		}
	}
}

// layer reads one layer.
type layer struct{ archive *tar.Reader }

func (l *layer) Read(b []byte) (int, error) {
	n, err := l.archive.Read(b)
	return n, cut(err)
}

// cut says it when the file ends too early, and what isn't a tar archive.
func cut(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrCut, err)
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	return err
}
