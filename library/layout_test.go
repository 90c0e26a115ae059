package library

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"wimcast/crypto"
)

// TestLayoutForOthers reads a library with ORAS's own code for OCI image layouts.
func TestLayoutForOthers(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	images := map[string][]byte{"w11@2026.11": testWIM(500_000, 1, "Windows 11"), "lab": testWIM(1, 2, "a", "b")}
	for ref, b := range images {
		name, version, _ := strings.Cut(ref, "@")
		add(t, l, b, name, version)
	}
	store, err := oci.NewFromFS(t.Context(), os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for ref, b := range images {
		d, err := store.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if d.ArtifactType != artifactType || d.MediaType != v1.MediaTypeImageManifest {
			t.Errorf("%s: %+v", ref, d)
		}
		parts, err := content.Successors(t.Context(), store, d)
		if err != nil || len(parts) != 3 {
			t.Fatal(parts, err)
		}
		var c config
		if raw, err := content.FetchAll(t.Context(), store, parts[0]); err != nil || json.Unmarshal(raw, &c) != nil || c.Size != int64(len(b)) {
			t.Errorf("%s: config %s, %v", ref, raw, err)
		}
		r, err := store.Fetch(t.Context(), parts[1])
		if err != nil {
			t.Fatal(err)
		}
		verified := content.NewVerifyReader(r, parts[1])
		got, err := io.ReadAll(verified)
		if err != nil || verified.Verify() != nil || string(got) != string(b) {
			t.Errorf("%s: the content isn't what was added: %v", ref, err)
		}
		_ = r.Close()
		raw, err := content.FetchAll(t.Context(), store, parts[2])
		if err != nil {
			t.Fatal(err)
		}
		m, err := crypto.ParseManifest(raw)
		if err != nil || m.Digest().String() != c.Digest || m.Digest().String() != d.Annotations[keyDigest] {
			t.Errorf("%s: manifest: %v", ref, err)
		}
	}
}

// TestConfigForm holds the form that files of today have against tomorrow's code.
func TestConfigForm(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	b := testWIM(10, 1, "Windows 11")
	p := add(t, l, b, "w11", "1")
	const want = `{"digest":"DIGEST","sha256":"SHA","size":SIZE,"compression":"none","images":[{"index":1,"name":"Windows 11","editionID":"Education","architecture":9,"hasArchitecture":true,"totalBytes":10}]}`
	raw, err := l.readBlob(&p.config, maxJSON)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(p.Digest.String(), "DIGEST", p.config.Digest.Encoded(), "", p.content.Digest.Encoded(), "SHA", `"size":`+sizeText(p.Size), `"size":SIZE`).Replace(string(raw))
	if got != want {
		t.Errorf("config\n%s\nwant\n%s", got, want)
	}
}

func sizeText(n int64) string { b, _ := json.Marshal(n); return string(b) }
