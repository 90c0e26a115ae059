package fleet

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library"
	oci "wimcast/library/registry"
)

type netipPrefix = netip.Prefix

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// offline is a site whose registry nobody asks.
func offline(t *testing.T, dir string) (*Site, *library.Library, error) {
	t.Helper()
	l, err := library.Open(filepath.Join(dir, "library"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	repo, err := oci.Open(oci.Config{Repository: "127.0.0.1:1/wimcast", PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: filepath.Join(dir, "fleet"), Library: l, Repository: repo, Busy: func() bool { return false }, Revoked: func() []string { return nil }})
	return s, l, err
}

// TestState: modes, another life, and files that are damaged or missing.
func TestState(t *testing.T) {
	dir := t.TempDir()
	s, l, err := offline(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.Add(Point{Name: "north", Multicast: true, Groups: []string{"schools"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.useKey("w11", 0, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	key := s.Key()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	folder := filepath.Join(dir, "fleet")
	for name, want := range map[string]os.FileMode{"": 0o700, stateFile: 0o600, siteKeyFile: 0o600, keysFile: 0o600, releasesDir: 0o700} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, want mode %v", name, err, want)
		}
	}
	again := func(change func(dir string)) (*Site, error) {
		t.Helper()
		copied := t.TempDir()
		if err := os.CopyFS(filepath.Join(copied, "fleet"), os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
		change(filepath.Join(copied, "fleet"))
		s, _, err := offline(t, copied)
		if s != nil {
			t.Cleanup(func() { _ = s.Close() })
		}
		return s, err
	}
	s, err = again(func(string) {})
	if err != nil || !s.Key().Equal(key) || len(s.Points()) != 1 || len(s.Groups()["schools"]) != 1 {
		t.Fatalf("%v", err)
	}
	if k, err := s.useKey("w11", 0, nil); err != nil || k.Number != 1 || len(k.Wrapped) != 1 {
		t.Errorf("%+v, %v", k, err)
	}
	write := func(name, text string) func(string) {
		return func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(string) {
		return func(dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for want, change := range map[string]func(string){
		"it doesn't parse":            write(stateFile, "{"),
		"its version is 9":            write(stateFile, `{"version":9}`),
		"unknown field":               write(stateFile, `{"version":1,"colour":"red"}`),
		"point \"North\"":             write(stateFile, `{"version":1,"points":[{"name":"North"}]}`),
		"out of order":                write(stateFile, `{"version":1,"points":[{"name":"b"},{"name":"a"}]}`),
		"keep 0":                      write(stateFile, `{"version":1,"distributions":[{"package":"w","priority":"high"}]}`),
		"priority \"urgent\"":         write(stateFile, `{"version":1,"distributions":[{"package":"w","priority":"urgent","keep":1}]}`),
		"manifest \"x\"":              write(stateFile, `{"version":1,"made":[{"package":"w","manifest":"x"}]}`),
		"site.key is missing":         remove(siteKeyFile),
		"site.key has no key":         write(siteKeyFile, "x"),
		"keys.json: it doesn't parse": write(keysFile, "["),
		"key 1 of \"w11\"":            write(keysFile, `{"version":1,"packages":{"w11":[{"number":1,"key":"AAAA"}]}}`),
		"keys.json is missing": func(dir string) {
			remove(keysFile)(dir)
			write(stateFile, `{"version":1,"made":[{"package":"w","manifest":"sha256:`+strings.Repeat("0", 64)+`","key":1}]}`)(dir)
		},
	} {
		if _, err := again(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOrders: what can't be distributed or withdrawn, and what a group brings to who comes into it.
func TestOrders(t *testing.T) {
	s, l, err := offline(t, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	b := testWIM(1000, 1)
	p, _, err := l.Add(t.Context(), strings.NewReader(string(b)), library.AddOptions{Name: "w11", Version: "1", Size: int64(len(b))})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"north", "south"} {
		if _, _, _, err := s.Add(Point{Name: name, Multicast: name == "north", Groups: []string{"schools"}}); err != nil {
			t.Fatal(err)
		}
	}
	out := p
	out.OutOfService = "block 1 doesn't match"
	for want, o := range map[string]Order{
		"to whom":                 {Package: p},
		"keep one":                {Package: p, All: true, To: []string{"north"}},
		"did you mean schools":    {Package: p, To: []string{"school"}},
		"keep 21":                 {Package: p, To: []string{"north"}, Keep: 21},
		"keep -1":                 {Package: p, To: []string{"north"}, Keep: -1},
		"priority \"urgent\"":     {Package: p, To: []string{"north"}, Priority: "urgent"},
		"out of service: block 1": {Package: out, To: []string{"north"}},
	} {
		if _, err := s.Distribute(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := s.Distribute(Order{Package: p, To: []string{"schools", "north"}, Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Withdraw("w11", []string{"schools"}, false); err != nil {
		t.Fatal(err)
	}
	if has := s.Having("w11@1"); len(has) != 1 || has[0] != "north" { // by its own name
		t.Errorf("%v", has)
	}
	if _, err := s.Distribute(Order{Package: p, To: []string{"schools"}}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := s.Add(Point{Name: "east", Groups: []string{"schools"}}); err != nil {
		t.Fatal(err)
	}
	if has := s.Having("w11@1"); len(has) != 3 {
		t.Errorf("who came into the group: %v", has)
	}
	none := []string{}
	if _, _, err := s.Set("east", PointChange{Groups: &none}); err != nil {
		t.Fatal(err)
	}
	if has := s.Having("w11@1"); len(has) != 2 {
		t.Errorf("who left the group: %v", has)
	}
	points, err := s.Follow("w11", "1", "2")
	if err != nil || len(points) != 2 {
		t.Errorf("%v, %v", points, err)
	}
	before := s.current().Order
	if _, err := s.Follow("w11", "1", "2"); err != nil || s.current().Order != before {
		t.Errorf("followed twice: %v", err)
	}
	if points, err := s.Follow("w11", "7", "8"); err != nil || len(points) != 0 {
		t.Errorf("%v, %v", points, err)
	}
	// The limit of one version of north's own, and two of the group's.
	if n := len(s.Points()[1].Packages); s.Points()[1].Name != "north" || n != 2 {
		t.Errorf("%+v", s.Points()[1])
	}
}
