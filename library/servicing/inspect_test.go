package servicing

import (
	"archive/tar"
	"bytes"
	"crypto/sha1" //nolint:gosec // what names of downloads have
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inspected reads what a file says of itself.
func inspected(t *testing.T, content []byte, name string) (found, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return inspect(t.Context(), path, name, strings.HasSuffix(name, ".tar"))
}

func TestInspect(t *testing.T) {
	needs(t, "cabextract", "wimlib-imagex")
	identity := func(name, version string) *Identity {
		return &Identity{name, version, "amd64", "31bf3856ad364e35", "neutral"}
	}
	newer := windowsMSU(t, "Windows11.0-KB5031455-x64.wim", "Windows11.0-KB5031455-x64.psf", "SSU-22621.2567-x64.cab", "DesktopDeployment.cab")
	for name, c := range map[string]struct {
		content []byte
		file    string
		want    found
		text    string // of the error
	}{
		"package":           {cabPackage("KB5000001", "10.0.1.1"), "x.cab", found{CAB, "KB5000001", "Security Update", "x64", 0, identity("Package_for_KB5000001", "10.0.1.1"), ""}, ""},
		"cumulative":        {cabinet(map[string]string{"update.mum": manifest("RollupFix", "22621.2506.1.8", "amd64")}), "windows11.0-kb5031455-x64.cab", found{CAB, "KB5031455", "Security Update", "x64", 22621, identity(rollup, "22621.2506.1.8"), ""}, ""},
		"older msu":         {msuPackage("KB5000002", "10.0.1.2"), "x.msu", found{MSU, "KB5000002", "for Windows 11.0", "x64", 0, identity("Package_for_KB5000002", "10.0.1.2"), "Windows11.0-KB5000002-x64.cab"}, ""},
		"newer msu":         {newer, "x.msu", found{MSU, "KB5031455", "", "x64", 22621, nil, ""}, ""},
		"named otherwise":   {msuPackage("KB5000002", "10.0.1.2"), "windows11.0-kb5000003-x64.msu", found{}, "it says KB5000002, and its name says KB5000003"},
		"another machine":   {msuPackage("KB5000002", "10.0.1.2"), "windows11.0-kb5000002-arm64.msu", found{}, "it says x64, and its name says arm64"},
		"hostile identity":  {cabinet(map[string]string{"update.mum": manifest("KB5000001", `1&quot; x`, "amd64")}), "x.cab", found{}, "which can't be"},
		"no XML":            {cabinet(map[string]string{"update.mum": "\x00\x01"}), "x.cab", found{}, "it doesn't parse"},
		"other cabinet":     {cabinet(map[string]string{"a.txt": "a"}), "x.cab", found{}, "neither an .msu nor a package of Windows"},
		"truncated cabinet": {msuPackage("KB5000002", "10.0.1.2")[:500], "x.msu", found{}, "truncated cabinet file"},
		"short cabinet":     {[]byte("MSCF"), "x.msu", found{}, "not a cabinet file"},
		"other WIM":         {windowsMSU(t, "a.txt"), "x.msu", found{}, "a WIM, but not an .msu"},
		"truncated WIM":     {newer[:len(newer)-100], "x.msu", found{}, "truncated WIM"},
		"something else":    {[]byte("PK\x03\x04"), "x.msu", found{}, "neither an .msu nor a .cab"},
		"nothing":           {nil, "x.msu", found{}, "neither an .msu nor a .cab"},
	} {
		got, err := inspected(t, c.content, c.file)
		if c.text != "" {
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v, want %q", name, err, c.text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (got.identity == nil) != (c.want.identity == nil) || got.identity != nil && *got.identity != *c.want.identity {
			t.Errorf("%s: identity %+v, want %+v", name, got.identity, c.want.identity)
		}
		got.identity, c.want.identity = nil, nil
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// windowsMSU makes an .msu of the newer form: a WIM with files that count by their names.
func windowsMSU(t *testing.T, names ...string) []byte {
	t.Helper()
	files := map[string]string{}
	for _, name := range names {
		files[name] = "content of " + name
	}
	b, err := os.ReadFile(windows(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestInspectWithoutCabextract: names still say what they say, and nothing is guessed.
func TestInspectWithoutCabextract(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := exec.LookPath("cabextract"); err == nil {
		t.Fatal("cabextract is still found")
	}
	got, err := inspected(t, msuPackage("KB5000002", "10.0.1.2"), "x.msu")
	if err != nil || got != (found{kind: MSU, id: "KB5000002", architecture: "x64", payload: "Windows11.0-KB5000002-x64.cab"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := inspected(t, cabPackage("KB5000001", "10.0.1.1"), "x.cab"); err != nil || got != (found{kind: CAB}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCabNames: cut anywhere, a cabinet's directory is read or refused, and never more is read than there is.
func TestCabNames(t *testing.T) {
	whole := cabinet(map[string]string{"a": "1", `dir\b`: "2"})
	names, err := cabNames(bytes.NewReader(whole), int64(len(whole)))
	if err != nil || !slices.Equal(names, []string{"a", "dir/b"}) {
		t.Errorf("%q, %v", names, err)
	}
	for n := range len(whole) {
		if _, err := cabNames(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("cut at %d of %d: no error", n, len(whole))
		}
	}
	for i := range 60 { // every byte of the header and the directory
		b := bytes.Clone(whole)
		b[i] ^= 0xff
		_, _ = cabNames(bytes.NewReader(b), int64(len(b)))
	}
}

func TestDescribe(t *testing.T) {
	msu := found{kind: MSU, id: "KB5000002", architecture: "x64", build: 22621}
	u, err := describe(msu, Description{ID: "kb5000002", Title: "t", Build: "22621-22631", SupersededBy: []string{"kb5000009"}})
	if err != nil || u.ID != "KB5000002" || u.BuildText() != "22621-22631" || !slices.Equal(u.SupersededBy, []string{"KB5000009"}) ||
		!slices.Equal(u.Read, []string{"id", "architecture"}) || !slices.Equal(u.Told, []string{"title", "build", "superseded_by"}) || u.Reference() != "KB5000002-x64" {
		t.Errorf("%+v, %v", u, err)
	}
	for text, c := range map[string]struct {
		found found
		told  Description
	}{
		"say it with --id":                {found{kind: CAB}, Description{Architecture: "x64", Build: "any"}},
		"say it with --arch":              {found{kind: CAB}, Description{ID: "KB5000001", Build: "any"}},
		"say it with --build":             {found{kind: CAB}, Description{ID: "KB5000001", Architecture: "x64"}},
		"an overlay needs a name":         {found{kind: Overlay}, Description{}},
		"says that it is KB5000002, not":  {msu, Description{ID: "KB5000003"}},
		"says that it is for x64, not":    {msu, Description{Architecture: "arm64"}},
		"none of x64, arm64":              {found{kind: CAB}, Description{ID: "KB1", Architecture: "mips", Build: "any"}},
		"want a build of Windows":         {msu, Description{Build: "22631-22621"}},
		"want letters, digits":            {found{kind: Overlay}, Description{ID: "../x"}},
		"single hyphens":                  {found{kind: Overlay}, Description{ID: "-x"}},
		"can't supersede or require":      {msu, Description{Requires: []string{"KB5000002"}}},
		"characters that don't print":     {msu, Description{Title: "a\x1b[31m"}},
		"superseded_by: id":               {msu, Description{SupersededBy: []string{"a b"}}},
		"editions: 65 of them":            {msu, Description{Editions: slices.Repeat([]string{"x"}, 65)}},
		"languages: one is empty":         {msu, Description{Languages: []string{""}}},
		"title of 301 bytes: at most 300": {msu, Description{Title: strings.Repeat("x", 301)}},
	} {
		if _, err := describe(c.found, c.told); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

// TestTree: an overlay is files and folders that stay inside of it.
func TestTree(t *testing.T) {
	good := map[string]string{"Windows/": "", "Windows/a.txt": "a", "b": "b"}
	if _, err := inspected(t, tree(good), "o.tar"); err != nil {
		t.Error(err)
	}
	special := func(h tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&h)
		_ = w.Close()
		return b.Bytes()
	}
	with := func(name string) []byte {
		files := maps.Clone(good)
		files[name] = "x"
		return tree(files)
	}
	for name, c := range map[string]struct {
		content []byte
		text    string
	}{
		"no archive":     {[]byte(strings.Repeat("x", 2000)), "not a tar archive"},
		"cut":            {tree(good)[:700], "EOF"},
		"empty":          {tree(nil), "there is no file in it"},
		"only folders":   {tree(map[string]string{"Windows/": ""}), "there is no file in it"},
		"out of it":      {with("../x"), "can't stand in an image"},
		"out, hidden":    {with("a/../../x"), "can't stand in an image"},
		"from the root":  {with("/etc/x"), "can't stand in an image"},
		"a Windows path": {with(`C:\x`), "can't stand in an image"},
		"a quote":        {with(`a"b`), "can't stand in an image"},
		"a line break":   {with("a\nb"), "can't stand in an image"},
		"symbolic link":  {special(tar.Header{Name: "l", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}), "neither a file nor a folder"},
		"hard link":      {special(tar.Header{Name: "l", Linkname: "a", Typeflag: tar.TypeLink}), "neither a file nor a folder"},
		"device":         {special(tar.Header{Name: "d", Typeflag: tar.TypeBlock}), "neither a file nor a folder"},
		"too long":       {with(strings.Repeat("x/", 600) + "y"), "can't stand in an image"},
	} {
		if _, err := inspected(t, c.content, "o.tar"); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", name, err, c.text)
		}
	}
	dir := filepath.Join(t.TempDir(), "to")
	archive := filepath.Join(t.TempDir(), "o.tar")
	if err := os.WriteFile(archive, tree(map[string]string{"a": "1", "./a": "2"}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := unpackTree(t.Context(), archive, dir); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one name twice: %v", err)
	}
}

func TestNameHasSHA1(t *testing.T) {
	b := cabPackage("KB5000001", "10.0.1.1")
	name := fmt.Sprintf("windows11.0-kb5000001-x64_%x.cab", sha1.Sum(b)) //nolint:gosec // as above
	if got := sha1InName(name); len(got) != 40 {
		t.Fatalf("%q", got)
	}
	if id, arch := fromName(name); id != "KB5000001" || arch != "x64" {
		t.Errorf("%q, %q", id, arch)
	}
	for name, want := range map[string]string{
		"windows10.0-kb4538674-x64-ndp48_" + strings.Repeat("a", 40) + ".msu": "KB4538674 x64", "Windows6.1-KB976902-x86.msu": "KB976902 x86",
		"Windows10.0-KB5030300-v2-arm64.cab": "KB5030300 arm64", "kb5030300.msu": " ", "windows11.0-kb5030300-x640.msu": " ",
	} {
		if id, arch := fromName(name); id+" "+arch != want {
			t.Errorf("%s: %q %q, want %q", name, id, arch, want)
		}
	}
	c, err := OpenCatalogue(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	told := Description{ID: "KB5000001", Architecture: "x64", Build: "any"}
	if _, _, err := c.Add(t.Context(), bytes.NewReader(b), name, 0, false, told); err != nil {
		t.Error(err)
	}
	b[len(b)-1] ^= 1
	if _, _, err := c.Add(t.Context(), bytes.NewReader(b), name, 0, false, told); err == nil || !strings.Contains(err.Error(), "its name says that its SHA-1 is") {
		t.Errorf("a download that broke: %v", err)
	}
}
