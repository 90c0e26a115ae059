package test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/fleet/puller"
	"wimcast/library/registry"
	"wimcast/library/release"
	"wimcast/test/rig"
)

// siteAddr is where the site is.
var siteAddr = netip.AddrFrom4([4]byte{10, 77, 0, 1})

// noisy captures a WIM of so many bytes that don't pack.
func (f *fleet) noisy(name string, bytes int) string {
	f.t.Helper()
	from := f.t.TempDir()
	noise(f.t, filepath.Join(from, name), bytes)
	image := filepath.Join(f.dir, name+".wim")
	f.imagex("capture", from, image, name, "--compress=none", "--check")
	return image
}

// onePoint is a fleet with one point, which has w11@1 and casts it as room.
func onePoint(t *testing.T) (f *fleet, p *point, bundle, first, second string) {
	t.Helper()
	f = withFleet(t, 1, 1)
	p = f.points[0]
	f.enlist()
	first, second = f.noisy("first", 8<<20), f.noisy("second", 40<<20)
	f.cli("image", "add", first, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11@1", "--to", p.name)
	f.arrived(p, "w11@1", 0)
	f.deploy(p, "room", "w11")
	return f, p, f.bundle(), first, second
}

// from has the n-th blob that a point asks for and all after it meet a fault. Of a new version the first three are the documents of the assignments and of
// the release, and the manifest of blocks.
func from(n int64, m meddling) func(asked) *meddling {
	var asks atomic.Int64
	return func(a asked) *meddling {
		if !a.blob() || a.from == siteAddr || asks.Add(1) < n {
			return nil
		}
		return &m
	}
}

// new adds second as the version 2 and sends it to the point.
func (f *fleet) sendSecond(p *point, second string) {
	f.t.Helper()
	f.cli("image", "add", second, "--name", "w11", "--version", "2")
	f.cli("image", "distribute", "w11@2", "--to", p.name)
}

// await waits until a channel is closed.
func (f *fleet) awaits(what string, c <-chan struct{}) {
	f.t.Helper()
	select {
	case <-c:
	case <-f.ctx.Done():
		f.t.Fatalf("%s: never came", what)
	}
}

// TestFleetFaultsAway: the registry goes away in mid-pull. The point serves the old version meanwhile, says why it waits, goes on
// where it was, and fetches nothing twice; then it is the new version that is cast.
func TestFleetFaultsAway(t *testing.T) {
	f, p, bundle, first, second := onePoint(t)
	before := f.blobs(p)
	hold := make(chan struct{})
	hit := f.proxy.set(from(8, meddling{after: 1 << 20, hold: hold}))
	f.sendSecond(p, second)
	f.awaits("a chunk that is held", hit)
	came := map[string]bool{}
	f.await("some chunks to have come", func() bool {
		for name, n := range f.blobs(p) {
			if _, was := before[name]; !was && n > 1<<20 { // documents are asked for each time
				came[name] = true
			}
		}
		return len(came) >= 3
	})
	if has := f.of(p, "w11@2"); has.State == api.PackageSuccess {
		t.Fatalf("half of it is a success: %+v", has)
	}
	f.proxy.away()
	close(hold)
	f.failed(p, "w11@2", registry.ErrUnavailable.Error()) // and says when it tries again
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)
	f.proxy.forget()
	f.proxy.clear()
	if err := f.proxy.listen(); err != nil {
		t.Fatal(err)
	}
	f.arrived(p, "w11@2", 0)
	again := f.proxy.fetched(p.host.Addr())
	for name := range came {
		if again[name] > 0 {
			t.Errorf("%s came before the registry went away, and again after", name)
		}
	}
	if len(again) == 0 {
		t.Error("nothing was left to fetch: the registry went away too late")
	}
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)

	// It is away while the point starts: what is there is served.
	f.proxy.away()
	f.restart(p)
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
	if err := f.proxy.listen(); err != nil {
		t.Fatal(err)
	}
}

// TestFleetFaultsLies: a registry that hands out what isn't right. Nothing of it is served, the point says what is wrong, and goes on with
// the old version until it is right.
func TestFleetFaultsLies(t *testing.T) {
	f, p, bundle, first, second := onePoint(t)
	tag := release.AssignmentsTag(p.name)
	old, _ := f.tagged(tag)
	f.proxy.set(from(1, meddling{after: document, flip: true})) // each chunk
	f.sendSecond(p, second)
	if has := f.failed(p, "w11@2", ""); !strings.Contains(has.Error, registry.ErrDamaged.Error()) && !strings.Contains(has.Error, library.ErrChunk.Error()) {
		t.Errorf("a chunk that was changed: %+v", has)
	}
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)

	for what, rule := range map[string]func(asked) *meddling{
		"cut short": from(1, meddling{after: document, cut: true}),
		"503":       from(1, meddling{status: http.StatusServiceUnavailable}),
		"429":       from(1, meddling{status: http.StatusTooManyRequests}),
		"404":       from(1, meddling{status: http.StatusNotFound}),
	} {
		f.awaits(what, f.proxy.set(rule))
		if has := f.of(p, "w11@2"); has.State == api.PackageSuccess {
			t.Errorf("%s: %+v", what, has)
		}
	}
	f.at(p).no("w11@2", "image", "show", "w11@2") // half of it
	f.proxy.clear()
	has := f.arrived(p, "w11@2", 0)
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)

	// It replays older assignments: the point keeps to the newer ones, and says so.
	replays := func(a asked) *meddling {
		if a.kind == "manifests" && (a.ref == tag) {
			return &meddling{ref: old}
		}
		return nil
	}
	f.awaits("older assignments", f.proxy.set(replays))
	f.complains(p, "older")
	f.at(p).cli("image", "show", "w11@2") // which the older ones know nothing of
	f.proxy.clear()

	// Somebody else signs: a release, then assignments.
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, manifest := f.tagged(tag)
	parsed, err := release.ParseAssignments(manifest)
	if err != nil {
		t.Fatal(err)
	}
	file, err := release.ReadPointFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := file.Site()
	if err != nil {
		t.Fatal(err)
	}
	real, err := parsed.OpenAssignments(f.document(parsed), key, p.name)
	if err != nil {
		t.Fatal(err)
	}
	real.Serial += 1000
	real.Packages = nil
	document, forged, err := real.Seal(stranger)
	if err != nil {
		t.Fatal(err)
	}
	f.push(tag, document, forged)
	f.complains(p, release.ErrOrigin.Error())
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
	// What the site says next is followed again.
	f.cli("image", "set", "w11@2", "--comment", "after the storm")
	f.arrived(p, "w11@2", has.Revision)
}

// complains waits until a point says of its assignments that something is wrong, in these words.
func (f *fleet) complains(p *point, says string) {
	f.t.Helper()
	var last string
	f.within(func() string { return fmt.Sprintf("%s doesn't say %q: %s", p.name, says, last) }, func() bool {
		last = string(f.at(p).local("/v1/point"))
		return strings.Contains(last, says)
	})
}

// repository is the registry's, as somebody sees it who may write.
func (f *fleet) repository() *registry.Repository {
	f.t.Helper()
	r, err := registry.Open(registry.Config{Repository: f.proxy.local.Listener.Addr().String() + "/wimcast", Credentials: f.credentials(), PlainHTTP: true})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// tagged returns what a tag names in the registry: the digest and the manifest.
func (f *fleet) tagged(tag string) (named string, manifest []byte) {
	f.t.Helper()
	d, manifest, err := f.repository().Manifest(f.ctx, tag)
	if err != nil {
		f.t.Fatal(err)
	}
	return d.Digest.String(), manifest
}

// document returns the document of a manifest.
func (f *fleet) document(m *release.Manifest) []byte {
	f.t.Helper()
	r, err := f.repository().Blob(f.ctx, m.Document, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// push puts a manifest and its document into the registry.
func (f *fleet) push(tag string, document, manifest []byte) {
	f.t.Helper()
	d := v1.Descriptor{Digest: digest.FromBytes(document), Size: int64(len(document))}
	if _, err := f.repository().PushBlob(f.ctx, d, bytes.NewReader(document)); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.repository().PushManifest(f.ctx, manifest, tag); err != nil {
		f.t.Fatal(err)
	}
}

// fetchedAgain holds that a pull that was interrupted once fetched no more again than was on its way then.
func (f *fleet) fetchedAgain(p *point) {
	f.t.Helper()
	again := 0
	for digest, times := range f.proxy.fetched(p.host.Addr()) {
		if again += times - 1; times > 2 {
			f.t.Errorf("%s was fetched %d times", digest, times)
		}
	}
	if again > puller.Parallel {
		f.t.Errorf("%d chunks were fetched again; %d were on their way", again, puller.Parallel)
	}
}

// TestFleetFaultsCredentials: what the point comes into the registry with expires in mid-pull, and is renewed in its file.
func TestFleetFaultsCredentials(t *testing.T) {
	f, p, bundle, first, second := onePoint(t)
	hold := make(chan struct{})
	hit := f.proxy.set(from(6, meddling{after: 1 << 20, hold: hold}))
	f.sendSecond(p, second)
	f.awaits("a chunk that is held", hit)
	if err := f.registry.SetUsers(map[string]string{registryUser: "another"}); err != nil {
		t.Fatal(err)
	}
	f.proxy.clear()
	close(hold)
	f.failed(p, "w11@2", filepath.Base(f.credentials())) // it says which file
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)
	f.login("another")
	f.arrived(p, "w11@2", 0)
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
	f.fetchedAgain(p)
}

// TestFleetFaultsDiskFull: a new version finds no room. The point says so, loses nothing, and goes on once there is some.
func TestFleetFaultsDiskFull(t *testing.T) {
	f := withFleet(t, 1, 1)
	p := f.points[0]
	first, second := f.noisy("first", 8<<20), f.noisy("second", 40<<20)
	library := filepath.Join(f.dir, p.name, "library")
	p.place = smallDisk{p.place, library, 96 << 20} // 64 MiB of it are left free
	f.enlist()
	f.cli("image", "add", first, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11@1", "--to", p.name)
	f.arrived(p, "w11@1", 0)
	f.deploy(p, "room", "w11")
	bundle := f.bundle()
	f.sendSecond(p, second)
	f.failed(p, "w11@2", "disk full")
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)
	inside := fmt.Sprint(p.daemon.Cmd().Process.Pid)
	if out, err := exec.CommandContext(f.ctx, "nsenter", "-t", inside, "-m", "mount", "-o", "remount,size=256m", library).CombinedOutput(); err != nil {
		t.Fatalf("more room: %v: %s", err, out)
	}
	f.arrived(p, "w11@2", 0)
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
}

// TestFleetFaultsTwo: two points pull the same at the same time from one registry, one of them over a bad line.
func TestFleetFaultsTwo(t *testing.T) {
	f := withFleet(t, 2, 1)
	north, south := f.points[0], f.points[1]
	image := f.noisy("image", 40<<20)
	f.enlist()
	hold := make(chan struct{})
	both := map[string]chan struct{}{north.name: make(chan struct{}), south.name: make(chan struct{})}
	var asks [2]atomic.Int64
	f.proxy.set(func(a asked) *meddling {
		if !a.blob() {
			return nil
		}
		for i, p := range f.points {
			if a.from != p.host.Addr() {
				continue
			}
			switch n := asks[i].Add(1); {
			case n == 5:
				close(both[p.name])
				fallthrough
			case n > 5 && n < 9:
				return &meddling{after: 1 << 20, hold: hold}
			case p == south && n%4 == 0:
				return &meddling{after: 300_000, cut: true}
			}
		}
		return nil
	})
	f.cli("image", "add", image, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11", "--all")
	f.awaits("north to be in the middle", both[north.name])
	f.awaits("south to be in the middle", both[south.name]) // while north is
	close(hold)
	for _, p := range f.points {
		f.arrived(p, "w11@1", 0)
		f.deploy(p, "room", "w11")
	}
	bundle := f.bundle()
	gets := []*rig.Get{f.getIn(north, bundle, "room", "--no-unicast"), f.getIn(south, bundle, "room", "--no-unicast")}
	for _, g := range gets {
		f.has(g, image)
	}
}

// TestFleetFaultsKilled: a point that is killed again and again during a pull, with some chunks there and some on their way, ends with all of it.
func TestFleetFaultsKilled(t *testing.T) {
	f, p, bundle, first, _ := onePoint(t)
	second := f.noisy("large", 80<<20)
	pass := make(chan struct{}) // lets one chunk through
	f.proxy.set(from(1, meddling{after: document, hold: pass}))
	f.sendSecond(p, second)
	const kills = 6
	for i := range kills {
		were := len(f.blobs(p))
		for len(f.blobs(p)) <= were {
			select {
			case pass <- struct{}{}:
			case <-time.After(50 * time.Millisecond): // nothing waits for it yet; or it went to one who was killed
			case <-f.ctx.Done():
				t.Fatalf("kill %d: no chunk comes any more", i)
			}
		}
		f.restart(p)
		if i == kills/2 {
			f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)
		}
	}
	f.at(p).no("w11@2", "image", "show", "w11@2") // or it was all there before the last kill
	close(pass)
	f.arrived(p, "w11@2", 0)
	if said := f.at(p).cli("image", "verify", "w11@2"); strings.Contains(said, "out of service") {
		t.Error(said)
	}
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
	whole := 0
	for _, times := range f.proxy.fetched(p.host.Addr()) {
		whole += times
	}
	chunks := int(size(t, second)+size(t, first))/(16*180_224) + 2
	if whole > chunks+kills*puller.Parallel {
		t.Errorf("%d chunks went for %d and %d kills", whole, chunks, kills)
	}
}

// TestFleetFaultsClock: points whose clocks are wrong by days, one each way, pull and cast, and the site says so.
func TestFleetFaultsClock(t *testing.T) {
	f := withFleet(t, 2, 1)
	for i, p := range f.points {
		wrong := time.Duration(1-2*i) * 10 * 24 * time.Hour
		program := filepath.Join(f.dir, "wimcastd-"+p.name)
		if err := shiftClock(f.programs.Daemon, program, wrong); err != nil {
			t.Fatal(err)
		}
		f.addPoint(p)
		f.startProgram(p, program)
	}
	image := f.noisy("image", 8<<20)
	f.cli("image", "add", image, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11", "--all")
	bundle := f.bundle()
	for i, p := range f.points {
		f.arrived(p, "w11@1", 0)
		at := f.status()[p.name]
		if want := float64(1-2*i) * 10 * 24 * 3600; at.ClockAhead < want-600 || at.ClockAhead > want+600 || !at.OutOfReach.IsZero() {
			t.Errorf("%s: %+v", p.name, at)
		}
		f.deploy(p, "room", "w11")
		f.has(f.getIn(p, bundle, "room", "--no-unicast"), image)
	}
	// A new revision is newer, whatever the clocks say.
	was := f.of(f.points[1], "w11@1").Revision
	f.cli("image", "set", "w11", "--comment", "later")
	for _, p := range f.points {
		f.arrived(p, "w11@1", was)
	}
}

// TestFleetFaultsDamaged: a chunk on a point's disk rots. Validation finds it, the package is out of service there, and that chunk alone comes again.
func TestFleetFaultsDamaged(t *testing.T) {
	f, p, bundle, first, _ := onePoint(t)
	var largest string
	files := f.blobs(p)
	for name, n := range files {
		if largest == "" || n > files[largest] || n == files[largest] && name < largest {
			largest = name
		}
	}
	at := filepath.Join(p.daemon.Dir, "library", "blobs", "sha256", strings.TrimPrefix(largest, "sha256:"))
	flip(t, at, at, 1_000_000)
	f.proxy.forget()
	f.proxy.set(func(a asked) *meddling {
		if a.blob() {
			return &meddling{status: http.StatusServiceUnavailable}
		}
		return nil
	})
	if out, err := p.daemon.CLI(f.ctx, "image", "verify", "w11@1"); err == nil && !strings.Contains(string(out), "out of service") {
		t.Errorf("the damage wasn't found: %s", out)
	}
	f.await("the site to hear that it is out of service", func() bool {
		return slices.ContainsFunc(f.status()[p.name].OutOfService, func(o api.PointFault) bool { return o.Package == "w11@1" })
	})
	f.proxy.clear()
	f.await("it to be in service again", func() bool {
		has := f.of(p, "w11@1")
		return has.State == api.PackageSuccess && len(f.status()[p.name].OutOfService) == 0
	})
	again := f.proxy.fetched(p.host.Addr())
	if again[largest] != 1 {
		t.Errorf("the damaged chunk was fetched %d times", again[largest])
	}
	if moved := f.proxy.moved(p.host.Addr()); moved > files[largest]+1<<20 {
		t.Errorf("%d bytes moved to mend a chunk of %d", moved, files[largest])
	}
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), first)
}
