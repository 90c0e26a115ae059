package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/image-spec/specs-go/v1"
)

// Has tells whether a blob is there.
func (r *Repository) Has(ctx context.Context, d v1.Descriptor) (bool, error) {
	op := "look for blob " + d.Digest.String()
	found, err := r.remote.Blobs().Resolve(ctx, d.Digest.String())
	err = r.failed(ctx, op, err)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case found.Size != d.Size:
		return false, &Error{Op: op, Repository: r.name, Kind: ErrDamaged, Cause: fmt.Errorf("it has %d bytes there, %d here", found.Size, d.Size)}
	}
	return true, nil
}

// PushBlob sends a blob unless it is there, and tells whether it was sent. What fails and may work is tried again: from the
// beginning, as blobs are small here. When it returns, nothing reads from content any more.
func (r *Repository) PushBlob(ctx context.Context, d v1.Descriptor, content io.ReaderAt) (sent bool, err error) {
	if err := r.acquire(ctx, "push blob "+d.Digest.String()); err != nil {
		return false, err
	}
	defer r.release()
	err = r.repeat(ctx, func() error {
		there, err := r.Has(ctx, d)
		if there || err != nil {
			sent = false
			return err
		}
		sent = true
		body := &upload{r: io.NewSectionReader(content, 0, d.Size)}
		defer body.end()
		return r.failed(ctx, "push blob "+d.Digest.String(), r.remote.Blobs().Push(ctx, d, body))
	})
	return sent && err == nil, err
}

// upload is a request's body that can be taken back: the transport may still read it when its answer is long there.
type upload struct {
	mu    sync.Mutex
	r     io.Reader
	ended bool
}

func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return 0, errors.New("the upload is over")
	}
	return u.r.Read(p)
}

func (u *upload) end() {
	u.mu.Lock()
	u.ended = true
	u.mu.Unlock()
}

// repeat calls f until it doesn't say ErrUnavailable, pushTries times at most.
func (r *Repository) repeat(ctx context.Context, f func() error) error {
	backoff := r.backoff
	for try := 1; ; try++ {
		err := f()
		if try == pushTries || !errors.Is(err, ErrUnavailable) {
			return err
		}
		wait := time.NewTimer(min(max(backoff, RetryAfter(err)), mostBackoff))
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
		backoff *= 2
	}
}

// acquire waits for a place among the blobs on their way.
func (r *Repository) acquire(ctx context.Context, op string) error {
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %s: %w", op, r.name, context.Cause(ctx))
	}
}

func (r *Repository) release() { <-r.slots }
