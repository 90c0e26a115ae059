package wim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// wimlib is the oracle of these tests: it makes the files, and says what is in them.
type wimlib struct{ exe, dir string }

func newWimlib(t *testing.T) wimlib {
	t.Helper()
	exe, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Skip("no wimlib-imagex (Debian package wimtools) to compare with")
	}
	return wimlib{exe, t.TempDir()}
}

func (w wimlib) path(name string) string { return filepath.Join(w.dir, name) }

func (w wimlib) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.try(args...)
	if err != nil {
		t.Fatalf("wimlib-imagex %q: %v", args, err)
	}
	return out
}

func (w wimlib) try(args ...string) (string, error) {
	cmd := exec.Command(w.exe, args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), nil
}

// trees makes two directories to capture, alike in a file.
func (w wimlib) trees(t *testing.T) {
	t.Helper()
	text := strings.Repeat("a line that is worth to compress\n", 20_000)
	for name, content := range map[string]string{
		"one/text": text, "one/sub/again": text, "one/sub/empty": "", "one/short": "short", "two/text": text, "two/Grüße": strings.Repeat("x", 100_000),
	} {
		if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path(name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What doesn't compress, so that there are several chunks and parts.
	noise, _ := sample{data: 2_500_000}.build()
	for i := range 5 {
		if err := os.WriteFile(w.path(fmt.Sprintf("one/noise%d", i)), noise[208+i*400_000:][:400_000], 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// properties fill every field of an image that wiminfo shows.
var properties = []string{
	"DISPLAYNAME=Windows 11 für Schulen 🎓", "DISPLAYDESCRIPTION=A & B <c> \"d\"", "FLAGS=Professional",
	"WINDOWS/ARCH=12", "WINDOWS/PRODUCTNAME=Microsoft® Windows® Operating System", "WINDOWS/EDITIONID=Education", "WINDOWS/INSTALLATIONTYPE=Client",
	"WINDOWS/PRODUCTTYPE=WinNT", "WINDOWS/SYSTEMROOT=WINDOWS",
	"WINDOWS/LANGUAGES/LANGUAGE=de-DE", "WINDOWS/LANGUAGES/LANGUAGE[2]=en-US", "WINDOWS/LANGUAGES/LANGUAGE[3]=fr-FR", "WINDOWS/LANGUAGES/DEFAULT=de-DE",
	"WINDOWS/VERSION/MAJOR=10", "WINDOWS/VERSION/MINOR=1", "WINDOWS/VERSION/BUILD=22631", "WINDOWS/VERSION/SPBUILD=4317", "WINDOWS/VERSION/SPLEVEL=3",
	"HARDLINKBYTES=7561289218",
	"CREATIONTIME/HIGHPART=0x01DA5A7B", "CREATIONTIME/LOWPART=0x9E27F7D0",
}

// capture makes a file of two images, the second with all properties.
func (w wimlib) capture(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	w.run(t, append([]string{"capture", "one", name, "Eins", "the first", "--threads=1"}, args...)...)
	again := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "--compress") || a == "--solid" || a == "--pipable" })
	w.run(t, append([]string{"append", "two", name, "Zwei", "the second, \nof two lines", "--threads=1"}, again...)...)
	info := []string{"info", name, "2"}
	for _, p := range properties {
		info = append(info, "--image-property", p)
	}
	w.run(t, info...)
	return w.read(t, name)
}

func (w wimlib) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWimlib(t *testing.T) {
	w := newWimlib(t)
	w.trees(t)
	for name, c := range map[string]struct {
		args        []string
		compression Compression
		pipable     bool
		solid       bool
		integrity   bool
	}{
		"none":              {[]string{"--compress=none"}, None, false, false, false},
		"none-checked":      {[]string{"--compress=none", "--check"}, None, false, false, true},
		"xpress":            {[]string{"--compress=XPRESS"}, XPRESS, false, false, false},
		"lzx":               {[]string{"--compress=LZX"}, LZX, false, false, false},
		"lzx-checked":       {[]string{"--compress=LZX", "--check"}, LZX, false, false, true},
		"lzms":              {[]string{"--compress=LZMS"}, LZMS, false, false, false},
		"solid":             {[]string{"--solid", "--solid-chunk-size=1M"}, LZMS, false, true, false},
		"solid-checked":     {[]string{"--solid", "--solid-chunk-size=1M", "--check"}, LZMS, false, true, true},
		"pipable":           {[]string{"--compress=LZX", "--pipable"}, LZX, true, false, false},
		"pipable-checked":   {[]string{"--compress=LZX", "--pipable", "--check"}, LZX, true, false, true},
		"pipable-none":      {[]string{"--compress=none", "--pipable"}, None, true, false, false},
		"bootable-unpacked": {[]string{"--compress=none", "--boot"}, None, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := name + ".wim"
			b := w.capture(t, file, c.args...)
			f := mustOpen(t, b)
			if f.Compression() != c.compression || f.Pipable != c.pipable || f.Solid != c.solid || f.Split() {
				t.Errorf("%s, pipable %t, solid %t, split %t", f.Compression(), f.Pipable, f.Solid, f.Split())
			}
			if len(f.Images) != 2 || f.Images[1].Edition() != "Education" {
				t.Errorf("%+v", f.Images)
			}
			if name == "bootable-unpacked" && (f.BootIndex != 2 || f.Boot == Resource{}) {
				t.Errorf("boot index %d, metadata %+v", f.BootIndex, f.Boot)
			}
			w.compare(t, file, f, b)
			err := f.VerifyIntegrity(t.Context(), nil)
			if c.integrity && err != nil || !c.integrity && !errors.Is(err, ErrNoIntegrity) {
				t.Error(err)
			}
			for n := range len(b) / 5000 {
				if _, err := open(b[:n*5000]); !errors.Is(err, ErrTruncated) && n > 0 {
					t.Errorf("cut to %d bytes: %v", n*5000, err)
				}
			}
		})
	}
}

// compare holds all that was read of a file against what wiminfo says.
func (w wimlib) compare(t *testing.T, file string, f *File, b []byte) {
	t.Helper()
	lines := func(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

	// Its header, line by line.
	h := &f.Header
	want := map[string]string{
		"Header Size": "208", "Version": fmt.Sprintf("%#x", h.Version), "Flags": fmt.Sprintf("%#x", h.Flags), "Chunk Size": fmt.Sprint(h.ChunkSize),
		"GUID": fmt.Sprintf("%x", h.GUID), "Part Number": fmt.Sprint(h.Part), "Total Parts": fmt.Sprint(h.Parts), "Image Count": fmt.Sprint(h.ImageCount),
		"Boot Index": fmt.Sprint(h.BootIndex),
	}
	for name, r := range map[string]Resource{"Blob Table": h.Lookup, "XML Data": h.XML, "Boot Metadata": h.Boot, "Integrity": h.Integrity} {
		want[name+" Size"], want[name+" Flags"] = fmt.Sprint(r.Size), fmt.Sprintf("%#x", r.Flags)
		want[name+" Offset"], want[name+" Original Size"] = fmt.Sprint(r.Offset), fmt.Sprint(r.OriginalSize)
	}
	seen := 0
	for _, line := range lines(w.run(t, "info", file, "--header")) {
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(strings.ReplaceAll(name, "Original_size", "Original Size")), strings.TrimSpace(value)
		if !ok || name == "Magic Characters" {
			continue
		}
		if seen++; want[name] != value {
			t.Errorf("%s is %q, want %q", name, want[name], value)
		}
	}
	if seen != len(want) {
		t.Errorf("compared %d lines of the header, want %d", seen, len(want))
	}

	// The XML, byte by byte.
	w.run(t, "info", file, "--extract-xml="+file+".xml")
	if ours := b[h.XML.Offset:][:h.XML.Size]; !bytes.Equal(ours, w.read(t, file+".xml")) {
		t.Errorf("the XML at %d isn't wimlib's", h.XML.Offset)
	}
	w.compareImages(t, file, f)
	w.compareBlobs(t, file, f)
}

// compareImages holds the images against wiminfo's, every line of it.
func (w wimlib) compareImages(t *testing.T, file string, f *File) {
	t.Helper()
	_, out, _ := strings.Cut(w.run(t, "info", file), "-----------------\n")
	texts := strings.Split(strings.TrimSpace(out), "\n\n")
	if len(texts) != len(f.Images) {
		t.Fatalf("%d images, want %d", len(f.Images), len(texts))
	}
	line := regexp.MustCompile(`(?m)^([A-Z][A-Za-z ]*): +(.*)$`)
	for i, text := range texts {
		m := &f.Images[i]
		ours := map[string]string{
			"Index": fmt.Sprint(m.Index), "Name": m.Name, "Description": strings.TrimSpace(strings.Split(m.Description, "\n")[0]), "Display Name": m.DisplayName,
			"Display Description": m.DisplayDescription, "Directory Count": fmt.Sprint(m.Directories), "File Count": fmt.Sprint(m.Files),
			"Total Bytes": fmt.Sprint(m.TotalBytes), "Hard Link Bytes": fmt.Sprint(m.HardLinkBytes),
			"Creation Time":          m.Created.Format("Mon Jan 02 15:04:05 2006 MST"),
			"Last Modification Time": m.Modified.Format("Mon Jan 02 15:04:05 2006 MST"),
			"Architecture":           strings.NewReplacer("arm64", "ARM64", "x64", "x86_64").Replace(m.Architecture.String()),
			"Product Name":           m.ProductName, "Edition ID": m.EditionID, "Installation Type": m.InstallationType,
			"Languages": strings.Join(m.Languages, " "), "Default Language": m.DefaultLanguage,
			"Major Version": fmt.Sprint(m.Version.Major), "Minor Version": fmt.Sprint(m.Version.Minor), "Build": fmt.Sprint(m.Version.Build),
			"Service Pack Build": fmt.Sprint(m.Version.ServicePackBuild), "Service Pack Level": fmt.Sprint(m.Version.ServicePackLevel),
			"Flags": m.Flags,
		}
		seen := 0
		for _, found := range line.FindAllStringSubmatch(text, -1) {
			name, value := found[1], strings.TrimSpace(found[2])
			if slices.Contains([]string{"WIMBoot compatible", "Product Type", "System Root"}, name) {
				continue // not read
			}
			if seen++; ours[name] != value {
				t.Errorf("image %d: %s is %q, want %q", i+1, name, ours[name], value)
			}
		}
		// wiminfo shows only what the XML has: all of it of the second image.
		if enough := []int{9, len(ours)}[i]; seen != enough {
			t.Errorf("image %d: compared %d lines, want %d:\n%s", i+1, seen, enough, text)
		}
	}
}

// compareBlobs holds the lookup table against wiminfo's list, which has what is inside
// of solid resources, but names these not by themselves.
func (w wimlib) compareBlobs(t *testing.T, file string, f *File) {
	t.Helper()
	entries, err := f.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	blobs := w.run(t, "info", file, "--blobs")
	var unpacked int64 // of the solid resources so far
	before := map[string]int64{}
	var ours, theirs []string
	for _, e := range entries {
		switch {
		case e.Flags&Solid == 0:
			ours = append(ours, fmt.Sprintf("%x %d bytes %d => %d @ %d, %d references, flags %#x", e.SHA1, e.OriginalSize, e.OriginalSize, e.Size, e.Offset, e.References, e.Flags))
		case e.OriginalSize == SolidSize:
			where := fmt.Sprintf("%d bytes @ offset %d", e.Size, e.Offset)
			found := regexp.MustCompile(`= (\d+) => ` + where + "\n").FindStringSubmatch(blobs)
			if found == nil {
				t.Fatalf("no solid resource of %s", where)
			}
			size, _ := strconv.ParseInt(found[1], 10, 64)
			before[where] = unpacked
			unpacked += size
		default:
			ours = append(ours, fmt.Sprintf("%x %d bytes, solid, at %d, %d references", e.SHA1, e.Size, e.Offset, e.References))
		}
	}
	for text := range strings.SplitSeq(strings.TrimSpace(blobs), "\n\n") {
		field := map[string]string{}
		for line := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(line, "=")
			field[strings.TrimSpace(name)] = strings.TrimSpace(strings.TrimSuffix(value, " bytes"))
		}
		sha := strings.TrimPrefix(field["Hash"], "0x")
		flags := 0
		for name, v := range map[string]int{"COMPRESSED": 4, "METADATA": 2, "FREE": 1, "SPANNED": 8} {
			if strings.Contains(field["Flags"], name) {
				flags |= v
			}
		}
		if field["Part Number"] != strconv.Itoa(int(f.Part)) {
			t.Errorf("a blob of part %s", field["Part Number"])
		}
		if strings.Contains(field["Flags"], "SOLID") {
			_, where, _ := strings.Cut(field["Solid resource"], "=> ")
			from, ok := before[where]
			if !ok {
				t.Errorf("no solid resource of %s", where)
			}
			at, _ := strconv.ParseInt(field["Solid offset"], 10, 64)
			theirs = append(theirs, fmt.Sprintf("%s %s bytes, solid, at %d, %s references", sha, field["Uncompressed size"], from+at, field["Reference Count"]))
			continue
		}
		theirs = append(theirs, fmt.Sprintf("%s %s bytes %s => %s @ %s, %s references, flags %#x", sha, field["Uncompressed size"],
			field["Uncompressed size"], field["Compressed size"], field["Offset in WIM"], field["Reference Count"], flags))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("lookup table\n%s\nwant\n%s", strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
	}
}

func TestWimlibSplit(t *testing.T) {
	w := newWimlib(t)
	w.trees(t)
	for _, args := range [][]string{{"--compress=LZX", "--check", "--boot"}, {"--compress=LZX", "--pipable"}} {
		w.capture(t, "whole.wim", args...)
		w.run(t, "split", "whole.wim", "part.swm", "0.6")
		names, err := filepath.Glob(w.path("part*.swm"))
		if err != nil || len(names) < 3 {
			t.Fatal(names, err)
		}
		var guid [16]byte
		var total int
		for i := range names {
			name := "part.swm"
			if i > 0 {
				name = fmt.Sprintf("part%d.swm", i+1)
			}
			b := w.read(t, name)
			f := mustOpen(t, b)
			if !f.Split() || int(f.Part) != i+1 || int(f.Parts) != len(names) || i > 0 && f.GUID != guid {
				t.Errorf("%s: part %d of %d, GUID %x", name, f.Part, f.Parts, f.GUID)
			}
			guid = f.GUID
			w.compare(t, name, f, b)
			entries, err := f.Lookup()
			if err != nil {
				t.Error(err)
			}
			total += len(entries)
			if err := f.VerifyIntegrity(t.Context(), nil); err != nil && !errors.Is(err, ErrNoIntegrity) {
				t.Error(err)
			}
			if err := os.Remove(w.path(name)); err != nil {
				t.Fatal(err)
			}
		}
		whole := mustOpen(t, w.read(t, "whole.wim"))
		if entries, err := whole.Lookup(); err != nil || len(entries) != total || whole.Split() {
			t.Errorf("the whole has %d resources, its parts %d: %v", len(entries), total, err)
		}
	}
}

// TestWimlibDamage flips bytes: what the integrity table covers both refuse, the rest neither.
func TestWimlibDamage(t *testing.T) {
	w := newWimlib(t)
	w.trees(t)
	good := w.capture(t, "good.wim", "--compress=LZX", "--check")
	f := mustOpen(t, good)
	end := int(f.Header.Lookup.Offset + f.Header.Lookup.Size)
	for _, at := range []int{208, 1000, end / 2, int(f.Header.Lookup.Offset), end - 1, int(f.Header.Integrity.Offset) + 12, 200, end + 20} {
		b := slices.Clone(good)
		b[at] ^= 0x40
		if err := os.WriteFile(w.path("flipped.wim"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		_, theirs := w.try("info", "flipped.wim", "--check")
		opened, _, ours := use(t, b)
		if opened == nil && errors.Is(ours, ErrDamaged) != (theirs != nil) || opened != nil && theirs == nil {
			t.Errorf("byte %d of %d flipped: opened %v, integrity %v; wimlib says %v", at, len(b), opened, ours, theirs)
		}
		if covered := at != 200 && at != end+20; covered != (ours != nil) {
			t.Errorf("byte %d flipped: %v", at, ours)
		}
	}
	// Servicing keeps the table right.
	w.run(t, "update", "good.wim", "1", "--check", "--command=add two /more")
	if err := mustOpen(t, w.read(t, "good.wim")).VerifyIntegrity(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if images := mustOpen(t, w.read(t, "good.wim")).Images; images[0].Modified.Before(images[0].Created) || images[0].TotalBytes <= f.Images[0].TotalBytes {
		t.Errorf("%+v", images)
	}
}
