package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Blob reads a blob from offset on, so that one that broke off goes on. The reader ends with io.EOF after exactly d.Size-offset bytes; anything else is an
// error, of a broken connection ErrUnavailable. The bytes aren't proven: see Proven. A registry that sends no parts gives ErrNoRange: ask
// again from 0. Close gives back the connection, which is good for another blob only when all was read.
//
// At most Config.Parallel readers are open at once; Blob waits for its turn.
func (r *Repository) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	op := "read blob " + d.Digest.String()
	if err := d.Digest.Validate(); err != nil || offset < 0 || offset > d.Size {
		panic(fmt.Sprintf("registry: blob %q from %d of %d", d.Digest, offset, d.Size))
	}
	if offset == d.Size && d.Size > 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err := r.acquire(ctx, op); err != nil {
		return nil, err
	}
	body, err := r.get(ctx, op, &d, offset)
	if err != nil {
		r.release()
		return nil, err
	}
	return &blob{ctx: ctx, repository: r, op: op, body: body, left: d.Size - offset}, nil
}

// get sends the request (OCI distribution specification, section Pulling blobs) and holds the answer's head. Below oras' Fetch, as that asks for all of a blob before a part.
func (r *Repository) get(ctx context.Context, op string, d *v1.Descriptor, offset int64) (io.ReadCloser, error) {
	address := r.scheme() + "://" + r.host + "/v2/" + r.remote.Reference.Repository + "/blobs/" + d.Digest.String()
	request, err := http.NewRequestWithContext(auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull), http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, r.failed(ctx, op, err)
	}
	want := http.StatusOK
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, d.Size-1))
		want = http.StatusPartialContent
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, r.failed(ctx, op, err)
	}
	lie := func(format string, args ...any) (io.ReadCloser, error) {
		_ = answer.Body.Close()
		return nil, &Error{Op: op, Repository: r.name, Kind: ErrDamaged, Cause: fmt.Errorf(format, args...)}
	}
	switch {
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return lie("it has no bytes from %d on, there should be %d", offset, d.Size)
	case answer.StatusCode == http.StatusOK && offset > 0:
		_ = answer.Body.Close()
		return nil, &Error{Op: op, Repository: r.name, Kind: ErrNoRange, Cause: fmt.Errorf("asked from byte %d on", offset)}
	case answer.StatusCode != want:
		return nil, r.failed(ctx, op, refusal(answer))
	case offset > 0:
		if from, size, ok := contentRange(answer.Header.Get("Content-Range")); !ok || from != offset || size >= 0 && size != d.Size {
			return lie("asked for bytes from %d of %d, it sends %q", offset, d.Size, printable(answer.Header.Get("Content-Range")))
		}
	}
	if n := answer.ContentLength; n >= 0 && n != d.Size-offset {
		return lie("%d bytes, there should be %d", n, d.Size-offset)
	}
	return answer.Body, nil
}

// contentRange reads where a part begins and how much there is in all (RFC 9110, section 14.4); size is -1 where that isn't said.
func contentRange(text string) (from, size int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, of, _ := strings.Cut(text, "/")
	first, _, _ := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if of == "*" {
		return from, -1, true
	}
	size, err = strconv.ParseInt(of, 10, 64)
	return from, size, err == nil && size >= 0
}

// blob reads what was promised, no more and no less.
type blob struct {
	ctx        context.Context
	repository *Repository
	op         string
	body       io.ReadCloser
	left       int64
	err        error // the end
	closed     bool
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left+1)]) // one more than there should be
	b.left -= int64(n)
	switch {
	case b.left < 0:
		n--
		b.err = &Error{Op: b.op, Repository: b.repository.name, Kind: ErrDamaged, Cause: errors.New("it is longer than it should be")}
	case errors.Is(err, io.EOF) && b.left == 0:
		b.err = io.EOF
	case errors.Is(err, io.EOF):
		b.err = b.cut(io.ErrUnexpectedEOF)
	case err != nil:
		b.err = b.cut(err)
	}
	return n, b.err
}

// cut says that a blob ended too early.
func (b *blob) cut(err error) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", b.op, b.repository.name, context.Cause(b.ctx))
	}
	return &Error{Op: b.op, Repository: b.repository.name, Kind: ErrUnavailable, Cause: fmt.Errorf("it broke off %d bytes before its end: %w", b.left, plain(err))}
}

// Close implements io.Closer; twice does no harm.
func (b *blob) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.repository.release()
	return b.body.Close()
}

// Proven reads what r does and ends with io.EOF only when that was exactly what d describes; else with ErrDamaged. Bytes that
// it returns before its end aren't proven yet. d's digest is a SHA-256.
func Proven(r io.Reader, d v1.Descriptor) io.Reader {
	return &proof{r: r, d: d, hash: sha256.New()}
}

type proof struct {
	r    io.Reader
	d    v1.Descriptor
	hash hash.Hash
	n    int64
	err  error
}

// Read implements io.Reader.
func (p *proof) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	_, _ = p.hash.Write(b[:n]) // a hash takes everything
	switch {
	case p.n > p.d.Size:
		err = p.damaged("more than its %d bytes", p.d.Size)
		n = max(0, n-int(p.n-p.d.Size))
	case errors.Is(err, io.EOF) && p.n < p.d.Size:
		err = p.damaged("%d bytes of %d", p.n, p.d.Size)
	case errors.Is(err, io.EOF):
		if got := hex.EncodeToString(p.hash.Sum(nil)); got != p.d.Digest.Encoded() {
			err = p.damaged("its SHA-256 is %s", got)
		}
	}
	p.err = err
	return n, err
}

func (p *proof) damaged(format string, args ...any) error {
	return fmt.Errorf("blob %s: %w: %s", p.d.Digest, ErrDamaged, fmt.Sprintf(format, args...))
}
