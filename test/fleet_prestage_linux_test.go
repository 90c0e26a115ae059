package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/library/release"
	"wimcast/test/registry"
	"wimcast/test/rig"
)

// prestaged is a point beside the stage's daemon, which is its site.
type prestaged struct {
	*rig.Daemon
	s *stage
}

// pointOf starts a point of the stage's site on loopback.
func (s *stage) pointOf(name string) *prestaged {
	s.t.Helper()
	file := filepath.Join(s.dir, name+".point")
	s.cli("point", "add", name, "-o", file)
	state := filepath.Join(s.dir, name)
	if err := os.Mkdir(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	d, err := rig.StartDaemon(s.ctx, rig.Loopback(name), s.programs, state, rig.Config{
		Admin: fmt.Sprintf("[registry]\nplain_http = true\n[point]\nbundle = %q\npoll = \"1s\"\n", file),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		d.Kill()
		if s.t.Failed() {
			s.t.Logf("log of point %s:\n%s", name, d.Log())
		}
	})
	return &prestaged{d, s}
}

// leastChunk is what chunks of a test's images have at least, and documents never, in bytes.
const leastChunk = 128 << 10

// blobs are the chunks in its library, with their times: what was written again isn't the same.
func (p *prestaged) blobs() map[string]time.Time {
	p.s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.Dir, "library", "blobs", "sha256"))
	if err != nil {
		p.s.t.Fatal(err)
	}
	out := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Size() > leastChunk {
			out[e.Name()] = info.ModTime()
		}
	}
	return out
}

// images are the packages that it has.
func (p *prestaged) images() (list []api.Image) {
	p.s.t.Helper()
	if err := p.Ask(p.s.ctx, &list, "image", "list"); err != nil {
		p.s.t.Fatal(err)
	}
	return list
}

// half reads a part of a file and then nothing more, until its end.
type half struct {
	io.Reader
	end <-chan struct{}
}

func (h *half) Read(b []byte) (int, error) {
	if n, err := h.Reader.Read(b); err == nil {
		return n, nil
	}
	<-h.end
	return 0, errors.New("the cable was pulled")
}

// TestFleetPrestage carries an image to a point by hand. The point is killed in the midst of taking it; afterwards the
// site distributes the image, and nothing of its content travels.
func TestFleetPrestage(t *testing.T) {
	server := registry.ForTest(t, registry.Options{})
	s := onLoopback(t, rig.Config{Admin: fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\n", server.Repository("wimcast"))})
	big := s.wim("big.wim", "Windows 11", "Windows 11 N", "Windows 10", "Windows 10 N")
	s.add(big, "--name", "big", "--version", "1")
	north, south := s.pointOf("north"), s.pointOf("south")

	tar := filepath.Join(s.dir, "big.tar")
	if said := s.cli("image", "export", "big", "--for", "north", "-o", tar); !strings.Contains(said, "wimcast image import big.tar") {
		t.Errorf("export says %q", said)
	}
	if _, err := s.daemon.CLI(s.ctx, "image", "export", "big", "--for", "north", "-o", tar); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a file that is there: %v", err)
	}
	if _, err := s.daemon.CLI(s.ctx, "image", "import", tar); err == nil || !strings.Contains(err.Error(), "no point of a site") {
		t.Errorf("import at the site: %v", err)
	}
	if _, err := north.CLI(s.ctx, "image", "export", "big", "-o", tar+"2"); err == nil || !strings.Contains(err.Error(), "distributes to no points") {
		t.Errorf("export at a point: %v", err)
	}
	if _, err := south.CLI(s.ctx, "image", "import", tar); err == nil || !strings.Contains(err.Error(), release.ErrNotRecipient.Error()) {
		t.Errorf("import where it isn't for: %v", err)
	}
	for _, dir := range []string{s.dir, filepath.Dir(tar)} {
		if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}

	// Killed when a good part of it is there.
	f, err := os.Open(tar)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	cut := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := api.NewClient(filepath.Join(north.Dir, "admin.sock")).ImportImage(s.ctx, &half{io.LimitReader(f, info.Size()*2/3), cut}, info.Size())
		done <- err
	}()
	s.eventually("some of the import is there", func() bool { return len(north.blobs()) >= 2 })
	north.Kill()
	close(cut)
	if err := <-done; err == nil {
		t.Error("an import succeeded at a point that was killed")
	}
	before := north.blobs()
	if err := north.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if list := north.images(); len(list) != 0 {
		t.Errorf("half an import counts: %+v", list)
	}

	var image api.Image
	for _, already := range []bool{false, true} {
		if err := north.Ask(s.ctx, &image, "image", "import", tar); err != nil || image.AlreadyThere != already || image.Size != size(t, big) {
			t.Errorf("import: already %t, want %t, %d bytes of %d, %v", image.AlreadyThere, already, image.Size, size(t, big), err)
		}
	}
	after := north.blobs()
	for name, at := range before {
		if now, ok := after[name]; ok && !now.Equal(at) {
			t.Errorf("blob %s was written again", name)
		}
	}

	// Now it is distributed.
	s.cli("image", "distribute", "big", "--to", "north")
	s.eventually("the site's assignment holds", func() bool {
		var own api.OwnPoint
		own, err := api.NewClient(filepath.Join(north.Dir, "admin.sock")).OwnPoint(s.ctx)
		return err == nil && slices.ContainsFunc(own.Packages, func(p api.PointPackage) bool { return p.Package == "big@1" && p.State == api.PackageSuccess })
	})
	const mostDocuments = 64 << 10
	if n := counter(t, north.Metrics(), "wimcast_pull_bytes_total"); n > mostDocuments {
		t.Errorf("%.0f bytes travelled of what was there", n)
	}
	if _, err := north.CLI(s.ctx, "image", "verify", "big"); err != nil {
		t.Error(err)
	}
	for name, at := range before {
		if now, ok := north.blobs()[name]; ok && !now.Equal(at) {
			t.Errorf("blob %s was written again", name)
		}
	}
	// What stands in the registry is the file for all that have it, without a word of whom.
	s.cli("image", "export", "big", "-o", tar+"2")
	if err := north.Ask(s.ctx, &image, "image", "import", tar+"2"); err != nil || !image.AlreadyThere {
		t.Errorf("what it pulled: %+v, %v", image, err)
	}
}

// counter is the sum of a metric's series.
func counter(t *testing.T, url, name string) (sum float64) {
	t.Helper()
	answer, err := http.Get(url) //nolint:noctx // on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			var v float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &v); err != nil {
				t.Fatal(err)
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return sum
}
