package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wimcast/api"
	"wimcast/library/release"
	"wimcast/test/registry"
	"wimcast/test/rig"
)

// siteOnLoopback starts a site with a real registry.
func siteOnLoopback(t *testing.T) (*stage, *registry.Server) {
	t.Helper()
	server := registry.ForTest(t, registry.Options{})
	return onLoopback(t, rig.Config{Admin: fmt.Sprintf("listen = \"127.0.0.1:0\"\n[registry]\nrepository = %q\nplain_http = true\n", server.Repository("wimcast"))}), server
}

// atSite asks for a point.
func (s *stage) atSite(name string) (p api.Point) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &p, "point", "show", name); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// brought waits until all that a point shall have is in the registry, and the point is told.
func (s *stage) brought(name string, packages ...string) (p api.Point) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%v of point %s in the registry", packages, name), func() bool {
		p = s.atSite(name)
		var there []string
		for _, a := range p.Packages {
			if a.State == api.FleetSuccess {
				there = append(there, a.Package)
			}
		}
		return slices.Equal(there, packages) && len(p.Packages) == len(packages) && !p.Published.IsZero()
	})
	return p
}

// TestFleetSite is an administrator's day at a site: points and groups, distributing, servicing with --distribute, a daemon that is
// killed while it pushes, withdrawing, a point that is lost.
func TestFleetSite(t *testing.T) {
	s, server := siteOnLoopback(t)
	s.smallWindows()
	s.catalogue()
	file := filepath.Join(s.dir, "north.point")
	out := s.cli("point", "add", "north", "--group", "schools", "--subnet", "10.1.0.0/16", "--address", "10.1.0.5:7600", "-o", file)
	if !strings.Contains(out, "point north") {
		t.Errorf("%s", out)
	}
	point, err := release.ReadPointFile(file)
	if err != nil || point.Exposed || point.Repository != server.Repository("wimcast") || len(point.Admin) == 0 {
		t.Fatalf("%+v, %v", point, err)
	}
	s.cli("point", "add", "south", "--no-multicast", "-o", filepath.Join(s.dir, "south.point"))
	s.denied("the name is taken", "point", "add", "north", "-o", filepath.Join(s.dir, "other.point"))
	if _, err := os.Stat(filepath.Join(s.dir, "other.point")); err == nil {
		t.Error("a refusal left a file")
	}
	s.denied("did you mean north?", "image", "distribute", "win", "--to", "nort")
	s.denied("to whom?", "image", "distribute", "win")
	s.recorded("point add") // the kill takes what isn't written yet

	// Out it goes; the daemon is killed in the middle and goes on.
	if out := s.cli("image", "distribute", "win", "--to", "schools"); !strings.Contains(out, "win@1 goes to north") {
		t.Errorf("%s", out)
	}
	s.daemon.Kill()
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	first := s.brought("north", "win@1")
	if list := s.cli("point", "list"); !strings.Contains(list, "1 of 1") || !strings.Contains(list, "0 of 0") {
		t.Errorf("%s", list)
	}

	// A flag makes another revision.
	s.cli("image", "set", "win", "--comment", "for the schools")
	s.eventually("another revision", func() bool { return s.brought("north", "win@1").Packages[0].Revision > first.Packages[0].Revision })

	// Rules of multicast-only.
	s.cli("image", "distribute", "win", "--to", "south", "--priority", "low")
	s.brought("south", "win@1")
	s.denied("its multicast is off", "image", "set", "win", "--multicast-only")
	s.cli("image", "withdraw", "win", "--from", "south")
	s.brought("south")
	s.cli("image", "set", "win", "--multicast-only")
	s.denied("the point's multicast is off", "image", "distribute", "win", "--to", "south")
	if out := s.cli("image", "distribute", "win", "--all"); !strings.Contains(out, "goes to north") || !strings.Contains(out, "left out: south doesn't get win@1") {
		t.Errorf("%s", out)
	}
	s.denied("which is multicast-only", "point", "set", "north", "--no-multicast")

	// Serviced, the new version goes where the one before went.
	sc := s.awaitSchedule(s.service("win", "--overlay", "drivers", "--distribute").ID, "successful", "failed")
	if sc.State != "successful" || !strings.Contains(sc.Reason, "it goes to north") {
		t.Fatalf("%+v", sc)
	}
	new := s.current("win")
	s.brought("north", "win@1", "win@"+new.Version)

	// What is distributed isn't removed by the way.
	s.denied("it is distributed to north", "image", "remove", "win@1")
	s.cli("image", "remove", "win@1", "--withdraw")
	s.brought("north", "win@"+new.Version)
	s.denied("it has it by", "image", "withdraw", "win", "--from", "north")

	// Bundles know the points.
	bundle := filepath.Join(s.dir, "lab.join")
	s.cli("bundle", "create", "lab", "-o", bundle)
	if text, err := os.ReadFile(bundle); err != nil || !strings.Contains(string(text), "10.1.0.0/16 10.1.0.5:7600") {
		t.Errorf("%s, %v", text, err)
	}

	// Lost.
	if out := s.cli("point", "remove", "north", "--lost"); !strings.Contains(out, "2 certificates revoked") || !strings.Contains(out, "sealed under other keys") {
		t.Errorf("%s", out)
	}
	s.recorded("distribute image", "withdraw image", "point remove")
}

// recorded waits until the history has these actions: it is written once a second.
func (s *stage) recorded(wanted ...string) {
	s.t.Helper()
	for _, want := range wanted {
		s.await("the record of "+want, func() bool {
			var actions []api.HistoryAction
			if err := json.Unmarshal([]byte(s.cli("history", "actions", "--json")), &actions); err != nil {
				s.t.Fatal(err)
			}
			return slices.ContainsFunc(actions, func(a api.HistoryAction) bool { return a.Action == want })
		})
	}
}

// TestFleetSiteWithoutRegistry says what to do.
func TestFleetSiteWithoutRegistry(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.denied("set repository under [registry]", "point", "list")
	s.denied("set repository under [registry]", "image", "distribute", "win", "--all")
}

// TestFleetSiteRegistryAway: what can't be brought is told, and brought when the registry is there again.
func TestFleetSiteRegistryAway(t *testing.T) {
	s, server := siteOnLoopback(t)
	s.smallWindows()
	server.Stop()
	s.cli("point", "add", "north", "-o", filepath.Join(s.dir, "north.point"))
	s.cli("image", "distribute", "win", "--to", "north")
	s.eventually("the fault to be told", func() bool { return strings.Contains(s.cli("point", "list"), "out of reach") })
	if p := s.atSite("north"); !p.Published.IsZero() || p.Packages[0].Revision != 0 {
		t.Errorf("%+v", p)
	}
	if err := server.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.brought("north", "win@1")
}
