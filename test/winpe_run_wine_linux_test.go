package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/test/rig"
	"wimcast/test/winpe"
)

// TestWinPEWineRun: `winpe run` of wimcast.exe sees Windows' adapters and volumes: it waits for the server and says from which address, finds its only
// deployment and a volume of its own, and ends well. What nobody may have is refused with the same code as on Linux.
func TestWinPEWineRun(t *testing.T) {
	s, machines := withWindows(t, 1, 1, rig.Config{Multicast: slowly})
	m := machines[0]
	start := func(args ...string) *rig.Get {
		t.Helper()
		g, err := rig.StartRun(s.ctx, m, s.program(), append([]string{"--bundle", winpe.Z(s.daemon.Bundle())}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Kill)
		return g
	}
	if err := m.SetLink(s.ctx, false); err != nil {
		t.Fatal(err)
	}
	// Wine 8 tells a cable that is pulled out by nothing: an adapter is up as long as it is turned on.
	g := start("--volume", "C:")
	s.awaitEvent(g, "network", "distribution point 10.77.0.1:7600 doesn't answer from here (10.77.0.11)")
	if err := m.SetLink(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	s.ended(g, 0)
	if text, _ := g.Happened("volume"); !strings.HasPrefix(text, `receiving to C:\wimcast\w11.wim`) {
		t.Errorf("volume: %q", text)
	}
	s.received(filepath.Join(m.C(), "wimcast", "w11.wim"))

	r, _ := s.ended(start("--volume", "nonsense"), 6)
	if !strings.Contains(r.Error, `there is none of that label; there are C:\`) {
		t.Errorf("volumes: %s", r.Error)
	}
	t.Log(r.Error)
	s.cli("deployment", "remove", "w11")
	s.ended(start(), 4)
	if _, err := os.Stat(filepath.Join(m.C(), "wimcast", "w11.wim")); err != nil {
		t.Error(err)
	}
}
