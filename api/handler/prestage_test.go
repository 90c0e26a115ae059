package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/fleet"
	"wimcast/library/prestage"
	"wimcast/library/registry"
	"wimcast/library/release"
)

// exports makes the API one of a site with the points north and south; it returns their point files.
func (p *point) exports(config *Config) map[string]*release.PointFile {
	p.t.Helper()
	repository, err := registry.Open(registry.Config{Repository: "registry.example.org/wimcast"}) // which isn't asked
	if err != nil {
		p.t.Fatal(err)
	}
	site, err := fleet.New(fleet.Config{Dir: filepath.Join(p.dir, "prestage"), Library: p.library, Repository: repository})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = site.Close() })
	files := map[string]*release.PointFile{}
	for _, name := range []string{"north", "south"} {
		if _, files[name], _, err = site.Add(fleet.Point{Name: name, Multicast: true}); err != nil {
			p.t.Fatal(err)
		}
	}
	config.Prestage.Export = func(ctx context.Context, ref string, to []string, all bool) (*prestage.Release, func() error, error) {
		built, err := site.Export(ctx, ref, to, all)
		if err != nil {
			return nil, nil, err
		}
		return built.File(), built.Close, nil
	}
	return files
}

// imports makes the API one of a point.
func (p *point) imports(config *Config, file *release.PointFile) {
	p.t.Helper()
	key, err := file.Site()
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := library.OpenPoint(filepath.Join(p.t.TempDir(), "library"), &library.Site{
		Point: file.Name, Key: key, OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, file.Identity) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	config.Library = l
	config.Prestage.Import = func(ctx context.Context, r io.Reader) (library.Package, bool, error) {
		return prestage.Import(ctx, l, r)
	}
}

// askPrestage carries a package from a site to a point, and holds every answer against the document.
func (p *point) askPrestage(j *judge) {
	p.t.Helper()
	const export, take = "POST /v1/images/{ref}/export", "POST /v1/images/import"
	ask := func(c *caller, operation, path, body string, status int) []byte {
		p.t.Helper()
		answer, text := c.ask(http.MethodPost, path, body)
		if answer.StatusCode != status {
			p.t.Errorf("%s: %d, want %d: %s", path, answer.StatusCode, status, text)
		}
		j.check(operation, answer, text)
		return text
	}
	config := p.config(zap.NewNop())
	files := p.exports(&config)
	site := (&point{t: p.t, api: New(config)}).direct()
	at := p.config(zap.NewNop())
	p.imports(&at, files["north"])
	north := (&point{t: p.t, api: New(at)}).direct()

	const ref, path = "w11@1", "/v1/images/w11@1/export"
	const refused = http.StatusUnprocessableEntity
	file := ask(site, export, path, `{"for":["north"]}`, http.StatusOK)
	ask(site, export, path, `{"all":true}`, http.StatusOK)
	ask(site, export, path, `{}`, refused)
	ask(site, export, path, `{"for":["west"]}`, http.StatusNotFound)
	ask(site, export, "/v1/images/w13/export", `{"for":["north"]}`, http.StatusNotFound)
	ask(site, export, path, `{"colour":"red"}`, http.StatusBadRequest)
	ask(site, export, path, `{"for":["`+strings.Repeat("x", maxJSON)+`"]}`, http.StatusRequestEntityTooLarge)
	ask(site, take, "/v1/images/import", string(file), http.StatusConflict)
	ask(north, export, path, `{"for":["north"]}`, http.StatusConflict)

	ask(north, take, "/v1/images/import", "no file", refused)
	ask(north, take, "/v1/images/import", string(file[:len(file)/2]), refused)
	var image api.Image
	for _, already := range []bool{false, true} {
		if err := json.Unmarshal(ask(north, take, "/v1/images/import", string(file), http.StatusOK), &image); err != nil || image.Name+"@"+image.Version != ref || image.AlreadyThere != already {
			p.t.Errorf("imported %+v, %v", image, err)
		}
	}
	ask(north, take, "/v1/images/import", string(ask(site, export, path, `{"for":["south"]}`, http.StatusOK)), refused)
}

// TestPrestage carries a package by the client, over connections.
func TestPrestage(t *testing.T) {
	p := newPoint(t)
	wim := testWIM(7_000_000, 1, "Windows 11")
	if _, _, err := p.library.Add(t.Context(), bytes.NewReader(wim), library.AddOptions{Name: "w11", Version: "1", Size: int64(len(wim))}); err != nil {
		t.Fatal(err)
	}
	config := p.config(zap.NewNop())
	files := p.exports(&config)
	site := p.serve(config)
	at := p.config(zap.NewNop())
	p.imports(&at, files["north"])
	north := p.serve(at)

	file, err := site.ExportImage(t.Context(), "w11", api.ImageExport{For: []string{"north"}})
	if err != nil || file.Tag != release.Tag("w11@1", 1) {
		t.Fatalf("%+v, %v", file, err)
	}
	b, err := io.ReadAll(file)
	_ = file.Close()
	if err != nil || int64(len(b)) != file.Size {
		t.Fatalf("%d bytes of %d, %v", len(b), file.Size, err)
	}
	image, err := north.ImportImage(t.Context(), bytes.NewReader(b), file.Size)
	if err != nil || image.Size != int64(len(wim)) {
		t.Fatalf("%+v, %v", image, err)
	}

	// Content that changes as it goes out breaks the answer off.
	spoil(t, filepath.Join(p.dir, "library"), int64(len(wim)))
	file, err = site.ExportImage(t.Context(), "w11", api.ImageExport{For: []string{"north"}})
	if err == nil {
		_, err = io.ReadAll(file)
		_ = file.Close()
	}
	if err == nil {
		t.Error("a damaged package went out whole")
	}
	var problem *api.Problem
	if _, err := site.ImportImage(t.Context(), bytes.NewReader(b), int64(len(b))); !errors.As(err, &problem) || !strings.Contains(problem.Detail, "no point of a site") {
		t.Error(err)
	}
}

// serve serves an API on a socket, and returns a client of it.
func (p *point) serve(config Config) *api.Client {
	p.t.Helper()
	socket := filepath.Join(p.t.TempDir(), "s.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(config).Serve(ctx, l, nil) }()
	p.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
	})
	return api.NewClient(socket)
}
