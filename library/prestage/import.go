package prestage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"wimcast/library"
)

// Import takes a file into the library of a point, as it comes from r, and puts its release into service once all of it is there and proven. What
// came before an error stays: the same file again goes on with the rest. It reports whether the release was there already.
//
// The error wraps ErrForm, ErrCut, library.ErrChunk (damaged on its way), library.ErrIncomplete, or what library.Pull's does: release.ErrOrigin,
// release.ErrNotRecipient, library.ErrOlder, library.ErrDiskFull.
func Import(ctx context.Context, l *library.Library, r io.Reader) (p library.Package, already bool, err error) {
	in, err := NewReader(&following{ctx, r})
	if err != nil {
		return p, false, err
	}
	if p, already = inService(l, in.Manifest); already {
		return p, true, nil
	}
	pull, err := l.Pull(in.Manifest, in.Document, true)
	if err != nil {
		return p, false, fmt.Errorf("import: %w", err)
	}
	pkg := pull.Package()
	ref := pkg.Reference()
	if err := takeLayers(ctx, pull, in); err != nil {
		if errors.Is(err, ErrCut) || errors.Is(err, library.ErrChunk) {
			return p, false, fmt.Errorf("import %s: %w; what came before is kept; next: copy the file again, and import it again", ref, err)
		}
		return p, false, fmt.Errorf("import %s: %w; what came before is kept: the same file again goes on", ref, err)
	}
	placing := library.Placing{Prestaged: true}
	if before, err := l.Get(ref); err == nil && before.Pulled() && before.Reference() == ref {
		placing = library.Placing{Current: before.Current, Prestaged: before.Prestaged} // what its site said of it holds
	}
	if p, err = pull.Commit(placing); err != nil {
		if errors.Is(err, library.ErrIncomplete) {
			return p, false, fmt.Errorf("import %s: %w; what came is kept; next: copy the file again, and import it again", ref, err)
		}
		return p, false, fmt.Errorf("import: %w", err)
	}
	return p, false, nil
}

// inService returns the package that a release is, if it is in service.
func inService(l *library.Library, manifest []byte) (library.Package, bool) {
	d := digest.FromBytes(manifest)
	for _, p := range l.List() {
		if p.Release() == d && p.OutOfService == "" {
			return p, true
		}
	}
	return library.Package{}, false
}

// takeLayers takes the layers that aren't there.
func takeLayers(ctx context.Context, pull *library.Pull, in *Reader) error {
	list, err := pull.Missing(ctx)
	if err != nil {
		return err
	}
	missing := make(map[digest.Digest]bool, len(list))
	for i := range list {
		missing[list[i].Digest] = true
	}
	for len(missing) > 0 {
		d, layer, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil // Commit says what is missing
		}
		if err != nil {
			return err
		}
		if !missing[d.Digest] {
			continue
		}
		if err := pull.Put(d, layer); err != nil {
			return err
		}
		delete(missing, d.Digest)
	}
	return nil
}

// following reads until ctx ends.
type following struct {
	ctx context.Context
	r   io.Reader
}

func (f *following) Read(b []byte) (int, error) {
	if f.ctx.Err() != nil {
		return 0, context.Cause(f.ctx)
	}
	return f.r.Read(b)
}
