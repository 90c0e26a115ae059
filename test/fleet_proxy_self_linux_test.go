package test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/registry"
	"wimcast/test/lab"
	testregistry "wimcast/test/registry"
)

// TestFleetProxy: what the other tests rely on to be broken is broken as they say.
func TestFleetProxy(t *testing.T) {
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	room, err := lab.New(ctx, lab.Config{Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	server := testregistry.ForTest(t, testregistry.Options{Place: room.Client(0)})
	p := startProxy(t, room.Client(1), server.Addr)
	open := func() *registry.Repository {
		r, err := registry.Open(registry.Config{Repository: p.local.Listener.Addr().String() + "/wimcast", PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	repository := open()
	content := bytes.Repeat([]byte("wimcast "), 1<<17) // 1 MiB
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(content), Size: int64(len(content))}
	if _, err := repository.PushBlob(ctx, d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	here := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if got := p.sent(here); got < d.Size {
		t.Errorf("%d bytes were pushed, want %d", got, d.Size)
	}
	get := func() ([]byte, error) {
		r, err := repository.Blob(ctx, d, 0)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	whole := func(what string) {
		t.Helper()
		if b, err := get(); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%s: %d bytes, %v", what, len(b), err)
		}
	}
	whole("nothing set")
	if p.moved(here) != d.Size || p.fetched(here)[d.Digest.String()] != 1 {
		t.Errorf("%d bytes moved, fetched %v", p.moved(here), p.fetched(here))
	}
	blobs := func(m meddling) func(asked) *meddling { return from(1, m) }
	hit := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-ctx.Done():
			t.Fatalf("%s: had no effect", what)
		}
	}

	c := p.set(blobs(meddling{after: 1000, flip: true}))
	b, err := get()
	hit("flip", c)
	if err != nil || len(b) != len(content) || bytes.Equal(b, content) || !bytes.Equal(b[:1000], content[:1000]) || !bytes.Equal(b[1001:], content[1001:]) {
		t.Errorf("flip: %d bytes, %v", len(b), err)
	}
	c = p.set(blobs(meddling{after: 1000, cut: true}))
	if b, err = get(); err == nil {
		t.Errorf("cut: %d bytes and no error", len(b))
	}
	hit("cut", c)
	c = p.set(blobs(meddling{status: http.StatusUnauthorized}))
	if _, err = get(); !errors.Is(err, registry.ErrUnauthorized) {
		t.Errorf("401: %v", err)
	}
	hit("status", c)
	p.clear()
	whole("cleared")

	hold := make(chan struct{})
	c = p.set(blobs(meddling{after: 1000, hold: hold}))
	done := make(chan error, 1)
	go func() {
		b, err := get()
		if err == nil && !bytes.Equal(b, content) {
			err = errors.New("other content")
		}
		done <- err
	}()
	hit("hold", c)
	select {
	case err := <-done:
		t.Errorf("what is held ended: %v", err)
	default:
	}
	close(hold)
	if err := <-done; err != nil {
		t.Errorf("what was held: %v", err)
	}
	began := time.Now()
	p.set(blobs(meddling{rate: 4 << 20}))
	whole("slow")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("1 MiB at 4 MiB/s took %v", took)
	}
}
