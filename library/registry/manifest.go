package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// MaxManifest bounds a manifest, in bytes. Registries have bounds like it: that of distribution is the same.
const MaxManifest = 4 << 20

// Head asks what a tag or a digest stands for. It costs the registry and the line little, so it's what is asked again and again.
// The answer is what the registry says: only Manifest proves it.
func (r *Repository) Head(ctx context.Context, reference string) (v1.Descriptor, error) {
	op := "look up " + printable(reference)
	d, err := r.remote.Resolve(ctx, reference)
	if err != nil {
		return v1.Descriptor{}, r.failed(ctx, op, err)
	}
	return d, r.known(op, &d)
}

// Manifest returns a manifest's bytes by its tag or digest, at most MaxManifest of them, and its descriptor, which they match.
// Of a tag that is all that is proven: which manifest it should stand for is for a signature to say.
func (r *Repository) Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error) {
	op := "read manifest " + printable(reference)
	d, body, err := r.remote.FetchReference(ctx, reference)
	if err != nil {
		return v1.Descriptor{}, nil, r.failed(ctx, op, err)
	}
	defer func() { _ = body.Close() }()
	if err := r.known(op, &d); err != nil {
		return v1.Descriptor{}, nil, err
	}
	if d.Size < 0 || d.Size > MaxManifest {
		return v1.Descriptor{}, nil, &Error{Op: op, Repository: r.name, Kind: ErrDamaged, Cause: fmt.Errorf("%d bytes, at most %d are read", d.Size, MaxManifest)}
	}
	b, err := content.ReadAll(body, d)
	if err != nil {
		return v1.Descriptor{}, nil, r.failed(ctx, op, err)
	}
	return d, b, nil
}

// known holds a descriptor of the registry's making: other digests than SHA-256 aren't ours.
func (r *Repository) known(op string, d *v1.Descriptor) error {
	if d.Digest.Algorithm() != digest.SHA256 {
		return &Error{Op: op, Repository: r.name, Kind: ErrDamaged, Cause: fmt.Errorf("the digest %s isn't of SHA-256", printable(d.Digest.String()))}
	}
	return nil
}

// PushManifest stores an OCI image manifest and has a tag stand for it from now on; tag "" stores it by its digest alone. Every blob that
// it names must be there. Its descriptor is returned.
func (r *Repository) PushManifest(ctx context.Context, b []byte, tag string) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(b), Size: int64(len(b))}
	op := "push manifest " + d.Digest.String()
	if tag != "" {
		op = "push manifest " + printable(tag)
	}
	if len(b) > MaxManifest {
		return d, &Error{Op: op, Repository: r.name, Kind: ErrRefused, Cause: fmt.Errorf("%d bytes, registries take %d at most", len(b), MaxManifest)}
	}
	at := tag
	if tag == "" {
		at = d.Digest.String()
	}
	return d, r.repeat(ctx, func() error { return r.failed(ctx, op, r.remote.PushReference(ctx, d, bytes.NewReader(b), at)) })
}

// DeleteManifest removes a manifest and the tags that stand for it. Its blobs stay until the registry collects garbage.
// Where the registry deletes nothing, or not for us, the error is ErrRefused or ErrUnauthorized; what isn't there is ErrNotFound.
func (r *Repository) DeleteManifest(ctx context.Context, d v1.Descriptor) error {
	op := "delete manifest " + d.Digest.String()
	err := r.remote.Manifests().Delete(ctx, d)
	if err == nil {
		return nil
	}
	err = r.failed(ctx, op, err)
	if e, ok := errors.AsType[*Error](err); ok && errors.Is(err, ErrRefused) {
		e.Next = "allow deletion in the registry's configuration"
	}
	return err
}

// Tags returns all tags, sorted. Of a repository that isn't there yet there are none.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var all []string
	err := r.remote.Tags(ctx, "", func(page []string) error {
		all = append(all, page...)
		return nil
	})
	if err = r.failed(ctx, "list tags", err); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
