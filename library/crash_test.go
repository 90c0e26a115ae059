package library

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"wimcast/crypto"
)

// crashed copies what lies on the disk at one moment.
type crashed struct {
	step string
	dir  string
}

// TestCrash stops at each lasting step of each change: the library that is found then is
// the one before or the one after, everything in it is whole, and nothing is left over.
func TestCrash(t *testing.T) {
	old, other := testWIM(2*crypto.BlockSize, 1, "w"), testWIM(3*crypto.BlockSize, 2, "w")
	comment := "changed"
	for name, change := range map[string]func(l *Library) error{
		"add": func(l *Library) error {
			_, _, err := l.Add(t.Context(), bytes.NewReader(other), AddOptions{Name: "new"})
			return err
		},
		"add what is there": func(l *Library) error {
			_, _, err := l.Add(t.Context(), bytes.NewReader(old), AddOptions{Name: "new"})
			return err
		},
		"change":   func(l *Library) error { _, err := l.Change("old", Change{Comment: &comment}); return err },
		"rollback": func(l *Library) error { v := "2"; _, _, err := l.Rollback("two", &v); return err },
		"remove":   func(l *Library) error { return l.Remove("old") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var moments []crashed
			watching := false
			l, err := open(dir, nil, func(step string) {
				if watching {
					at := t.TempDir()
					if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
						t.Error(err)
					}
					moments = append(moments, crashed{step, at})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			add(t, l, old, "old", "")
			add(t, l, old, "two", "2")
			add(t, l, old, "two", "1")
			before := l.List()
			watching = true
			if err := change(l); err != nil {
				t.Fatal(err)
			}
			watching = false
			after := l.List()
			if len(moments) < 2 {
				t.Fatalf("only %d steps: %v", len(moments), moments)
			}
			same := func(a, b Package) bool {
				return a.Reference() == b.Reference() && a.Comment == b.Comment && a.Digest == b.Digest && a.OutOfService == "" && b.OutOfService == ""
			}
			seen := map[bool]bool{}
			for _, m := range moments {
				found := openAt(t, m.dir)
				list := found.List()
				isOld, isNew := slices.EqualFunc(list, before, same), slices.EqualFunc(list, after, same)
				if !isOld && !isNew {
					t.Errorf("crash before %q: %v", m.step, references(found))
				}
				seen[isOld] = true
				for _, p := range list {
					want := old
					if p.Size != int64(len(old)) {
						want = other
					}
					holds(t, found, p.Reference(), want)
				}
				distinct := map[crypto.Hash]bool{}
				for _, p := range list {
					distinct[p.Digest] = true
				}
				if n := len(blobs(t, m.dir)); n != 4*len(distinct) {
					t.Errorf("crash before %q: %d blobs for %d contents", m.step, n, len(distinct))
				}
			}
			if !seen[true] || !seen[false] {
				t.Errorf("the steps show only one side of the change: %v", moments)
			}
		})
	}
}

// TestSyncOrder: what index.json names is synced before index.json names it.
func TestSyncOrder(t *testing.T) {
	var steps []string
	l, err := open(t.TempDir(), nil, func(step string) { steps = append(steps, step) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	steps = nil
	p := add(t, l, testWIM(10, 1, "w"), "w", "")
	at := func(step string) int {
		i := slices.Index(steps, step)
		if i < 0 {
			t.Fatalf("no step %q in %v", step, steps)
		}
		return i
	}
	synced, index := at("sync "+blobDir), at("rename index.json")
	for _, d := range []string{p.oci.Digest.Encoded(), p.config.Digest.Encoded(), p.content.Digest.Encoded(), p.manifest.Digest.Encoded()} {
		if i := at("rename " + blobDir + "/" + d); i > synced {
			t.Errorf("%s is renamed after the directory's sync", d)
		}
	}
	if synced > index || at("sync .") < index {
		t.Errorf("order: %v", steps)
	}
}

// TestFirstStartCrash: a first start that stopped anywhere can be repeated.
func TestFirstStartCrash(t *testing.T) {
	stop := errors.New("stop")
	for n := range 10 {
		dir := t.TempDir()
		count := 0
		func() {
			defer func() {
				if r := recover(); r != nil && r != any(stop) {
					panic(r)
				}
			}()
			l, err := open(dir, nil, func(string) {
				if count++; count > n {
					panic(stop)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
		}()
		l, err := Open(dir)
		if err != nil && !errors.Is(err, ErrInUse) { // the panic left the lock
			t.Fatalf("stopped after %d steps: %v", n, err)
		}
		if err != nil {
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			l = openAt(t, copied)
		}
		add(t, l, testWIM(10, 1, "w"), "w", "")
		if got := strings.Join(references(l), " "); got != "w" {
			t.Errorf("stopped after %d steps: %s", n, got)
		}
		_ = l.Close()
	}
}
