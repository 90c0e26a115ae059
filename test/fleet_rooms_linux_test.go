package test

import (
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// TestFleetRooms: an image goes from a site to three points, and each casts it to its own room; then a new version, of which only what
// changed travels; then a change of flags; then it is withdrawn. All clients hold one bundle.
func TestFleetRooms(t *testing.T) {
	f := withFleet(t, 3, 1)
	images, err := serviced()
	if err != nil {
		t.Fatal(err)
	}
	f.enlist("--group", "rooms")
	f.cli("image", "add", images[0], "--name", "w11", "--version", "1")
	empty := map[*point]int64{}
	for _, p := range f.points {
		empty[p] = total(f.blobs(p))
	}
	f.cli("image", "distribute", "w11@1", "--to", "rooms")
	bundle, first := f.bundle(), size(t, images[0])
	for _, p := range f.points {
		f.arrived(p, "w11@1", 0)
		if moved := f.proxy.moved(p.host.Addr()); moved < first || moved > first+first/50 {
			t.Errorf("%s: %d bytes moved for an image of %d", p.name, moved, first)
		}
		for digest, times := range f.proxy.fetched(p.host.Addr()) {
			if times != 1 {
				t.Errorf("%s: %s was fetched %d times", p.name, digest, times)
			}
		}
		f.deploy(p, "room", "w11")
	}
	if said := f.cli("fleet", "status"); strings.Count(said, "w11@1") < len(f.points) || strings.Count(said, "success") < len(f.points) {
		t.Errorf("wimcast fleet status:\n%s", said)
	} else {
		t.Logf("wimcast fleet status:\n%s", said)
	}

	// Each point casts to its own room at the same time, and the site knows.
	var gets []*rig.Get
	for _, p := range f.points {
		gets = append(gets, f.getIn(p, bundle, "room", "--no-unicast"))
	}
	f.await("the site to hear of three casts", func() bool {
		casts := 0
		for _, p := range f.status() {
			for _, c := range p.Casts {
				if c.Package == "w11@1" {
					casts++
				}
			}
		}
		return casts == len(f.points)
	})
	for i, g := range gets {
		f.has(g, images[0])
		if list := f.at(f.points[i]).sessions(); len(list) != 1 || len(list[0].Clients) != 1 || list[0].Clients[0].Name != g.Place.Name() {
			t.Errorf("%s: %+v", f.points[i].name, list)
		}
	}
	if list := f.sessions(); len(list) != 0 {
		t.Errorf("the site itself cast: %+v", list)
	}

	// A new version: what of it moves, to each.
	f.proxy.forget()
	f.cli("image", "add", images[1], "--name", "w11", "--version", "2")
	f.cli("image", "distribute", "w11@2", "--to", "rooms")
	second := size(t, images[1])
	var has api.FleetPackage
	for _, p := range f.points {
		has = f.arrived(p, "w11@2", 0)
		share := float64(f.proxy.moved(p.host.Addr())) / float64(second)
		t.Logf("%s: %.1f %% of %.0f MB moved for a serviced image", p.name, 100*share, float64(second)/1e6)
		if share > 0.10 || share == 0 {
			t.Errorf("%s: %.3f of the image moved", p.name, share)
		}
	}
	if share := float64(f.proxy.sent(f.room.Server().Addr())) / float64(second); share > 0.10 || share == 0 {
		t.Errorf("the site pushed %.3f of the image", share)
	}

	// Flags: a running cast keeps its own, what begins later has the new ones.
	north := f.points[0]
	client := north.room.Client(0)
	if err := client.SetRate(f.ctx, 40_000_000, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	running := f.getIn(north, bundle, "room", "--no-unicast")
	if err := running.AwaitProven(f.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	f.proxy.forget()
	f.cli("image", "set", "w11@2", "--no-multicast")
	for _, p := range f.points {
		f.arrived(p, "w11@2", has.Revision)
		if moved := f.proxy.moved(p.host.Addr()); moved > 1<<20 {
			t.Errorf("%s: %d bytes moved for a flag", p.name, moved)
		}
		var image api.Image
		if err := p.daemon.Ask(f.ctx, &image, "image", "show", "w11@2"); err != nil || image.AllowMulticast {
			t.Errorf("%s: %+v, %v", p.name, image, err)
		}
	}
	select {
	case <-running.Done():
		t.Fatalf("%s ended before the flag was there: %s", client.Name(), running.Stderr())
	default:
	}
	if err := client.SetRate(f.ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	f.has(running, images[1])
	f.ended(f.getIn(north, bundle, "room", "--no-unicast"), 4)

	// Withdrawn: it is gone from every point, and its place on the disk free.
	for _, p := range f.points {
		f.at(p).cli("deployment", "remove", "room")
	}
	f.cli("image", "withdraw", "w11", "--from", "rooms")
	for _, p := range f.points {
		f.await(p.name+" to have nothing", func() bool {
			return len(f.status()[p.name].Packages) == 0 && total(f.blobs(p)) <= empty[p]+1<<20
		})
		if out := f.at(p).cli("image", "list"); strings.Contains(out, "w11") {
			t.Errorf("%s still lists it: %s", p.name, out)
		}
	}
}

// total adds up the sizes of files.
func total(files map[string]int64) (sum int64) {
	for _, n := range files {
		sum += n
	}
	return sum
}
