package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library"
	"wimcast/library/prestage"
	"wimcast/library/release"
)

// Export returns a release of a reference that is to be carried to points in a file: to those that are named, or are in a group that is, or to
// all; where none are named, to those that it is distributed to. It needs not be distributed: its layers are the same
// that it will have then, so what was carried there needs no line. The registry isn't asked.
//
// What stands in the registry is returned as it is where it does; otherwise a release is made of which the registry hears nothing. The caller
// closes it. The errors wrap ErrNotFound, ErrRule or ErrNotReleased.
func (s *Site) Export(ctx context.Context, ref string, to []string, all bool) (*Built, error) {
	b, err := s.export(ctx, ref, to, all)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", ref, err)
	}
	return b, nil
}

func (s *Site) export(ctx context.Context, ref string, to []string, all bool) (*Built, error) {
	p, err := s.cfg.Library.Get(ref)
	if err != nil {
		return nil, err
	}
	ref = p.Reference()
	if p.OutOfService != "" {
		return nil, fmt.Errorf("%w: it is out of service: %s; next: wimcast image verify %q", ErrRule, p.OutOfService, ref)
	}
	st := s.current()
	shape := shapeOf(&p)
	made := st.made(ref)
	if made != nil && (made.Content != shape.Content || made.Encrypt != shape.Encrypt) {
		made = nil // it is of what the package was before
	}
	if len(to) == 0 && !all {
		if made == nil {
			return nil, fmt.Errorf("%w, and no point is named; next: wimcast image export %q --for POINT -o FILE.tar", ErrNotReleased, ref)
		}
		return s.Open(ref)
	}
	if shape.Recipients, err = st.recipients(&p, to, all); err != nil {
		return nil, err
	}
	if made != nil {
		missing := slices.ContainsFunc(shape.Recipients, func(r string) bool { return !slices.Contains(made.Recipients, r) })
		if shape.Recipients = made.Recipients; shape.equal(&made.shape) && !missing {
			return s.Open(ref)
		}
		if shape.Recipients, err = st.recipients(&p, to, all); err != nil {
			return nil, err
		}
	}
	return s.build(ctx, &p, made, &shape)
}

// recipients are whom a package's content key is to be wrapped to, sorted; none where it isn't sealed.
func (st *state) recipients(p *library.Package, to []string, all bool) ([]string, error) {
	targets, err := st.targets(to, all)
	if err != nil {
		return nil, err
	}
	var out []string
	found := false
	for i := range st.Points {
		at := &st.Points[i]
		if !slices.ContainsFunc(targets, at.in) {
			continue
		}
		if p.Flags.MulticastOnly && !at.Multicast {
			if slices.Contains(targets, Target{ToPoint, at.Name}) {
				return nil, fmt.Errorf("to %s: %w: %s; next: wimcast point set %s --multicast; or: wimcast image set %q --no-multicast-only", at.Name, ErrRule, noMulticast, at.Name, p.Reference())
			}
			continue // as when it is distributed
		}
		found = true
		if p.Flags.Encrypt {
			out = append(out, at.Recipient)
		}
	}
	if !found {
		return nil, fmt.Errorf("%w that may have it; next: wimcast point list", ErrNotFound)
	}
	slices.Sort(out)
	return out, nil
}

// build makes a release that isn't in the registry.
func (s *Site) build(ctx context.Context, p *library.Package, made *Made, shape *shape) (_ *Built, err error) {
	number := 0
	if made != nil {
		number = made.Key
	}
	r := &release.Release{
		Name: p.Name, Version: p.Version, Comment: p.Comment, Made: s.now(), Digest: shape.Content, Size: p.Size,
		AllowMulticast: shape.AllowMulticast, Encrypt: shape.Encrypt, MulticastOnly: shape.MulticastOnly,
	}
	var key *[release.KeySize]byte
	if shape.Encrypt {
		k, err := s.useKey(p.Name, number, shape.Recipients)
		if err != nil {
			return nil, err
		}
		array := k.array()
		key = &array
		if r.Keys, err = release.Wrap(array, shape.Recipients); err != nil {
			return nil, err
		}
	}
	if r.Content, err = p.Description(); err != nil {
		return nil, err
	}
	content, err := s.cfg.Library.OpenContent(p.Reference())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = content.Close()
		}
	}()
	if content.Digest() != p.Digest {
		return nil, errors.New("the package has changed meanwhile; next: the same command again")
	}
	layout := release.NewLayout(content.Size(), shape.Encrypt)
	r.ChunkBlocks = layout.ChunkBlocks
	b := &Built{Reference: p.Reference(), content: content}
	if b.source, err = newSource(content, layout, key); err != nil {
		return nil, err
	}
	if b.Layers, err = s.layersOf(ctx, made, b.source); err != nil {
		return nil, err
	}
	if b.Revision, err = s.revisionFor(made, shape); err != nil {
		return nil, err
	}
	r.Revision, b.Made = b.Revision, r.Made
	b.Document, b.Manifest, err = r.Seal(s.key, b.Layers)
	return b, err
}

// revisionFor numbers a release that isn't in the registry. Where it differs from the one there in whom it is wrapped to alone, it is the same
// revision: a point that was assigned that one takes it in place of this, in whichever order they come.
func (s *Site) revisionFor(made *Made, shape *shape) (revision int64, err error) {
	if made != nil {
		same := *shape
		same.Recipients = made.Recipients
		if same.equal(&made.shape) {
			return made.Revision, nil
		}
	}
	err = s.change(func(st *state) error { // no other release gets it
		st.Revision++
		revision = st.Revision
		return nil
	})
	return revision, err
}

// layersOf returns the layers of a source: those of the release that was made of it, where it is; else all of it is read.
func (s *Site) layersOf(ctx context.Context, made *Made, src *source) ([]v1.Descriptor, error) {
	if made != nil {
		if m, _, err := s.stored(made); err == nil {
			return m.Layers, nil
		}
	}
	blocks, err := src.manifest()
	if err != nil {
		return nil, err
	}
	layers := []v1.Descriptor{{MediaType: release.MediaManifest, Digest: digest.FromBytes(blocks), Size: int64(len(blocks))}}
	for c := range src.layout.Chunks() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		d := v1.Descriptor{MediaType: release.MediaChunk, Size: src.layout.ChunkLen(c)}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(src.chunk(c), 0, d.Size)); err != nil {
			return nil, err
		}
		d.Digest = digest.NewDigest(digest.SHA256, sum)
		layers = append(layers, d)
	}
	return layers, nil
}

// File is the release as it goes into a file. The content must stay open meanwhile.
func (b *Built) File() *prestage.Release {
	return &prestage.Release{
		Tag: release.Tag(b.Reference, b.Revision), Made: b.Made, Manifest: b.Manifest, Document: b.Document, Layers: b.Layers, Layer: b.Layer,
	}
}
