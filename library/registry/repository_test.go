package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	server "wimcast/test/registry"
)

// hasty is how long a registry may be silent in tests of that; far more than one that isn't takes for a byte.
const hasty = 2 * time.Second

// openTest opens a repository that tries again at once.
func openTest(t *testing.T, c Config) *Repository {
	t.Helper()
	return openWith(t, c, idleTime)
}

func openWith(t *testing.T, c Config, idle time.Duration) *Repository {
	t.Helper()
	r, err := open(t.Context(), c, idle)
	if err != nil {
		t.Fatal(err)
	}
	r.backoff = time.Millisecond
	t.Cleanup(r.Close)
	return r
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// blobOf makes bytes that nothing else has, and their descriptor.
func blobOf(seed uint64, size int) ([]byte, v1.Descriptor) {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b, v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(b), Size: int64(size)}
}

// manifestOf makes the manifest of blobs; the first is its config.
func manifestOf(t *testing.T, blobs ...v1.Descriptor) []byte {
	t.Helper()
	b, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: "application/vnd.wimcast.test", Config: blobs[0], Layers: blobs[1:],
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(ctx context.Context, r *Repository, d v1.Descriptor, offset int64) ([]byte, error) {
	body, err := r.Blob(ctx, d, offset)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

// TestRepository pushes and pulls by a real registry, over TLS with a CA of its own and with credentials.
func TestRepository(t *testing.T) {
	s := server.ForTest(t, server.Options{TLS: true, Htpasswd: map[string]string{"site": "open sesame"}})
	dir := t.TempDir()
	c := Config{Repository: s.Repository("rooms/wimcast"), CA: s.CA, Credentials: write(t, filepath.Join(dir, "credentials"), "# ours\nusername = site\npassword = \"open sesame\"\n")}
	r := openTest(t, c)
	ctx := t.Context()

	if tags, err := r.Tags(ctx); err != nil || len(tags) != 0 {
		t.Errorf("tags of a repository that isn't there: %v, %v", tags, err)
	}
	if _, err := r.Head(ctx, "w11"); !errors.Is(err, ErrNotFound) {
		t.Errorf("head of what isn't there: %v", err)
	}
	config, cd := blobOf(1, 100)
	chunk, ld := blobOf(2, 3<<20)
	for i, want := range []bool{true, false} {
		for _, blob := range []struct {
			b []byte
			d v1.Descriptor
		}{{config, cd}, {chunk, ld}} {
			if sent, err := r.PushBlob(ctx, blob.d, bytes.NewReader(blob.b)); err != nil || sent != want {
				t.Errorf("push %d: sent %t, %v", i, sent, err)
			}
		}
	}
	if has, err := r.Has(ctx, ld); err != nil || !has {
		t.Errorf("has %t, %v", has, err)
	}
	_, other := blobOf(3, 10)
	if has, err := r.Has(ctx, other); err != nil || has {
		t.Errorf("has what isn't there %t, %v", has, err)
	}
	if _, err := read(ctx, r, other, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("read what isn't there: %v", err)
	}
	m := manifestOf(t, cd, ld)
	md, err := r.PushManifest(ctx, m, "w11-1")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := r.Head(ctx, "w11-1"); err != nil || d.Digest != md.Digest || d.Size != int64(len(m)) {
		t.Errorf("head: %+v, %v", d, err)
	}
	for _, at := range []string{"w11-1", md.Digest.String()} {
		if d, b, err := r.Manifest(ctx, at); err != nil || d.Digest != md.Digest || !bytes.Equal(b, m) {
			t.Errorf("manifest %s: %+v, %v", at, d, err)
		}
	}
	for _, offset := range []int64{0, 1, 1 << 20, ld.Size - 1, ld.Size} {
		if b, err := read(ctx, r, ld, offset); err != nil || !bytes.Equal(b, chunk[offset:]) {
			t.Errorf("blob from %d: %d bytes, %v", offset, len(b), err)
		}
	}
	if tags, err := r.Tags(ctx); err != nil || len(tags) != 1 || tags[0] != "w11-1" {
		t.Errorf("tags %v, %v", tags, err)
	}
	if err := r.DeleteManifest(ctx, md); err != nil {
		t.Error(err)
	}
	if err := r.DeleteManifest(ctx, md); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := openTest(t, Config{Repository: c.Repository, Credentials: c.Credentials}).Head(ctx, "w11-1"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "set ca in [registry]") {
		t.Errorf("without its CA: %v", err)
	}
	c.PlainHTTP = true
	if _, err := openTest(t, c).Head(ctx, "w11-1"); err == nil {
		t.Error("it answers plain HTTP")
	}
}

// TestCredentialsExpire has a registry change its mind about who may come in.
func TestCredentialsExpire(t *testing.T) {
	s := server.ForTest(t, server.Options{Htpasswd: map[string]string{"point": "old"}})
	file := write(t, filepath.Join(t.TempDir(), "credentials"), "username=point\npassword=old\n")
	r := openTest(t, Config{Repository: s.Repository("w"), Credentials: file, PlainHTTP: true})
	ctx := t.Context()
	b, d := blobOf(1, 1000)
	if _, err := r.PushBlob(ctx, d, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUsers(map[string]string{"point": "new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(ctx, r, d, 0); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), file) {
		t.Errorf("with the old password: %v", err)
	}
	write(t, file, "username=point\npassword=new\n")
	if got, err := read(ctx, r, d, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("with the new password in the file: %v", err)
	}
	if _, err := openTest(t, Config{Repository: s.Repository("w"), PlainHTTP: true}).Head(ctx, "x"); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "set credentials") {
		t.Errorf("with none: %v", err)
	}
	docker := write(t, file+".json", `{"auths":{"`+s.Addr+`":{"auth":"cG9pbnQ6bmV3"}}}`) // point:new
	if got, err := read(ctx, openTest(t, Config{Repository: s.Repository("w"), PlainHTTP: true, Credentials: docker}), d, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("with docker's file: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUsers(map[string]string{"point": "newest"}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(ctx, r, d, 0); !errors.Is(err, ErrUnauthorized) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
}

// TestRegistryAway takes the registry away in the midst of a blob, and gives it back.
func TestRegistryAway(t *testing.T) {
	s := server.ForTest(t, server.Options{})
	r := openWith(t, Config{Repository: s.Repository("w"), PlainHTTP: true}, hasty)
	ctx := t.Context()
	const size = 64 << 20 // more than sockets take
	b, d := blobOf(1, size)
	if _, err := r.PushBlob(ctx, d, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	for name, away := range map[string]func() (back func()){
		"killed": func() func() {
			s.Stop()
			return func() {
				if err := s.Start(ctx); err != nil {
					t.Fatal(err)
				}
			}
		},
		"silent": func() func() {
			if err := s.Freeze(); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := s.Thaw(); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		body, err := r.Blob(ctx, d, 0)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1<<20)
		if _, err := io.ReadFull(body, first); err != nil {
			t.Fatal(err)
		}
		back := away()
		rest, err := io.ReadAll(body)
		_ = body.Close()
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		have := slices.Concat(first, rest)
		if _, err := r.Head(ctx, "x"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "next: curl http://") {
			t.Errorf("%s: head while it is away: %v", name, err)
		}
		back()
		if rest, err = read(ctx, r, d, int64(len(have))); err != nil || !bytes.Equal(append(have, rest...), b) {
			t.Errorf("%s: went on from %d: %v", name, len(have), err)
		}
	}
}

// TestRegistryKeeps has a registry refuse to delete.
func TestRegistryKeeps(t *testing.T) {
	s := server.ForTest(t, server.Options{Keep: true})
	r := openTest(t, Config{Repository: s.Repository("w"), PlainHTTP: true})
	b, d := blobOf(1, 10)
	if _, err := r.PushBlob(t.Context(), d, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	md, err := r.PushManifest(t.Context(), manifestOf(t, d), "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteManifest(t.Context(), md); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "allow deletion") {
		t.Error(err)
	}
}

// TestBlobWaits holds that no more blobs are on their way than were allowed, and that questions aren't held up by them.
func TestBlobWaits(t *testing.T) {
	s := server.ForTest(t, server.Options{})
	r := openTest(t, Config{Repository: s.Repository("w"), PlainHTTP: true, Parallel: 1})
	b, d := blobOf(1, 1<<20)
	if _, err := r.PushBlob(t.Context(), d, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	body, err := r.Blob(t.Context(), d, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Head(t.Context(), "x"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	enough := errors.New("waited enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, enough)
	defer cancel()
	if _, err := r.Blob(ctx, d, 0); !errors.Is(err, enough) {
		t.Errorf("a second blob beside the only one: %v", err)
	}
	_ = body.Close()
	_ = body.Close()
	if got, err := read(t.Context(), r, d, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("after the first: %v", err)
	}
}

// TestOpenRefuses holds what is wrong with a configuration, before the registry is asked.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string { return write(t, filepath.Join(dir, name), text) }
	exposed := file("exposed", "token = x\n")
	if err := os.Chmod(exposed, 0o604); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"it is no repository":                        {Repository: "registry.example.org"},
		"it looks like registry.example.org/wimcast": {Repository: "https://registry.example.org/wimcast"},
		"without a tag":                              {Repository: "registry.example.org/wimcast:latest"},
		"no such file":                               {Repository: "r.example/w", Credentials: filepath.Join(dir, "none")},
		"chmod o=":                                   {Repository: "r.example/w", Credentials: exposed},
		"neither username and password nor token":    {Repository: "r.example/w", Credentials: file("half", "username = x\n")},
		"line 2 has no =":                            {Repository: "r.example/w", Credentials: file("line", "username = x\nsecret\n")},
		"the key isn't one of":                       {Repository: "r.example/w", Credentials: file("key", "user = x\n")},
		"no credentials for r.example":               {Repository: "r.example/w", Credentials: file("docker", `{"auths":{"other.example":{"auth":"YTpi"}}}`)},
		"begins like docker's config.json":           {Repository: "r.example/w", Credentials: file("broken", `{"auths":{"r.example":{"auth":"!!!secret"}}}`)},
		"no certificate in PEM":                      {Repository: "r.example/w", CA: file("ca", "hello")},
	} {
		_, err := Open(c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %q: %v", want, err)
		}
	}
}
