package test

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wimcast/api"
	"wimcast/test/rig"
)

// status is what `wimcast fleet status` says at the site.
func (f *fleet) status() map[string]api.FleetPoint {
	f.t.Helper()
	var told api.Fleet
	if err := f.daemon.Ask(f.ctx, &told, "fleet", "status"); err != nil {
		f.t.Fatal(err)
	}
	points := map[string]api.FleetPoint{}
	for i := range told.Points {
		points[told.Points[i].Name] = told.Points[i]
	}
	return points
}

// of returns what the site knows of a package at a point; the zero value is nothing.
func (f *fleet) of(p *point, ref string) api.FleetPackage {
	f.t.Helper()
	at := f.status()[p.name]
	for i := range at.Packages {
		if at.Packages[i].Package == ref {
			return at.Packages[i]
		}
	}
	return api.FleetPackage{}
}

// reaches waits until what the site says of a package at a point is so.
func (f *fleet) reaches(p *point, ref, what string, is func(api.FleetPackage) bool) (last api.FleetPackage) {
	f.t.Helper()
	f.within(func() string { return fmt.Sprintf("%s at %s: %s; it is %+v", ref, p.name, what, last) }, func() bool {
		last = f.of(p, ref)
		return is(last)
	})
	return last
}

// within is await with words that are made at the end.
func (f *fleet) within(what func() string, is func() bool) {
	f.t.Helper()
	done := false
	defer func() {
		if !done {
			f.t.Log(what())
		}
	}()
	f.await("what is said below", is)
	done = true
}

// arrived waits until a point has a package as the site has it, in a later revision than another.
func (f *fleet) arrived(p *point, ref string, after int64) api.FleetPackage {
	f.t.Helper()
	return f.reaches(p, ref, fmt.Sprintf("success after revision %d", after), func(has api.FleetPackage) bool {
		return has.State == api.PackageSuccess && has.Revision == has.Wanted && has.Revision > after
	})
}

// failed waits until a point fails to get a package, and says why in these words.
func (f *fleet) failed(p *point, ref, says string) api.FleetPackage {
	f.t.Helper()
	return f.reaches(p, ref, fmt.Sprintf("failed: %q", says), func(has api.FleetPackage) bool {
		return strings.Contains(has.Error, says) && !has.Retry.IsZero()
	})
}

// bundle makes the one bundle that all clients hold. It has what the site knows of its points now.
func (f *fleet) bundle() string {
	f.t.Helper()
	f.bundles++
	name := fmt.Sprintf("all-rooms-%d", f.bundles)
	file := filepath.Join(f.dir, name+".join")
	f.cli("bundle", "create", name, "--output", file)
	return file
}

// getIn starts a client in a point's room. It holds the bundle of all.
func (f *fleet) getIn(p *point, bundle, ref string, args ...string) *rig.Get {
	f.t.Helper()
	place := p.room.Client(0)
	_ = os.Remove(f.file(place.Name()))
	base := []string{ref, "--bundle", bundle, "--output", f.file(place.Name())}
	g, err := rig.StartGet(f.ctx, place, f.programs, append(base, args...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(g.Kill)
	return g
}

// deploy has a point let everybody have a package.
func (f *fleet) deploy(p *point, name, image string) {
	f.t.Helper()
	f.at(p).cli("deployment", "create", name, "--image", image)
}

// has waits for a client and holds its file against an image; it must have come by multicast, all of it.
func (f *fleet) has(g *rig.Get, image string) {
	f.t.Helper()
	_, totals := f.ended(g, 0)
	if sum(f.t, f.file(g.Place.Name())) != sum(f.t, image) {
		f.t.Errorf("%s: content differs", g.Place.Name())
	}
	if totals.Multicast != size(f.t, image) || totals.Unicast != 0 {
		f.t.Errorf("%s: %+v", g.Place.Name(), totals)
	}
}

// blobs are the files of a point's library, by digest.
func (f *fleet) blobs(p *point) map[string]int64 {
	f.t.Helper()
	files := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(p.daemon.Dir, "library", "blobs"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// One that isn't there any more when it is looked at was being written.
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && len(entry.Name()) == hex.EncodedLen(32) {
			files["sha256:"+entry.Name()] = info.Size()
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return files
}

// serviced makes, once for all tests, an image of everything that Go is, some 250 MB, and the same after files were added to it
// as an administrator does it.
var serviced = sync.OnceValues(func() (images [2]string, err error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return images, err
	}
	scratch.add(dir)
	images = [2]string{filepath.Join(dir, "first.wim"), filepath.Join(dir, "second.wim")}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return images, fmt.Errorf("find Go's sources: %w", err)
	}
	for _, args := range [][]string{
		{"wimlib-imagex", "capture", strings.TrimSpace(string(root)), images[0], "Workstation", "--compress=none", "--no-acls", "--check"},
		{"cp", images[0], images[1]},
		{"wimlib-imagex", "update", images[1], "--check", "--command", "add . /added"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return images, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return images, nil
})

// plain is what stands in every file of a marked image, in every block.
const plain = "this is what nobody else may read: wimcast plain text 7c1d"

// marked captures a WIM of so many bytes that has plain text all over. What is in it isn't packed.
func (f *fleet) marked(name string, bytes int) string {
	f.t.Helper()
	from := f.t.TempDir()
	file := filepath.Join(from, name)
	noise(f.t, file, bytes)
	b := read(f.t, file)
	for at := 0; at+len(plain) < len(b); at += 4096 {
		copy(b[at:], plain)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	image := filepath.Join(f.dir, name+".wim")
	f.imagex("capture", from, image, name, "--compress=none", "--check")
	return image
}

// readable returns the files below a folder that have the plain text in them.
func readable(t *testing.T, dir string) []string {
	t.Helper()
	out, err := exec.Command("grep", "-rlaF", plain, dir).Output()
	if err != nil && len(out) > 0 {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
