package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library"
	"wimcast/library/release"
)

const (
	// workers is how many chunks are made and sent at a time: one is sealed while another waits for the registry's answer. Memory is
	// inMemory for each.
	workers = 3
	// wantedEvery is how often it is asked whether what is being sent is still wanted.
	wantedEvery = time.Second
)

// errUnwanted says that nobody wants any more what was being sent.
var errUnwanted = errors.New("it isn't wanted any more")

// push brings the content of a release into the registry and then the release itself. What is there already isn't sent again.
func (s *Site) push(ctx context.Context, w *want) (sent int64, err error) {
	ref := w.reference()
	if !w.there {
		return 0, fmt.Errorf("push %s: %s", ref, w.why)
	}
	p, err := s.cfg.Library.Get(ref)
	if err != nil {
		return 0, err
	}
	content, err := s.cfg.Library.OpenContent(ref)
	if err != nil {
		return 0, err
	}
	defer func() { _ = content.Close() }()
	if content.Digest().String() != w.Content || p.Digest != content.Digest() {
		return 0, errUnwanted // it has changed meanwhile
	}
	layout := release.NewLayout(content.Size(), w.Encrypt)
	number, key, err := s.keyFor(w)
	if err != nil {
		return 0, err
	}
	src, err := newSource(content, layout, key)
	if err != nil {
		return 0, err
	}
	s.update(ref, func(j *job) { j.bytes, j.total, j.sent = 0, layout.Stored(), 0 })
	layers, sent, err := s.pushLayers(ctx, w, src)
	if err != nil {
		return sent, err
	}
	description, err := p.Description()
	if err != nil {
		return sent, err
	}
	// Whom it is for, and its flags, may have changed while it was on its way.
	w, ok := s.wanted(w)
	if !ok {
		return sent, errUnwanted
	}
	return sent, s.finish(ctx, w, &release.Release{Content: description, Size: content.Size(), ChunkBlocks: layout.ChunkBlocks}, layers, number)
}

// keyFor returns the content key of a release: of the one that was made of the same content, else the package's latest; 0 and nil where
// it isn't sealed.
func (s *Site) keyFor(w *want) (int, *[release.KeySize]byte, error) {
	if !w.Encrypt {
		return 0, nil, nil
	}
	number := 0
	if m := s.current().made(w.reference()); m != nil && m.Content == w.Content {
		number = m.Key
	}
	k, err := s.useKey(w.pkg, number, nil)
	if err != nil {
		return 0, nil, err
	}
	array := k.array()
	return k.Number, &array, nil
}

// wanted returns what is wanted now in place of w; false where that has other content, or is sealed where this isn't.
func (s *Site) wanted(w *want) (*want, bool) {
	now := s.current().plan(s.facts()).wants[w.reference()]
	return now, now != nil && now.Content == w.Content && now.Encrypt == w.Encrypt
}

// pushLayers sends the layers that the registry doesn't have, and returns all of them.
func (s *Site) pushLayers(ctx context.Context, w *want, src *source) ([]v1.Descriptor, int64, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	chunks := src.layout.Chunks()
	layers := make([]v1.Descriptor, 1+chunks)
	var next, sent atomic.Int64
	var running sync.WaitGroup
	for range min(workers, chunks) {
		running.Go(func() {
			for ctx.Err() == nil {
				c := int(next.Add(1)) - 1
				if c >= chunks {
					return
				}
				d, moved, err := s.pushChunk(ctx, src, c)
				if err != nil {
					stop(err)
					return
				}
				layers[1+c] = d
				if moved {
					sent.Add(d.Size)
				}
				s.update(w.reference(), func(j *job) { j.bytes, j.sent = j.bytes+d.Size, sent.Load() })
			}
		})
	}
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		ticker := time.NewTicker(wantedEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				if _, ok := s.wanted(w); !ok {
					stop(errUnwanted)
				}
			}
		}
	})
	running.Wait()
	close(done)
	looking.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, sent.Load(), err
	}
	blocks, err := src.manifest()
	if err != nil {
		return nil, sent.Load(), err
	}
	layers[0], err = s.pushBytes(ctx, release.MediaManifest, blocks)
	return layers, sent.Load(), err
}

// pushChunk sends one chunk unless it is there.
func (s *Site) pushChunk(ctx context.Context, src *source, number int) (v1.Descriptor, bool, error) {
	d := v1.Descriptor{MediaType: release.MediaChunk, Size: src.layout.ChunkLen(number)}
	content, err := src.hold(number)
	if err != nil {
		return d, false, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(content, 0, d.Size)); err != nil {
		return d, false, err
	}
	d.Digest = digest.NewDigest(digest.SHA256, sum)
	s.cfg.step("push chunk")
	moved, err := s.cfg.Repository.PushBlob(ctx, d, &paced{content, ctx, s.pace})
	return d, moved, err
}

// pushBytes sends a small blob unless it is there.
func (s *Site) pushBytes(ctx context.Context, mediaType string, b []byte) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.cfg.step("push " + mediaType)
	_, err := s.cfg.Repository.PushBlob(ctx, d, bytesAt(b))
	return d, err
}

// remake makes a release anew over the layers that it has: other flags, another comment, other recipients. No content moves.
func (s *Site) remake(ctx context.Context, w *want, m *Made) error {
	manifest, document, err := s.stored(m)
	if err != nil {
		return err
	}
	r, err := manifest.Open(document, s.Key())
	if err != nil {
		return err
	}
	return s.finish(ctx, w, r, manifest.Layers, m.Key)
}

// finish makes document and manifest of a release whose layers are in the registry, and has its tag stand for it. Of r
// it takes what is said of the content.
func (s *Site) finish(ctx context.Context, w *want, r *release.Release, layers []v1.Descriptor, number int) error {
	if err := s.adoptAll(ctx); err != nil {
		return err
	}
	ref := w.reference()
	at := s.now()
	r.Name, r.Version, r.Comment, r.Made, r.Digest, r.Keys = w.pkg, w.version, w.Comment, at, w.Content, nil
	r.AllowMulticast, r.Encrypt, r.MulticastOnly = w.AllowMulticast, w.Encrypt, w.MulticastOnly
	if w.Encrypt {
		key, err := s.useKey(w.pkg, number, w.Recipients)
		if err != nil {
			return err
		}
		if r.Keys, err = release.Wrap(key.array(), w.Recipients); err != nil {
			return err
		}
	}
	if err := s.change(func(st *state) error { // no revision is given twice, whatever becomes of this one
		st.Revision++
		r.Revision = st.Revision
		return nil
	}); err != nil {
		return err
	}
	document, manifest, err := r.Seal(s.key, layers)
	if err != nil {
		return err
	}
	made := Made{
		Package: w.pkg, Version: w.version, Revision: r.Revision, Manifest: digest.FromBytes(manifest), Size: int64(len(manifest)), shape: w.shape, Key: number, At: at,
	}
	if err := s.store(&made, manifest, document); err != nil {
		return err
	}
	if _, err := s.pushBytes(ctx, release.MediaDocument, document); err != nil {
		return err
	}
	s.cfg.step("push manifest")
	if _, err := s.cfg.Repository.PushManifest(ctx, manifest, release.Tag(ref, r.Revision)); err != nil {
		return err
	}
	s.working.Lock()
	delete(s.stale, ref)
	s.working.Unlock()
	var before *Made
	err = s.edit(func(st *state) error {
		if m := st.made(ref); m != nil {
			old := *m
			before = &old
			*m = made
			st.retire(before, at)
			return nil
		}
		st.Made = append(st.Made, made)
		return nil
	})
	if err == nil && before != nil {
		s.forget(before)
	}
	return err
}

// retire remembers a release that isn't in use any more, so that the registry is asked to remove it later.
func (st *state) retire(m *Made, at time.Time) {
	if len(st.Retired) >= maxRetired {
		st.Retired = st.Retired[1:]
	}
	st.Retired = append(st.Retired, Retired{release.Tag(m.reference(), m.Revision), m.Manifest, m.Size, at})
}

// maxRetired bounds what is remembered of releases that aren't in use.
const maxRetired = 1000

// bytesAt is bytes to be read at places.
type bytesAt []byte

// ReadAt implements io.ReaderAt.
func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Built is a release as it stands in the registry, made again from the library: for whoever takes it to a point in a file.
type Built struct {
	Reference          string
	Revision           int64
	Made               time.Time
	Manifest, Document []byte
	Layers             []v1.Descriptor // as in the manifest

	content *library.Content
	source  *source
}

// Open returns the release of a reference that is distributed. The caller closes it. The error wraps ErrNotReleased where it isn't in the
// registry yet.
func (s *Site) Open(ref string) (*Built, error) {
	p, err := s.cfg.Library.Get(ref)
	if err != nil {
		return nil, err
	}
	ref = p.Reference()
	m := s.current().made(ref)
	if m == nil || m.Content != p.Digest.String() {
		return nil, fmt.Errorf("open release %s: %w; next: wimcast image distribute %q --to POINT, and wimcast point list", ref, ErrNotReleased, ref)
	}
	manifest, document, err := s.storedBytes(m)
	if err != nil {
		return nil, err
	}
	parsed, err := release.ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	r, err := parsed.Open(document, s.Key())
	if err != nil {
		return nil, err
	}
	var key *[release.KeySize]byte
	if m.Key > 0 {
		k, err := s.useKey(m.Package, m.Key, nil)
		if err != nil {
			return nil, err
		}
		array := k.array()
		key = &array
	}
	content, err := s.cfg.Library.OpenContent(ref)
	if err != nil {
		return nil, err
	}
	src, err := newSource(content, r.Layout(), key)
	if err != nil {
		_ = content.Close()
		return nil, err
	}
	return &Built{Reference: ref, Revision: m.Revision, Made: r.Made, Manifest: manifest, Document: document, Layers: parsed.Layers, content: content, source: src}, nil
}

// Layer returns the bytes of layer i, which match its descriptor: the manifest of blocks, then the chunks in order.
func (b *Built) Layer(i int) (io.ReaderAt, error) {
	if i > 0 {
		return b.source.chunk(i - 1), nil
	}
	blocks, err := b.source.manifest()
	return bytesAt(blocks), err
}

// Close closes the content.
func (b *Built) Close() error { return b.content.Close() }
