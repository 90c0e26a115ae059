package main

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"wimcast/crypto/keyex"
)

// TestBundleEnds: which bundles metrics tell of.
func TestBundleEnds(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	day := 24 * time.Hour
	made := func(name string, role keyex.Role, from, to time.Duration) keyex.Issued {
		return keyex.Issued{Name: name, Role: role, NotBefore: now.Add(from - time.Hour), NotAfter: now.Add(to)}
	}
	revoked := made("thief", keyex.WinPE, -100*day, 5*day)
	revoked.Revoked = now.Add(-day)
	issued := []keyex.Issued{
		made("room", keyex.WinPE, -360*day, 5*day),
		made("room", keyex.WinPE, -1*day, 364*day), // made anew
		made("room", keyex.WinPE, -200*day, 165*day),
		made("lab", keyex.WinPE, -370*day, -5*day), // ended a few days ago
		made("old", keyex.WinPE, -400*day, -35*day),
		made("visitor", keyex.Operator, 0, 30*day),
		made("north", keyex.Point, -300*day, 65*day),
		made("north", keyex.Server, -300*day, 5*day),
		revoked,
	}
	want := map[[2]string]time.Time{
		{"bundle", "room"}: now.Add(364 * day), {"bundle", "lab"}: now.Add(-5 * day), {"point", "north"}: now.Add(65 * day),
	}
	if got := bundleEnds(issued, now); !maps.Equal(got, want) {
		t.Errorf("told of\n\t%v\nwant\n\t%v", got, want)
	}
	issued = nil
	for i := range 3 * bundlesTold {
		issued = append(issued, made(fmt.Sprintf("pc%03d", i), keyex.WinPE, -10*day, time.Duration(100+i)*day))
	}
	got := bundleEnds(issued, now)
	if _, first := got[[2]string{"bundle", "pc000"}]; len(got) != bundlesTold || !first {
		t.Errorf("of %d bundles %d are told of, the one that ends first: %t", len(issued), len(got), first)
	}
}
