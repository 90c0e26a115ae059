package deployment

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var (
	w11  = Package{Name: "w11", Version: "2", Images: 3}
	only = Package{Name: "w11", Version: "2", Images: 3, MulticastOnly: true}
)

// lab returns a good deployment of w11 with changes.
func lab(change func(*Deployment)) Deployment {
	d := Deployment{Name: "lab12", Image: "w11", Content: Download}
	if change != nil {
		change(&d)
	}
	return d
}

// TestCheck: what can't be is refused, in words that name what is wrong and what to do.
func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Deployment)
		pkg    *Package
		says   []string // nil: good
	}{
		{"the least", nil, &w11, nil},
		{"multicast-only", nil, &only, nil},
		{"everything", func(d *Deployment) {
			*d = Deployment{
				Name: "Lab 12, front", Image: "w11@2", Index: 3, Who: []string{"lab12", "room-?", "[a-c]*", "a/b*"}, Content: Download, Comment: "hello",
				Rules: map[string]string{"start": "scheduled", "min_clients": "24", "at": "22:00", "floor": "20 MB/s"},
			}
		}, &w11, nil},
		{"no name", func(d *Deployment) { d.Name = "" }, &w11, []string{"name: is empty"}},
		{"name with a version", func(d *Deployment) { d.Name = "a@b" }, &w11, []string{"name: \"a@b\": the character '@'"}},
		{"name as an option", func(d *Deployment) { d.Name = "-x" }, &w11, []string{"hyphen"}},
		{"name as a folder", func(d *Deployment) { d.Name = ".." }, &w11, []string{"names a folder"}},
		{"spaces", func(d *Deployment) { d.Name = "a " }, &w11, []string{"begins or ends with a space"}},
		{"long name", func(d *Deployment) { d.Name = strings.Repeat("x", 129) }, &w11, []string{"name: 129 bytes; at most 128"}},
		{"control characters", func(d *Deployment) { d.Name, d.Comment = "a\x1b[2Jb", "a\u202eb" }, &w11, []string{"name: the character '\\x1b'", "comment: the character '\\u202e'"}},
		{"not UTF-8", func(d *Deployment) { d.Comment = "\xff" }, &w11, []string{"comment: not UTF-8"}},
		{"other image", func(d *Deployment) { d.Image = "w11@1" }, &w11, []string{"image: name a package as w11 or w11@2, not as w11@1"}},
		{"index", func(d *Deployment) { d.Index = 4 }, &w11, []string{"index: w11@2 has no image 4, the last is 3; next: wimcast deployment set \"lab12\" --index N"}},
		{"index below", func(d *Deployment) { d.Index = -1 }, &w11, []string{"index: -1 isn't between"}},
		{"patterns", func(d *Deployment) { d.Who = []string{"", "[", "a\nb"} }, &w11, []string{"who: \"\" is not a pattern", "who: \"[\" is not a pattern", "who: the character '\\n'"}},
		{"rules", func(d *Deployment) {
			d.Rules = map[string]string{"colour": "red", "delay": "", "floor": strings.Repeat("9", 65)}
		}, &w11, []string{"unknown key \"colour\"", "delay: is empty", "floor: 65 bytes"}},
		{"content", func(d *Deployment) { d.Content = "elsewhere" }, &w11, []string{"content: \"elsewhere\" is none of download, direct"}},
		{"direct", func(d *Deployment) { d.Content = Direct }, &w11, []string{"content: direct is not supported", "next: --content download"}},
		{"direct and multicast-only", func(d *Deployment) { d.Content = Direct }, &only, []string{"deployment lab12: content: direct reads from the point, and package w11@2 is multicast-only; next: --content download, or first: wimcast image set \"w11@2\" --no-multicast-only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := lab(tc.change)
			err := d.Check(tc.pkg)
			if (err == nil) != (tc.says == nil) {
				t.Fatalf("%v", err)
			}
			for _, says := range tc.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%v; want %q", err, says)
				}
			}
		})
	}
	d := lab(func(d *Deployment) { d.Content = Direct })
	if err := d.Check(&w11); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v isn't ErrUnsupported", err)
	}
	if err := d.Check(&only); errors.Is(err, ErrUnsupported) {
		t.Errorf("%v: the rule comes first", err)
	}
}

// TestCheckFromTheImage: the same rules, when it is the package that changes.
func TestCheckFromTheImage(t *testing.T) {
	list := []Deployment{lab(nil), lab(func(d *Deployment) { d.Name, d.Content = "lab13", Direct }), lab(func(d *Deployment) { d.Name, d.Image = "old", "w11@1" })}
	const says = "package w11@2 can't be multicast-only: deployment lab13 reads directly from the point; first: wimcast deployment set lab13 --content download"
	if err := CheckMulticastOnly(list, &only); err == nil || err.Error() != says {
		t.Errorf("%v, want %s", err, says)
	}
	if err := CheckMulticastOnly(list, &Package{Name: "w10", Version: "1"}); err != nil {
		t.Error(err)
	}
	w11old, w10 := Package{Name: "w11", Version: "1"}, Package{Name: "w10"}
	for _, tc := range []struct {
		name string
		gone Package
		stay []Package
		says string
	}{
		{"nobody names it", w10, []Package{w11}, ""},
		{"another version stays", w11, []Package{w11old}, ""},
		{"that very version goes", w11old, []Package{w11}, "package w11@1: deployment old names it; first: wimcast deployment set \"old\" --image OTHER"},
		{"the last one goes", w11, []Package{w10}, "package w11@2: deployments lab12, lab13 name it; first give each another image"},
	} {
		if err := CheckGone(list, &tc.gone, tc.stay); (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.says)
		}
	}
}

// TestAllows: who may have it.
func TestAllows(t *testing.T) {
	for _, tc := range []struct {
		who  string // separated by blanks
		name string
		want bool
	}{
		{"", "anybody", true},
		{"lab12", "lab12", true},
		{"lab12", "lab123", false},
		{"lab12", "LAB12", false},
		{"lab*", "lab12", true},
		{"lab?", "lab12", false},
		{"a b*", "bcd", true},
		{"*", "host/pc1", true},
		{"host/*", "host/a/b", true},
		{"host/?", "host//", true},
		{"[ab]1", "b1", true},
		{`\*`, "x", false},
	} {
		d := Deployment{Who: strings.Fields(tc.who)}
		if got := d.Allows(tc.name); got != tc.want {
			t.Errorf("%q allows %q: %v", tc.who, tc.name, got)
		}
	}
}

// TestStore: what is stored is there again, whole; what isn't ours is refused.
func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deployments.json")
	open := func() *Store {
		t.Helper()
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, err := s.Create(lab(func(d *Deployment) { d.Name = "room7" })); err != nil {
		t.Fatal(err)
	}
	made, err := s.Create(lab(func(d *Deployment) { d.Who, d.Rules = []string{"pc*"}, map[string]string{"delay": "15m"} }))
	if err != nil || made.Created.IsZero() {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := s.Create(lab(nil)); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	made.Rules["delay"], made.Who[0] = "1h", "x" // ours alone
	index := 2
	got, err := s.Get("lab12")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := s.Set(got.With(Change{Index: &index, Rules: map[string]string{"delay": "", "floor": "1 MB/s"}}))
	if err != nil || changed.Index != 2 || changed.Who[0] != "pc*" || !reflect.DeepEqual(changed.Rules, map[string]string{"floor": "1 MB/s"}) {
		t.Errorf("%+v, %v", changed, err)
	}
	if got.Rules["delay"] != "15m" {
		t.Errorf("With changed what it was called on: %+v", got)
	}
	again := open().List()
	if len(again) != 2 || again[0].Name != "lab12" || !reflect.DeepEqual(again, s.List()) {
		t.Errorf("%+v, want %+v", again, s.List())
	}
	for name, says := range map[string]string{"lab21": "did you mean lab12?", "room": "did you mean room7?", "zzz": "wimcast deployment list"} {
		if _, err := s.Get(name); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Remove("zzz"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := s.Set(lab(func(d *Deployment) { d.Name = "zzz" })); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"lab12", "room7"} {
		if err := s.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if list := open().List(); len(list) > 0 {
		t.Errorf("%+v", list)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}

	good := `{"name":"a","image":"w11","content":"download","created":"2026-11-26T00:00:00Z","changed":"2026-11-26T00:00:00Z"}`
	for name, text := range map[string]string{
		"cut":             `{"version":1,"deployments":[`,
		"a newer version": `{"version":2,"deployments":[]}`,
		"unknown key":     `{"version":1,"deployments":[],"x":1}`,
		"more":            `{"version":1,"deployments":[]} {}`,
		"twice":           `{"version":1,"deployments":[` + good + "," + good + `]}`,
		"bad":             `{"version":1,"deployments":[` + strings.Replace(good, "w11", "", 1) + `]}`,
		"direct":          `{"version":1,"deployments":[` + strings.Replace(good, "download", "direct", 1) + `]}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "next: mend the file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStoreFull: where nothing can be written nothing changes.
func TestStoreFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	s, err := Open(filepath.Join(dir, "deployments.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(lab(nil)); err == nil || len(s.List()) > 0 {
		t.Errorf("%v, %+v", err, s.List())
	}
}
