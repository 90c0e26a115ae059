package registry

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
)

// liar is a registry that does what it's told for all that is asked of it.
func liar(t *testing.T, answer http.HandlerFunc) *Repository {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return openWith(t, Config{Repository: strings.TrimPrefix(s.URL, "http://") + "/w", PlainHTTP: true}, hasty)
}

// TestBlobLies reads blobs from registries that send something else.
func TestBlobLies(t *testing.T) {
	b, d := blobOf(1, 200_000)
	other, _ := blobOf(2, 200_000)
	for name, c := range map[string]struct {
		offset int64
		answer http.HandlerFunc
		want   error
	}{
		"other bytes":   {0, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other) }, ErrDamaged},
		"too short":     {0, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b[:1000]) }, ErrDamaged},
		"too long":      {0, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(b, 1)) }, ErrDamaged},
		"cut in pieces": {0, func(w http.ResponseWriter, _ *http.Request) { flush(w, b[:1000]) }, ErrUnavailable},
		"long, in pieces": {0, func(w http.ResponseWriter, _ *http.Request) {
			flush(w, b)
			flush(w, b)
		}, ErrDamaged},
		"breaks off": {0, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "200000")
			flush(w, b[:1000])
			panic(http.ErrAbortHandler)
		}, ErrUnavailable},
		"falls silent": {0, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "200000")
			flush(w, b[:1000])
			<-r.Context().Done()
		}, ErrUnavailable},
		"no parts":     {10, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }, ErrNoRange},
		"another part": {10, part("bytes 0-199989/200000", b[:199_990]), ErrDamaged},
		"of another":   {10, part("bytes 10-199999/300000", b[10:]), ErrDamaged},
		"no word":      {10, part("", b[10:]), ErrDamaged},
		"nothing left": {10, status(http.StatusRequestedRangeNotSatisfiable), ErrDamaged},
		"gone":         {0, status(http.StatusNotFound), ErrNotFound},
		"forbidden":    {0, status(http.StatusForbidden), ErrUnauthorized},
		"overloaded":   {0, status(http.StatusServiceUnavailable), ErrUnavailable},
		"teapot":       {0, status(http.StatusTeapot), ErrRefused},
		"sent around": {0, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := liar(t, c.answer)
			body, err := r.Blob(t.Context(), d, c.offset)
			if err == nil {
				var got []byte
				got, err = io.ReadAll(Proven(io.MultiReader(bytes.NewReader(b[:c.offset]), body), d))
				_ = body.Close()
				if int64(len(got)) > d.Size {
					t.Errorf("%d bytes came through", len(got))
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			t.Log(err)
		})
	}
}

// flush sends bytes without saying how many there will be.
func flush(w http.ResponseWriter, b []byte) {
	_, _ = w.Write(b)
	_ = http.NewResponseController(w).Flush()
}

func part(span string, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if span != "" {
			w.Header().Set("Content-Range", span)
		}
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"\u001b[2Jgone"}]}`)
	}
}

// TestManifestLies reads manifests from registries that send something else.
func TestManifestLies(t *testing.T) {
	_, d := blobOf(1, 10)
	m := manifestOf(t, d)
	right := digest.FromBytes(m)
	serve := func(claimed string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", claimed)
			_, _ = w.Write(body)
		}
	}
	for name, c := range map[string]struct {
		at     string
		answer http.HandlerFunc
	}{
		"other bytes by tag":         {"t", serve(right.String(), append([]byte{' '}, m...))},
		"other bytes by digest":      {right.String(), serve(right.String(), append([]byte{' '}, m...))},
		"another manifest by digest": {right.String(), serve(digest.FromString("x").String(), []byte("x"))},
		"too long":                   {"t", serve(digest.FromBytes(make([]byte, MaxManifest+1)).String(), make([]byte, MaxManifest+1))},
		"another hash":               {"t", serve(digest.SHA512.FromBytes(m).String(), m)},
		"no hash at all":             {"t", serve("nonsense", m)},
	} {
		t.Run(name, func(t *testing.T) {
			_, b, err := liar(t, c.answer).Manifest(t.Context(), c.at)
			if !errors.Is(err, ErrDamaged) || b != nil {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	if _, b, err := liar(t, serve(right.String(), m)).Manifest(t.Context(), "t"); err != nil || !bytes.Equal(b, m) {
		t.Errorf("the right one: %v", err)
	}
	if _, err := liar(t, status(http.StatusOK)).Tags(t.Context()); err != nil {
		t.Errorf("a list without tags: %v", err)
	}
	nonsense := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
	if _, err := liar(t, nonsense).Tags(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a list that is none: %v", err)
	}
}

// TestRedirectKeepsSecrets has a registry send the reader to another server, as those do that keep blobs elsewhere.
// TestEchoKeepsSecrets: a registry that repeats what it was shown doesn't bring that into our errors.
func TestEchoKeepsSecrets(t *testing.T) {
	_, d := blobOf(1, 1000)
	for _, status := range []int{http.StatusForbidden, http.StatusBadGateway, http.StatusBadRequest} {
		r := liar(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("Www-Authenticate", "Basic realm=x")
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, password, _ := r.BasicAuth()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"%s is wrong, in %s"}]}`, password, r.Header.Get("Authorization"))
		})
		r.config.Credentials = write(t, t.TempDir()+"/c", "username=point17\npassword=seesaw-margery\n")
		_, err := read(t.Context(), r, d, 0)
		if err == nil || !strings.Contains(err.Error(), "[redacted] is wrong") || strings.Contains(err.Error(), "seesaw") ||
			strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("point17:seesaw-margery"))) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestRedirectKeepsSecrets(t *testing.T) {
	b, d := blobOf(1, 1000)
	seen := make(chan string, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}))
	t.Cleanup(elsewhere.Close)
	r := liar(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("Www-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, elsewhere.URL+"/blob?signature=secret", http.StatusTemporaryRedirect)
	})
	r.config.Credentials = write(t, t.TempDir()+"/c", "username=u\npassword=p\n")
	for _, offset := range []int64{0, 500} {
		if got, err := read(t.Context(), r, d, offset); err != nil || !bytes.Equal(got, b[offset:]) {
			t.Error(err)
		}
		if got := <-seen; got != "" {
			t.Errorf("the other server was told %q", got)
		}
	}
	elsewhere.Close()
	if _, err := read(t.Context(), r, d, 0); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("the other server is away: %v", err)
	}
	for to, follows := range map[string]bool{"https://b.example/x": true, "http://a.example/x": false, "ftp://b.example/x": false} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		secure := Config{}
		if err := secure.checkRedirect(request, nil); (err == nil) != follows {
			t.Errorf("from https on to %s: %v", to, err)
		}
	}
}

// TestPushAgain has a registry fail for a while.
func TestPushAgain(t *testing.T) {
	b, d := blobOf(1, 100_000)
	var asked, stored atomic.Int64
	r := liar(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost:
			if asked.Add(1) < pushTries {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			w.Header().Set("Location", "/upload")
			w.WriteHeader(http.StatusAccepted)
		default:
			n, _ := io.Copy(io.Discard, r.Body)
			stored.Add(n)
			w.WriteHeader(http.StatusCreated)
		}
	})
	if sent, err := r.PushBlob(t.Context(), d, bytes.NewReader(b)); err != nil || !sent || stored.Load() != d.Size {
		t.Errorf("sent %t, %d bytes, %v", sent, stored.Load(), err)
	}
	asked.Store(-100)
	if sent, err := r.PushBlob(t.Context(), d, bytes.NewReader(b)); !errors.Is(err, ErrUnavailable) || sent || asked.Load() != pushTries-100 {
		t.Errorf("sent %t after %d questions, %v", sent, asked.Load()+100, err)
	}
}

// TestRetryAfter holds what registries may ask for.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 27, 2, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "99999999": longestWait, "99999999999999999999": 0, "soon": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	err := fmt.Errorf("pull: %w", liarSays(t, "12"))
	if got := RetryAfter(err); got != 12*time.Second || !strings.Contains(err.Error(), "it asks to wait 12s") {
		t.Errorf("%v of %v", got, err)
	}
}

func liarSays(t *testing.T, wait string) error {
	_, err := liar(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", wait)
		w.WriteHeader(http.StatusServiceUnavailable)
	}).Head(t.Context(), "t")
	return err
}
