package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"wimcast/client"
	"wimcast/client/machine"
	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/multicast/fault"
	"wimcast/session"
)

// TestChooseDeployment: the one that was named, else the one begun, else the only one.
func TestChooseDeployment(t *testing.T) {
	one := func(name string, digest byte) session.Deployed {
		return session.Deployed{Name: name, Package: name + "@1", Size: 5e9, Digest: crypto.Hash{digest}}
	}
	lab12, lab13, twin := one("lab12", 1), one("lab13", 2), one("twin", 2)
	begun := func(digests ...byte) workplace {
		p := workplace{Volume: machine.Volume{Root: "D"}, work: true}
		for _, d := range digests {
			p.parts = append(p.parts, client.Part{File: "x.wim", Digest: crypto.Hash{d}, Size: 5e9, Held: 1e9})
		}
		return p
	}
	for _, tc := range []struct {
		name  string
		named string
		list  []session.Deployed
		on    []workplace
		want  string
		err   string
	}{
		{"the only one", "", []session.Deployed{lab12}, nil, "lab12", ""},
		{"the only one, though another image was begun", "", []session.Deployed{lab12}, []workplace{begun(2)}, "lab12", ""},
		{"the one begun", "", []session.Deployed{lab12, lab13}, []workplace{begun(9), begun(2)}, "lab13", ""},
		{"named, though another is begun", "lab12", []session.Deployed{lab12, lab13}, []workplace{begun(2)}, "lab12", ""},
		{"named, not listed", "lab99", []session.Deployed{lab12}, nil, "lab99", ""},
		{"none", "", nil, nil, "", `bundle room may have none; next, on the server: wimcast deployment set NAME --who "room"`},
		{"several", "", []session.Deployed{lab12, lab13}, nil, "", "bundle room may have 2, from lab12 to lab13; next: "},
		{"both begun", "", []session.Deployed{lab12, lab13}, []workplace{begun(1, 2)}, "", "bundle room may have 2"},
		{"two of the image that is begun", "", []session.Deployed{lab12, lab13, twin}, []workplace{begun(2)}, "", "bundle room may have 3"},
	} {
		var out bytes.Buffer
		w := &winpeRunCommand{Deployment: tc.named}
		got, err := w.choose(tc.list, tc.on, "room", newScreen(&console{out: &out, err: &out}))
		if got.Name != tc.want || (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || exitCode(err) != exitRefused) {
			t.Errorf("%s: %s, %v; want %s, %s", tc.name, got.Name, err, tc.want, tc.err)
		}
		if listed := strings.Count(out.String(), "@1, 5.0 GB"); err != nil && listed != len(tc.list) {
			t.Errorf("%s: %d deployments on the screen: %s", tc.name, listed, out.String())
		}
	}
}

// TestPlace: an image goes on where it was begun, by the name that it was begun by; what is finished is the next one's seed.
func TestPlace(t *testing.T) {
	dir := t.TempDir()
	small, large := filepath.Join(dir, "small"), filepath.Join(dir, "large")
	finished := filepath.Join(large, workFolder, "lab12.wim")
	if err := os.MkdirAll(filepath.Dir(finished), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(finished, []byte("an older version"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := session.Deployed{Name: "lab12", Package: "w11@2", Size: 5e9, Digest: crypto.Hash{2}}
	volumes := func(parts ...client.Part) []workplace {
		return []workplace{
			{Volume: machine.Volume{Root: small, Label: "Small", Free: 6e9}, work: len(parts) > 0, parts: parts},
			{Volume: machine.Volume{Root: large, Label: "Large", Free: 60e9}, work: true},
		}
	}
	for _, tc := range []struct {
		name, label  string
		list         []workplace
		output, seed string
	}{
		{"where the work folder is", "", volumes(), finished, finished},
		{"begun by another name", "", volumes(client.Part{File: "old.wim", Digest: one.Digest, Size: one.Size, Held: 1e9}), filepath.Join(small, workFolder, "old.wim"), ""},
		{"another image was begun there", "", volumes(client.Part{File: "old.wim", Digest: crypto.Hash{7}, Size: 4e9, Held: 3e9}), finished, finished},
		{"named", "small", volumes(), filepath.Join(small, workFolder, "lab12.wim"), ""},
	} {
		w, get := &winpeRunCommand{Volume: tc.label}, &getCommand{}
		var out bytes.Buffer
		if err := w.place(get, &one, tc.list, newScreen(&console{out: &out, err: &out})); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if get.Output != tc.output || get.Seed != tc.seed || !get.Overwrite || !strings.Contains(out.String(), tc.output) {
			t.Errorf("%s: to %s with seed %q; want %s, %q; says %s", tc.name, get.Output, get.Seed, tc.output, tc.seed, out.String())
		}
	}
	w := &winpeRunCommand{Apply: "large"}
	if got := w.target(volumes()); got != large {
		t.Errorf("apply to %s, want %s", got, large)
	}
	if w.Apply = dir; w.target(volumes()) != dir {
		t.Errorf("apply to %s, want %s", w.target(volumes()), dir)
	}
}

// TestWorkFolderInTheWay: what isn't a folder isn't written through.
func TestWorkFolderInTheWay(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, workFolder)); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	c := &console{out: &out, err: &out}
	err := (&winpeRunCommand{}).receive(t.Context(), c, &getCommand{Package: "w11", Output: filepath.Join(dir, workFolder, "w11.wim")}, newScreen(c))
	if exitCode(err) != exitDisk || !strings.Contains(err.Error(), "make work folder: ") {
		t.Error(err)
	}
}

func TestTroubleOf(t *testing.T) {
	local := netip.MustParseAddr("10.77.0.11")
	servers := []string{"10.77.0.1:7600", "point.example:7600"}
	unnamed := fmt.Errorf("find: %w", &net.DNSError{Err: "no such host", Name: "point.example"})
	unrouted := fmt.Errorf("dial: %w: %w", keyex.ErrUnreachable, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)})
	silent := fmt.Errorf("dial: %w", keyex.ErrUnreachable)
	for _, tc := range []struct {
		errs []error
		kind fault.Kind
		says string
	}{
		{[]error{silent, silent}, fault.KindNoServer, "distribution point 10.77.0.1:7600, point.example:7600 doesn't answer from here (10.77.0.11)"},
		{[]error{silent, unnamed}, fault.KindNoServer, "distribution point 10.77.0.1:7600 doesn't answer from here (10.77.0.11)"},
		{[]error{unrouted, unnamed}, fault.KindNoRoute, "there is no route to distribution point 10.77.0.1:7600 from here (10.77.0.11)"},
		{[]error{unnamed, unnamed}, fault.KindNoName, "the name of distribution point 10.77.0.1:7600, point.example:7600 can't be resolved from here (10.77.0.11)"},
	} {
		if f := troubleOf(servers, tc.errs, local); f.Kind != tc.kind || f.Text != tc.says {
			t.Errorf("%v: %+v", tc.errs, f)
		}
	}
	if got := addressesOf([]string{"10.77.0.1:7600", "[2001:db8::1]:7600"}); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("2001:db8::1")}) {
		t.Errorf("%v", got)
	}
	if got := addressesOf(servers); got != nil {
		t.Errorf("with a name among them: %v", got)
	}
}

// TestIsRefusal: a no ends the search, a handshake that broke off doesn't.
func TestIsRefusal(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("dial: %w", &keyex.RefusedError{Reason: keyex.Untrusted}), true},
		{fmt.Errorf("dial: %w", &keyex.RefusedError{Reason: keyex.Revoked, ByPeer: true}), true},
		{fmt.Errorf("list: %w: not today", session.ErrRefused), true},
		{fmt.Errorf("dial: %w", &keyex.RefusedError{Reason: keyex.Failed}), false},
		{fmt.Errorf("dial: %w", &keyex.RefusedError{Reason: keyex.TimedOut}), false},
		{fmt.Errorf("dial: %w", keyex.ErrUnreachable), false},
		{errors.New("something"), false},
	} {
		if got := isRefusal(tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}
