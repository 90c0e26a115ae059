package test

import (
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library/release"
)

// TestFleetEncrypted: of a package that is to be encrypted neither the registry nor a point's disk has anything to read; a point
// opens it while it casts. Another point comes in without the image being pushed again; one that isn't a recipient says so.
func TestFleetEncrypted(t *testing.T) {
	f := withFleet(t, 2, 1)
	north, south := f.points[0], f.points[1]
	secret, open := f.marked("secret", 12<<20), f.marked("open", 5<<20)
	site := f.room.Server().Addr()
	f.addPoint(north)
	f.startPoint(north)

	// What is looked for is found where it may be.
	f.cli("image", "add", open, "--name", "open", "--version", "1")
	f.cli("image", "set", "open", "--no-encrypt")
	f.cli("image", "distribute", "open", "--to", "north")
	f.arrived(north, "open@1", 0)
	if found := readable(t, f.registry.Storage); len(found) < 2 {
		t.Fatalf("a clear package can be read in %v of the registry", found)
	}
	if found := readable(t, filepath.Join(north.daemon.Dir, "library")); len(found) < 2 {
		t.Fatalf("a clear package can be read in %v of the point", found)
	}
	f.cli("image", "withdraw", "open", "--all")
	f.cli("image", "remove", "open")
	f.await("the clear package to leave the point", func() bool { return len(readable(t, north.daemon.Dir)) == 0 })
	clear := len(readable(t, f.registry.Storage)) // a registry keeps what nobody names until it is told to collect it

	f.cli("image", "add", secret, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11", "--to", "north")
	first := f.arrived(north, "w11@1", 0)
	if pushed := f.proxy.sent(site); pushed < size(t, secret) {
		t.Errorf("%d bytes pushed for an image of %d", pushed, size(t, secret))
	}
	if now := readable(t, f.registry.Storage); len(now) != clear {
		t.Errorf("plain text in the registry: %v", now)
	}
	bundle := f.bundle()
	f.deploy(north, "room", "w11")
	g := f.getIn(north, bundle, "room", "--no-unicast")
	f.has(g, secret)
	if found := readable(t, north.daemon.Dir); len(found) > 0 {
		t.Errorf("plain text on the point's disk: %v", found)
	}

	// Another point: the key is wrapped to it too, no content is pushed, and what the first has stays.
	f.proxy.forget()
	f.addPoint(south)
	f.cli("image", "distribute", "w11", "--to", "south")
	f.startPoint(south)
	f.arrived(south, "w11@1", first.Revision)
	f.arrived(north, "w11@1", first.Revision)
	if pushed := f.proxy.sent(site); pushed == 0 || pushed > 1<<20 {
		t.Errorf("%d bytes pushed for another point", pushed)
	}
	if moved := f.proxy.moved(north.host.Addr()); moved > 1<<20 {
		t.Errorf("%d bytes moved to the point that had it", moved)
	}
	f.deploy(south, "room", "w11")
	f.has(f.getIn(south, f.bundle(), "room", "--no-unicast"), secret) // the one from before doesn't know the new point

	// A point with another point's key isn't a recipient, and says so. What it had was sealed to the key that it had then.
	was, err := release.ReadPointFile(south.file)
	if err != nil {
		t.Fatal(err)
	}
	if was.Identity, _, err = release.NewIdentity(); err != nil {
		t.Fatal(err)
	}
	f.writePointFile(south, was)
	south.daemon.Kill()
	if err := south.daemon.Start(f.ctx); err != nil {
		t.Fatal(err)
	}
	f.cli("image", "set", "w11@1", "--comment", "another revision")
	last := f.failed(south, "w11@1", release.ErrNotRecipient.Error())
	if !strings.Contains(f.cli("fleet", "status"), release.ErrNotRecipient.Error()) {
		t.Errorf("fleet status doesn't say it: %+v", last)
	}
	f.arrived(north, "w11@1", first.Revision)
}
