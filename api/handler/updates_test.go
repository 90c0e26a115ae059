package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/servicing"
)

// serviced lets servicing read the fixture's library and add to it.
type serviced struct{ library *library.Library }

func (s serviced) image(p *library.Package) servicing.Image {
	return servicing.Image{
		Name: p.Name, Version: p.Version, Reference: p.Reference(), Digest: p.Digest.String(), Size: p.Size, OutOfService: p.OutOfService, Images: p.Images,
	}
}

func (s serviced) Images() (out []servicing.Image) {
	for _, p := range s.library.List() {
		out = append(out, s.image(&p))
	}
	return out
}

func (s serviced) Image(ref string) (servicing.Image, error) {
	p, err := s.library.Get(ref)
	return s.image(&p), err
}

// servicedContent is content that other programs read too.
type servicedContent struct {
	*library.Content

	path string
}

func (c servicedContent) Path() string { return c.path }

func (s serviced) Open(i servicing.Image) (servicing.Content, error) {
	digest, err := crypto.ParseHash(i.Digest)
	if err != nil {
		return nil, err
	}
	content, err := s.library.OpenDigest(digest)
	if err != nil {
		return nil, err
	}
	path, err := content.Path()
	return servicedContent{content, path}, err
}

func (s serviced) Free() (uint64, error) { return s.library.FreeBytes() }

func (s serviced) Add(ctx context.Context, r io.Reader, size int64, from servicing.Image, version string) (servicing.Image, error) {
	p, _, err := s.library.Add(ctx, r, library.AddOptions{Name: from.Name, Version: version, Size: size})
	return s.image(&p), err
}

// windows captures a small WIM that looks like Windows: x64, build 22621, with one update installed.
func windows(t *testing.T) []byte {
	t.Helper()
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		t.Skip("wimlib-imagex is missing: install wimtools (make setup does)")
	}
	dir := t.TempDir()
	packages := filepath.Join(dir, "c", "Windows", "servicing", "Packages")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(packages, "Package_for_KB5000001~31bf3856ad364e35~amd64~~22621.1.1.1.mum"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "w.wim")
	out, err := exec.CommandContext(t.Context(), "wimlib-imagex", "capture", filepath.Join(dir, "c"), file, "Windows 11", "--no-acls",
		"--image-property", "WINDOWS/ARCH=9", "--image-property", "WINDOWS/VERSION/BUILD=22621", "--image-property", "WINDOWS/EDITIONID=Education").CombinedOutput()
	if err != nil {
		t.Fatalf("capture: %v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cabinet makes a cabinet with files that are there by name only.
func cabinet(names ...string) []byte {
	header, table := make([]byte, 36), []byte{}
	for _, name := range names {
		table = append(append(append(table, make([]byte, 16)...), name...), 0)
	}
	copy(header, "MSCF")
	header[8], header[9] = byte(len(header)+len(table)), byte((len(header)+len(table))>>8)
	header[16], header[28] = 36, byte(len(names))
	return slices.Concat(header, table)
}

// askServicing goes over what the API says of updates and schedules.
func (p *point) askServicing(ask func(operation, path, body string, status int) []byte) {
	p.t.Helper()
	into := func(v any, text []byte) {
		p.t.Helper()
		if err := json.Unmarshal(text, v); err != nil {
			p.t.Error(err)
		}
	}
	const refused = http.StatusUnprocessableEntity
	large := `{"image":"` + strings.Repeat("x", maxJSON) + `"}`
	ask("POST /v1/images", "/v1/images?name=win&version=1", string(windows(p.t)), http.StatusOK)

	// The catalogue.
	const catalogue, one, remove = "POST /v1/updates", "GET /v1/updates/{name}", "DELETE /v1/updates/{name}"
	for _, arch := range []string{"x64", "arm64"} {
		name := fmt.Sprintf("windows11.0-kb5000002-%s.msu", arch)
		ask(catalogue, "/v1/updates?build=22621&edition=Education&requires=KB5000001&file="+name, string(cabinet("Windows11.0-KB5000002-"+arch+".cab")), http.StatusOK)
	}
	ask(catalogue, "/v1/updates?file=windows11.0-kb5000002-x64.msu", "no package", refused)
	var list []api.Update
	into(&list, ask("GET /v1/updates", "", "", http.StatusOK))
	if len(list) != 2 || list[1].Reference != "KB5000002-x64" || list[1].Kind != "msu" || len(list[1].Read) != 2 {
		p.t.Errorf("catalogue: %+v", list)
	}
	ask(one, "/v1/updates/KB5000002-arm64", "", http.StatusOK)
	ask(one, "/v1/updates/KB5000002", "", refused) // two of them
	ask(one, "/v1/updates/KB5000009", "", http.StatusNotFound)

	// What is for an image.
	const of = "GET /v1/images/{ref}/updates"
	var images []api.ImageUpdates
	into(&images, ask(of, "/v1/images/win/updates?index=1", "", http.StatusOK))
	if len(images) != 1 || len(images[0].Installed) != 1 || len(images[0].Updates) != 2 || images[0].Updates[0].Verdict != "wrong_architecture" || images[0].Updates[1].Verdict != "applicable" {
		p.t.Errorf("updates of an image: %+v", images)
	}
	ask(of, "/v1/images/win/updates?index=one", "", http.StatusBadRequest)
	ask(of, "/v1/images/win/updates?index=2", "", refused)
	ask(of, "/v1/images/w13/updates", "", http.StatusNotFound)

	// Schedules; nobody runs them here.
	const create, plan = "POST /v1/schedules", "POST /v1/schedules/plan"
	order := func(more string) string {
		return `{"image":"win","updates":["KB5000002"],"executor":"stage","at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"` + more + `}`
	}
	for _, operation := range []string{plan, create} {
		ask(operation, "", order(""), http.StatusOK)
		ask(operation, "", order(`,"distribute":true`), refused)
		ask(operation, "", order(`,"colour":"red"`), http.StatusBadRequest)
		ask(operation, "", large, http.StatusRequestEntityTooLarge)
		ask(operation, "", `{"image":"win","updates":["KB5000009"]}`, http.StatusNotFound)
	}
	var schedules []api.Schedule
	into(&schedules, ask("GET /v1/schedules", "", "", http.StatusOK))
	if len(schedules) != 1 || schedules[0].State != "waiting" || schedules[0].ID != "v1" {
		p.t.Errorf("schedules: %+v", schedules)
	}
	ask("GET /v1/schedules/{id}", "/v1/schedules/v1", "", http.StatusOK)
	ask("GET /v1/schedules/{id}", "/v1/schedules/v9", "", http.StatusNotFound)
	if text := ask(remove, "/v1/updates/KB5000002-x64", "", http.StatusConflict); !bytes.Contains(text, []byte("wimcast schedule cancel v1")) {
		p.t.Errorf("an update that a schedule wants: %s", text)
	}
	const cancel = "POST /v1/schedules/{id}/cancel"
	ask(cancel, "/v1/schedules/v1/cancel", "", http.StatusOK)
	ask(cancel, "/v1/schedules/v1/cancel", "", http.StatusConflict)
	ask(cancel, "/v1/schedules/v9/cancel", "", http.StatusNotFound)
	ask(remove, "/v1/updates/KB5000002", "", refused)
	ask(remove, "/v1/updates/KB5000002-x64", "", http.StatusOK)
	ask(remove, "/v1/updates/KB5000002-x64", "", http.StatusNotFound)

	// Which version a name means.
	const rollback = "POST /v1/images/{ref}/rollback"
	ask(rollback, "/v1/images/win/rollback", `{}`, refused) // there is one only
	ask("POST /v1/images", "/v1/images?name=win&version=2", string(testWIM(300_003, 4, "Windows 11")), http.StatusOK)
	var back api.RolledBack
	into(&back, ask(rollback, "/v1/images/win/rollback", `{}`, http.StatusOK))
	if back.From != "win@2" || back.To != "win@1" {
		p.t.Errorf("rolled back: %+v", back)
	}
	ask(rollback, "/v1/images/win/rollback", `{"to":"2"}`, http.StatusBadRequest)
	ask(rollback, "/v1/images/win/rollback", `{"version":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(rollback, "/v1/images/win/rollback", `{"version":"9"}`, http.StatusNotFound)

	p.events.Servicing(api.ServicingStarted, "v1", "win", "servicing of win began")
}
