package test

import (
	"path/filepath"
	"strings"
	"testing"

	"wimcast/api"
)

// no runs wimcast at a daemon, which must refuse with these words.
func (s *stage) no(says string, args ...string) {
	s.t.Helper()
	out, err := s.daemon.CLI(s.ctx, args...)
	if err == nil {
		s.t.Errorf("wimcast %s: it was done: %s", strings.Join(args, " "), out)
	} else if !strings.Contains(err.Error(), says) {
		s.t.Errorf("wimcast %s: %v; it doesn't say %q", strings.Join(args, " "), err, says)
	}
}

// TestFleetRules: what administrators know as the order of things.
func TestFleetRules(t *testing.T) {
	f := withFleet(t, 2, 1)
	north, south := f.points[0], f.points[1] // south doesn't cast
	small := f.marked("small", 6<<20)
	f.addPoint(north, "--group", "rooms")
	f.addPoint(south, "--group", "rooms", "--no-multicast")
	f.startPoint(north)
	f.startPoint(south)
	f.cli("image", "add", small, "--name", "w11", "--version", "1")

	// A deployment whose package is on no point names the command.
	f.at(north).no("wimcast image distribute", "deployment", "create", "room", "--image", "w11")
	f.no("south", "image", "distribute", "w11", "--to", "soutth")
	f.no("point list", "image", "distribute", "w11", "--to", "nowhere")

	// Multicast-only, and a point that doesn't cast.
	f.cli("image", "set", "w11", "--multicast-only")
	f.no("point set south --multicast", "image", "distribute", "w11", "--to", "south")
	if said := f.cli("image", "distribute", "w11", "--to", "rooms"); !strings.Contains(said, "south") {
		t.Errorf("who is left out isn't said: %s", said)
	}
	f.arrived(north, "w11@1", 0)
	if has := f.of(south, "w11@1"); has.Wanted != 0 || has.State == api.PackageSuccess {
		t.Errorf("multicast-only at a point that doesn't cast: %+v", has)
	}
	f.no("multicast-only", "point", "set", "north", "--no-multicast")
	f.cli("image", "set", "w11", "--no-multicast-only")
	f.arrived(south, "w11@1", 0)
	f.no("south", "image", "set", "w11", "--multicast-only")

	// What a point has is the site's to change.
	f.at(north).no("site", "image", "set", "w11", "--comment", "mine")
	f.at(north).no("site", "image", "remove", "w11")
	f.at(north).no("site", "bundle", "create", "mine", "--output", filepath.Join(f.dir, "mine.join"))

	// The point that doesn't cast serves by unicast.
	bundle := f.bundle()
	f.deploy(south, "room", "w11")
	f.ended(f.getIn(south, bundle, "room", "--no-unicast"), 4)
	if _, totals := f.ended(f.getIn(south, bundle, "room"), 0); totals.Unicast != size(t, small) || totals.Multicast != 0 {
		t.Errorf("from a point that doesn't cast: %+v", totals)
	}
	// Switched on it casts.
	f.cli("point", "set", "south", "--multicast")
	f.await("south to cast", func() bool {
		var at struct {
			Multicast bool `json:"multicast"`
		}
		f.at(south).ask(&at, "/v1/point")
		return at.Multicast
	})
	f.has(f.getIn(south, bundle, "room", "--no-unicast"), small)
}

// TestFleetPrestageRooms: an image is carried to a point in a file; what is assigned to it then is there, and nothing is pulled.
func TestFleetPrestageRooms(t *testing.T) {
	f := withFleet(t, 2, 1)
	north, south := f.points[0], f.points[1]
	image := f.marked("carried", 12<<20)
	f.enlist()
	f.cli("image", "add", image, "--name", "w11", "--version", "1")
	carried := filepath.Join(f.dir, "carried.tar")
	f.cli("image", "export", "w11", "--for", "north", "-o", carried)
	if found := readable(t, carried); len(found) > 0 {
		t.Errorf("plain text in what is carried: %v", found)
	}
	f.at(south).no("", "image", "import", carried) // it isn't for south
	f.at(north).cli("image", "import", carried)
	f.proxy.forget()
	f.cli("image", "distribute", "w11", "--to", "north")
	f.arrived(north, "w11@1", 0)
	if moved := f.proxy.moved(north.host.Addr()); moved > 1<<20 {
		t.Errorf("%d bytes moved of what was carried there", moved)
	}
	f.deploy(north, "room", "w11")
	f.has(f.getIn(north, f.bundle(), "room", "--no-unicast"), image)

	// Damaged on the way: nothing of it counts.
	f.cli("image", "add", f.image, "--name", "other", "--version", "1")
	bad := filepath.Join(f.dir, "bad.tar")
	good := filepath.Join(f.dir, "other.tar")
	f.cli("image", "export", "other", "--for", "north", "-o", good)
	flip(t, good, bad, int(size(t, good)/2))
	f.at(north).no("", "image", "import", bad)
	if list := f.at(north).cli("image", "list"); strings.Contains(list, "other") {
		t.Errorf("what was damaged on the way is there: %s", list)
	}
	f.at(north).cli("image", "import", good)
}
