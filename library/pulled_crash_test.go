package library

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"wimcast/crypto"
)

func dropAll(digest.Digest, bool, time.Time) bool { return false }

// TestPulledCrash stops at each lasting step of a pull of a second version, of its coming into service, and of the withdrawal of the first: what is
// found then is the library before or after, whole; of the pull no blob is lost that was there; and it ends well from there.
func TestPulledCrash(t *testing.T) {
	s := newSite(t)
	one := testWIM(50*crypto.BlockSize, 1, "w")
	two := slices.Clone(one)
	for _, block := range []int{1, 20, 40} {
		two[block*crypto.BlockSize+300] ^= 1
	}
	first, second := s.release(t, about(t, one, "w11", "1", 1), one, true), s.release(t, about(t, two, "w11", "2", 2), two, true)
	type moment struct {
		crashed

		came int // blobs that were put by then
	}
	dir := t.TempDir()
	var moments []moment
	came, watching := 0, false
	l, err := open(dir, s.Site, func(step string) {
		if watching {
			at := t.TempDir()
			if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
				t.Error(err)
			}
			moments = append(moments, moment{crashed{step, at}, came})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	bring(t, l, first, Placing{Current: true})
	watching = true
	pull, err := l.Pull(second.Manifest, second.Document, false)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := pull.Missing(t.Context())
	if err != nil || len(missing) != 4 {
		t.Fatalf("%d missing, %v", len(missing), err)
	}
	for _, d := range missing {
		if err := pull.Put(d, bytes.NewReader(second.Blobs[d.Digest])); err != nil {
			t.Fatal(err)
		}
		came++
	}
	if _, err := pull.Commit(Placing{Current: true}); err != nil {
		t.Fatal(err)
	}
	if err := l.Withdraw("w11@1"); err != nil {
		t.Fatal(err)
	}
	watching = false
	states := map[string]bool{}
	for _, m := range moments {
		found := openPoint(t, m.dir, s)
		refs := strings.Join(references(found), " ")
		states[refs] = true
		switch refs {
		case "w11@1":
		case "w11@2 w11@1":
			holds(t, found, "w11@2", two)
		case "w11@2":
		default:
			t.Errorf("crash before %q: %s", m.step, refs)
		}
		if strings.Contains(refs, "w11@1") {
			holds(t, found, "w11@1", one)
		}
		for _, p := range found.List() {
			if p.OutOfService != "" {
				t.Errorf("crash before %q: %s: %s", m.step, p.Reference(), p.OutOfService)
			}
		}
		if _, again := bring(t, found, second, Placing{Current: true}); refs == "w11@1" && again > len(missing)-m.came || refs != "w11@1" && again > 0 {
			t.Errorf("crash before %q, after %d blobs: %d came again", m.step, m.came, again)
		}
		holds(t, found, "w11", two)
		if err := found.DropPulls(dropAll); err != nil {
			t.Error(err)
		}
		if p, err := found.Get("w11@1"); err == nil {
			if err := found.Withdraw(p.Reference()); err != nil {
				t.Error(err)
			}
		}
		if n := len(blobs(t, m.dir)); n != 2+1+4 {
			t.Errorf("crash before %q: %d blobs in the end", m.step, n)
		}
		_ = found.Close()
	}
	if len(states) != 3 || len(moments) < 12 {
		t.Errorf("the steps show %v in %d moments", states, len(moments))
	}
}

// TestPulledGivenUpAcrossCrash: what was being pulled stays over a restart until it is given up.
func TestPulledGivenUpAcrossCrash(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	l := openPoint(t, dir, s)
	b := testWIM(50*crypto.BlockSize, 1, "w")
	made := s.release(t, about(t, b, "w11", "1", 1), b, false)
	pull, err := l.Pull(made.Manifest, made.Document, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range made.Layers[:3] {
		if err := pull.Put(d, bytes.NewReader(made.Blobs[d.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/"+pendingDir+"/junk", []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openPoint(t, dir, s)
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs, want document and 3", n)
	}
	if _, err := os.Stat(dir + "/" + pendingDir + "/junk"); err == nil {
		t.Error("junk stays")
	}
	if err := l.DropPulls(dropAll); err != nil {
		t.Fatal(err)
	}
	if n := len(blobs(t, dir)); n != 0 {
		t.Errorf("%d blobs after it was given up", n)
	}
}

// TestPulledSyncOrder: what came is synced before index.json names it, what an earlier process left too.
func TestPulledSyncOrder(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	b := testWIM(50*crypto.BlockSize, 1, "w")
	made := s.release(t, about(t, b, "w11", "1", 1), b, false)
	for round := range 2 {
		var steps []string
		l, err := open(dir, s.Site, func(step string) { steps = append(steps, step) })
		if err != nil {
			t.Fatal(err)
		}
		pull, err := l.Pull(made.Manifest, made.Document, false)
		if err != nil {
			t.Fatal(err)
		}
		missing, err := pull.Missing(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			if len(missing) != 0 {
				t.Errorf("%d blobs are missing", len(missing))
			}
			if _, err := pull.Commit(Placing{}); err != nil {
				t.Fatal(err)
			}
			all, index := slices.Index(steps, "sync all"), slices.Index(steps, "rename index.json")
			if all < 0 || index < all {
				t.Errorf("order: %v", steps)
			}
		}
		for _, d := range missing {
			if err := pull.Put(d, bytes.NewReader(made.Blobs[d.Digest])); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPulledLeftDamaged: what an earlier process left isn't believed by its name.
func TestPulledLeftDamaged(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	b := testWIM(50*crypto.BlockSize, 1, "w")
	made := s.release(t, about(t, b, "w11", "1", 1), b, true)
	l := openPoint(t, dir, s)
	pull, err := l.Pull(made.Manifest, made.Document, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range made.Layers {
		if err := pull.Put(d, bytes.NewReader(made.Blobs[d.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, blobDir, made.Layers[2].Digest.Encoded()), 5000)
	l = openPoint(t, dir, s)
	if _, came := bring(t, l, made, Placing{Current: true}); came != 1 {
		t.Errorf("%d blobs came again", came)
	}
	holds(t, l, "w11", b)
}
