package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// The stories of an administrator's images: real WIMs by wimlib, a real file server, a real web server.

// noise writes a file of bytes that don't pack.
func noise(t *testing.T, name string, size int) {
	t.Helper()
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(filepath.Base(name)))).Read(b)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// imagex runs wimlib-imagex.
func (s *stage) imagex(args ...string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.ctx, "wimlib-imagex", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
	}
}

// wim captures a WIM of several images, some 3 MB each.
func (s *stage) wim(name string, images ...string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	for i, image := range images {
		from := s.t.TempDir()
		for n := range 4 {
			noise(s.t, filepath.Join(from, fmt.Sprintf("%s-%d", image, n)), 700_000+i)
		}
		what := "capture"
		if i > 0 {
			what = "append"
		}
		s.imagex(what, from, file, image, "--check")
	}
	return file
}

// add adds an image, and returns it.
func (s *stage) add(args ...string) (image api.Image) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &image, append([]string{"image", "add"}, args...)...); err != nil {
		s.t.Fatal(err)
	}
	return image
}

// stored returns the library's files, by name and time: what was written again isn't the same.
func (s *stage) stored() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	root := filepath.Join(s.daemon.Dir, "library")
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files[name] = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// notAdded runs image add, which must fail with these words and leave the library as it was.
func (s *stage) notAdded(says string, args ...string) {
	s.t.Helper()
	before := s.stored()
	out, err := s.daemon.CLI(s.ctx, append([]string{"image", "add"}, args...)...)
	switch {
	case err == nil:
		s.t.Errorf("%v was added: %s", args, out)
	case !strings.Contains(err.Error(), says):
		s.t.Errorf("%v: %v; it doesn't say %q", args, err, says)
	case strings.Contains(err.Error(), sambaPassword):
		s.t.Errorf("%v: the password is in the error: %v", args, err)
	}
	if after := s.stored(); !maps.Equal(before, after) {
		s.t.Errorf("%v: the library changed: %v, was %v", args, after, before)
	}
}

// TestImagesAdd: files of all kinds, as an administrator brings them.
func TestImagesAdd(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	two := s.wim("two.wim", "Windows 11 Pro", "Windows 11 Education")

	// The names: several images, the file's; one image, its own.
	if p := s.add(two, "--version", "1"); p.Name != "two" || len(p.Images) != 2 || !p.IntegrityChecked || p.Source != "two.wim" || p.SourceAgain != "" || p.Validated.IsZero() {
		t.Errorf("%+v", p)
	}
	one := s.wim("one.wim", "Alone")
	if p := s.add(one); p.Name != "Alone" || p.AlreadyThere {
		t.Errorf("%+v", p)
	}
	// The same file twice is stored once, under the same name and under another.
	before := len(s.stored())
	if p := s.add(one); !p.AlreadyThere {
		t.Errorf("%+v", p)
	}
	if p := s.add(one, "--name", "other"); p.AlreadyThere || p.Name != "other" {
		t.Errorf("%+v", p)
	}
	if now := len(s.stored()); now != before {
		t.Errorf("%d files became %d", before, now)
	}

	// One image of several: it goes out to clients as it stands in the library, and wimlib takes it for whole.
	education := s.add(two, "--index", "2", "--version", "2")
	if education.Name != "Windows 11 Education" || len(education.Images) != 1 || education.SourceIndex != 2 || education.Size > s.add(two, "--version", "1").Size*2/3 {
		t.Errorf("%+v", education)
	}
	if again := s.add(two, "--index", "2", "--version", "2"); !again.AlreadyThere || again.Digest != education.Digest {
		t.Errorf("%+v", again)
	}
	s.cli("deployment", "create", "education", "--image", "Windows 11 Education@2")
	g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "education", "--bundle", s.daemon.Bundle(), "--output", s.file("education"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	s.ended(g, 0)
	s.imagex("verify", s.file("education"))
	s.notAdded("--index 3: the file has 1 (Windows 11 Pro), 2 (Windows 11 Education)", two, "--index", "3")

	// ESD and pipable files are taken as they are, and marked; one image of them comes out as a plain file.
	solid, pipable := filepath.Join(s.dir, "solid.esd"), filepath.Join(s.dir, "pipable.wim")
	s.imagex("export", two, "all", solid, "--solid")
	s.imagex("export", two, "all", pipable, "--pipable")
	if p := s.add(solid); !p.Solid || p.Size != size(t, solid) || !slices.Equal(p.AppliesWith, []string{api.AppliesExport, api.AppliesWimlib}) {
		t.Errorf("%+v", p)
	}
	if p := s.add(pipable); !p.Pipable || p.Size != size(t, pipable) || !slices.Equal(p.AppliesWith, []string{api.AppliesWimlib, api.AppliesStream}) {
		t.Errorf("%+v", p)
	}
	// One image of an ESD stays solid where wimlib could copy it as it was; the mark says what it became.
	if p := s.add(solid, "--index", "1", "--name", "of solid"); p.Pipable || len(p.Images) != 1 || p.Solid != slices.Equal(p.AppliesWith, []string{api.AppliesExport, api.AppliesWimlib}) {
		t.Errorf("%+v", p)
	}
	lzms := filepath.Join(s.dir, "lzms.wim")
	s.imagex("export", two, "1", lzms, "--compress=LZMS")
	if p := s.add(lzms, "--name", "lzms"); p.Solid || !slices.Equal(p.AppliesWith, []string{api.AppliesDISM81, api.AppliesWimlib}) {
		t.Errorf("%+v", p)
	}
	if p := s.add(pipable, "--index", "1", "--name", "plain2"); p.Pipable || !slices.Equal(p.AppliesWith, []string{api.AppliesDISM, api.AppliesWimlib}) {
		t.Errorf("%+v", p)
	}
	list := s.cli("image", "list")
	for _, want := range []string{"pipable", "ESD"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list doesn't say %s:\n%s", want, list)
		}
	}
	for ref, want := range map[string]string{"solid": "dism /Export-Image", "pipable": "DISM and Windows Setup don't read it", "lzms": "DISM from Windows 8.1 on"} {
		if show := s.cli("image", "show", ref); !strings.Contains(show, want) {
			t.Errorf("%s isn't said:\n%s", want, show)
		}
	}

	// A medium, and a split set in one.
	disc := filepath.Join(s.dir, "Win11_24H2")
	if err := os.MkdirAll(filepath.Join(disc, "SOURCES"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.imagex("export", two, "all", filepath.Join(disc, "SOURCES", "Install.WIM"))
	if p := s.add(disc); p.Name != "Win11_24H2" || p.Source != "Win11_24H2/SOURCES/Install.WIM" || p.IntegrityChecked {
		t.Errorf("%+v", p)
	}
	parts := filepath.Join(s.dir, "parts")
	if err := os.Mkdir(parts, 0o700); err != nil {
		t.Fatal(err)
	}
	s.imagex("split", two, filepath.Join(parts, "install.swm"), "2")
	joined := s.add(filepath.Join(parts, "install2.swm"), "--name", "joined")
	if len(joined.Images) != 2 {
		t.Errorf("%+v", joined)
	}
	if p := s.add(parts, "--name", "joined"); !p.AlreadyThere {
		t.Errorf("%+v", p)
	}
	if err := os.Remove(filepath.Join(parts, "install3.swm")); err != nil {
		t.Fatal(err)
	}
	s.notAdded("part 3 of", parts, "--name", "halves")

	// What isn't good.
	spoilt := filepath.Join(s.dir, "spoilt.wim")
	flip(t, two, spoilt, 1_000_000)
	s.notAdded("don't match its integrity table", spoilt)
	bare, silent := filepath.Join(s.dir, "bare.wim"), filepath.Join(s.dir, "silent.wim")
	s.imagex("export", two, "all", bare)
	flip(t, bare, silent, 1_000_000)
	s.notAdded("wimlib-imagex export:", silent, "--index", "1")
	short := filepath.Join(s.dir, "short.wim")
	if err := exec.CommandContext(s.ctx, "sh", "-c", `head -c 1000000 "$1" >"$2"`, "sh", two, short).Run(); err != nil {
		t.Fatal(err)
	}
	s.notAdded("truncated WIM", short)
	s.notAdded("not a WIM file", s.programs.Client)
	s.notAdded("no such file", filepath.Join(s.dir, "none.wim"))
	s.notAdded("no installation image", s.dir)
	s.notAdded("has the SHA-256", two, "--name", "pinned", "--sha256", strings.Repeat("0", 64))
	s.notAdded("package exists", bare, "--name", "two", "--version", "1")
	s.notAdded("isn't allowed in it", bare, "--name", "a/b")
}

// TestImagesDescribe: what the XML knows of an image is shown, all of it.
func TestImagesDescribe(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	file := s.wim("media.wim", "Windows 11 Pro")
	want := []string{}
	for _, property := range []string{
		"DESCRIPTION=for schools", "DISPLAYNAME=Windows 11 for us", "FLAGS=Professional", "WINDOWS/EDITIONID=ProEdition", "WINDOWS/INSTALLATIONTYPE=Client",
		"WINDOWS/PRODUCTNAME=The Product", "WINDOWS/PRODUCTTYPE=WinNT", "WINDOWS/PRODUCTSUITE=Terminal", "WINDOWS/HAL=acpiapic", "WINDOWS/SYSTEMROOT=WINROOT",
		"WINDOWS/LANGUAGES/LANGUAGE=de-DE", "WINDOWS/LANGUAGES/DEFAULT=de-AT", "WINDOWS/VERSION/MAJOR=10", "WINDOWS/VERSION/BUILD=26100", "WINDOWS/VERSION/SPBUILD=4652", "WINDOWS/VERSION/SPLEVEL=7",
	} {
		s.imagex("info", file, "1", "--image-property", property)
		_, value, _ := strings.Cut(property, "=")
		want = append(want, value)
	}
	s.imagex("info", file, "1", "--image-property", "WINDOWS/ARCH=12")
	p := s.add(file, "--name", "media")
	i := p.Images[0]
	if i.Build != 26100 || i.ServicePackBuild != 4652 || i.ServicePackLevel != 7 || i.DefaultLanguage != "de-AT" || i.ProductType != "WinNT" || i.Files != 4 || i.Directories != 1 ||
		i.Edition != "ProEdition" || i.Flags != "Professional" || i.Architecture != "arm64" || i.TotalBytes != 2_800_000 || i.Created.IsZero() || i.Modified.IsZero() {
		t.Errorf("%+v", i)
	}
	show := s.cli("image", "show", "media")
	for _, value := range append(want, "arm64", "media.wim", "2.8 MB", "4 files", "validated") {
		if !strings.Contains(show, value) {
			t.Errorf("%s isn't shown:\n%s", value, show)
		}
	}
}

// flip copies a file with one bit flipped.
func flip(t *testing.T, from, to string, at int) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestImagesFromSamba: a network path as Windows people write it, and what can be wrong with it.
func TestImagesFromSamba(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	server := startSamba(t, s.ctx)
	two := s.wim("two.wim", "Windows 11 Pro", "Windows 11 Education")
	place := func(from, to string) {
		t.Helper()
		at := filepath.Join(server.dir, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(from, at); err != nil {
			t.Fatal(err)
		}
	}
	place(two, "w11/OS.WIM")
	place(two, "disc/Sources/Install.wim")
	sum := sha256.Sum256(read(t, two))
	want := hex.EncodeToString(sum[:])

	t.Setenv("WIMCAST_SMB_PASSWORD", sambaPassword)
	p := s.add(server.address("img", "w11/OS.WIM"), "--user", sambaUser, "--name", "w11", "--version", "7")
	if p.SHA256 != want || p.SourceAgain != "" || p.Source != `\\127.0.0.1:`+server.port+`\img\w11\OS.WIM` {
		t.Errorf("%+v", p)
	}
	if p := s.add(strings.Replace(server.address("img", "disc"), "smb://", "smb://WORKGROUP;"+sambaUser+"@", 1)); p.SHA256 != want || p.Name != "disc" ||
		!strings.HasSuffix(p.Source, `\img\disc\Sources\Install.wim`) {
		t.Errorf("%+v", p)
	}
	if p := s.add(server.address("open", "w11/OS.WIM"), "--name", "guest"); p.SHA256 != want {
		t.Errorf("%+v", p)
	}
	parts := filepath.Join(server.dir, "parts")
	if err := os.Mkdir(parts, 0o755); err != nil {
		t.Fatal(err)
	}
	s.imagex("split", two, filepath.Join(parts, "install.swm"), "2")
	joined := s.add(server.address("open", "parts/install3.swm"), "--name", "joined")
	if len(joined.Images) != 2 {
		t.Errorf("%+v", joined)
	}
	if local := s.add(filepath.Join(parts, "install.swm"), "--name", "joined"); !local.AlreadyThere {
		t.Errorf("joined here it is another file: %+v", local)
	}

	if err := os.WriteFile(filepath.Join(server.dir, "readme.wim"), []byte("read the other file first, then this one"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := server.address("img", "w11/OS.WIM")
	s.notAdded("the share has no such file", server.address("img", "w11/none.wim"), "--user", sambaUser)
	s.notAdded(`the server has no share "none"`, server.address("none", "OS.WIM"), "--user", sambaUser)
	s.notAdded("access denied: "+sambaUser+" may not read it", server.address("closed", "w11/OS.WIM"), "--user", sambaUser)
	s.notAdded("--user", file) // as a guest
	s.notAdded("takes it for a guest", file, "--user", "nobody.known")
	s.notAdded("takes it for a guest", server.address("open", "w11/OS.WIM"), "--user", "nobody.known")
	s.notAdded("not a WIM file", server.address("img", "readme.wim"), "--user", sambaUser)
	s.notAdded("server unreachable", "smb://127.0.0.1:"+freePort(t)+"/img/OS.WIM", "--user", sambaUser)
	s.notAdded("no host is called", `\\fileserver.invalid\img\OS.WIM`)
	s.notAdded("shows on screens", strings.Replace(file, "smb://", "smb://games:"+sambaPassword[:4]+"@", 1))
	t.Setenv("WIMCAST_SMB_PASSWORD", "wr0ng")
	s.notAdded("wrong user or password for "+sambaUser, file, "--user", sambaUser)
	if err := os.Unsetenv("WIMCAST_SMB_PASSWORD"); err != nil {
		t.Fatal(err)
	}
	s.notAdded("$WIMCAST_SMB_PASSWORD", file, "--user", sambaUser) // nobody to ask
	t.Setenv("WIMCAST_SMB_PASSWORD", sambaPassword)

	// It goes away when half of the file is there.
	server.dieAfter.Store(server.forwarded.Load() + size(t, two)/2)
	s.notAdded("connection broke", file, "--user", sambaUser, "--name", "half")
	s.notAdded("server unreachable", file, "--user", sambaUser, "--name", "half")
	if log := s.daemon.Log(); strings.Contains(log, sambaPassword) || strings.Contains(log, "wr0ng") {
		t.Error("a password is in the daemon's log")
	}
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// web serves a file over HTTPS, as long as it is up, and breaks connections.
type web struct {
	*httptest.Server
	ca       string
	requests atomic.Int32
	content  atomic.Pointer[[]byte]
	next     atomic.Pointer[[]byte] // takes the content's place once a connection has broken
	breakAt  atomic.Int64           // bytes of an answer after which the connection breaks; 0: never
}

func startWeb(t *testing.T, content []byte) *web {
	t.Helper()
	w := &web{}
	w.content.Store(&content)
	w.Server = httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		b := *w.content.Load()
		sum := sha256.Sum256(b)
		out.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		if n := w.breakAt.Load(); n > 0 {
			out = &broken{out, n}
			defer func() {
				if next := w.next.Load(); next != nil {
					w.content.Store(next)
				}
			}()
		}
		http.ServeContent(out, r, "os.wim", time.Time{}, bytes.NewReader(b))
	}))
	t.Cleanup(w.Close)
	w.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(w.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// broken is an answer whose connection breaks.
type broken struct {
	http.ResponseWriter
	left int64
}

// Write implements io.Writer.
func (b *broken) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestImagesFromWeb: an address, over connections that break, held against a hash.
func TestImagesFromWeb(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	b := read(t, s.wim("two.wim", "Windows 11 Pro", "Windows 11 Education"))
	server := startWeb(t, b)
	sum := sha256.Sum256(b)
	server.breakAt.Store(int64(len(b)) / 3)
	p := s.add(server.URL+"/images/os.wim?key=s3cret", "--cacert", server.ca, "--sha256", hex.EncodeToString(sum[:]), "--version", "1")
	if p.Name != "os" || p.SHA256 != hex.EncodeToString(sum[:]) || p.Source != server.URL+"/images/os.wim" {
		t.Errorf("%+v", p)
	}
	if n := server.requests.Load(); n < 3 {
		t.Errorf("%d requests, in spite of connections that break", n)
	}
	if log := s.daemon.Log(); strings.Contains(log, "s3cret") {
		t.Error("the query is in the daemon's log")
	}
	server.breakAt.Store(0)
	if p := s.add(server.URL+"/images/os.wim", "--cacert", server.ca, "--index", "1"); p.Name != "Windows 11 Pro" {
		t.Errorf("%+v", p)
	}
	s.notAdded("image 9 of a file that has 2", server.URL+"/images/os.wim", "--cacert", server.ca, "--index", "9")
	s.notAdded("has the SHA-256", server.URL+"/images/os.wim", "--cacert", server.ca, "--name", "new", "--sha256", strings.Repeat("0", 64))
	s.notAdded("--cacert", server.URL+"/images/os.wim")
	other := bytes.Clone(b)
	server.breakAt.Store(int64(len(b)) / 2)
	other[len(other)/2] ^= 1
	server.next.Store(&other)
	s.notAdded("the file was changed while it was read", server.URL+"/images/os.wim", "--cacert", server.ca, "--name", "new")
	server.Close()
	s.notAdded("server unreachable", server.URL+"/images/os.wim", "--cacert", server.ca)
}

// smallDisk is a place where the daemon has its library on a small disk of its own.
type smallDisk struct {
	rig.Place
	library string
	bytes   int64
}

// Command implements rig.Place.
func (d smallDisk) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return d.Place.Command(ctx, "unshare", append([]string{
		"--mount", "sh", "-ec",
		`mkdir -p "$1"; mount -t tmpfs -o size="$2" none "$1"; shift 2; exec "$@"`, "sh", d.library, fmt.Sprint(d.bytes), name,
	}, args...)...)
}

// TestImagesNoSpace: a full disk is told before anything is copied where that can be, and nothing is half added.
func TestImagesNoSpace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs in a namespace of its own")
	}
	s := prepare(t)
	two := s.wim("two.wim", "Windows 11 Pro", "Windows 11 Education") // 5.6 MB
	state := filepath.Join(s.dir, "server")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	place := smallDisk{rig.Loopback("server"), filepath.Join(state, "library"), 8 << 20}
	if s.daemon, err = rig.StartDaemon(s.ctx, place, s.programs, state, rig.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.daemon.Kill)
	count := func() (free uint64, packages int) {
		t.Helper()
		var status api.Status
		var list []api.Image
		if err := s.daemon.Ask(s.ctx, &list, "image", "list"); err != nil {
			t.Fatal(err)
		}
		// The library's own files can't be seen from here: what is free tells what is there.
		out, err := exec.CommandContext(s.ctx, "curl", "-sS", "--unix-socket", filepath.Join(state, "admin.sock"), "http://wimcastd/v1/status").Output()
		if err != nil {
			t.Fatal(err)
		}
		decode(t, out, &status)
		return status.Free, len(list)
	}
	free, _ := count()
	for what, args := range map[string][]string{"too large": {s.image}, "room for the file, not for its image beside it": {two, "--index", "1"}} {
		out, err := s.daemon.CLI(s.ctx, append([]string{"image", "add"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "disk full") || !strings.Contains(err.Error(), "wimcast image remove") {
			t.Errorf("%s: %s, %v", what, out, err)
		}
		if now, n := count(); now != free || n != 0 {
			t.Errorf("%s: %d bytes free, %d before; %d packages", what, now, free, n)
		}
	}
	s.add(two)
	if _, n := count(); n != 1 {
		t.Errorf("%d packages", n)
	}
}

// TestImagesValidation: damage that nobody asked about is found, told in every place, and mended where the source is known.
func TestImagesValidation(t *testing.T) {
	s := onLoopback(t, rig.Config{Top: "[validation]\nschedule = \"@every 1s\"\nrate = \"0\""})
	kept, lost := s.wim("kept.wim", "Kept"), s.wim("lost.wim", "Lost")
	mended := s.add(kept, "--keep-source", "--name", "kept", "--version", "1")
	if mended.SourceAgain != kept {
		t.Errorf("%+v", mended)
	}
	s.add(lost, "--name", "lost")
	s.cli("image", "rename", "lost", "gone")
	s.cli("image", "set", "gone", "--comment", "to be lost")
	for _, file := range []string{kept, lost} {
		h := sum(t, file)
		at := filepath.Join(s.daemon.Dir, "library", "blobs", "sha256", hex.EncodeToString(h[:]))
		flip(t, at, at, 1_000_000)
	}
	changes := func(ref string) (list []api.HistoryAction) {
		t.Helper()
		if err := s.daemon.Ask(s.ctx, &list, "history", "changes", ref); err != nil {
			t.Fatal(err)
		}
		return list
	}
	has := func(list []api.HistoryAction, action string) bool {
		return slices.ContainsFunc(list, func(a api.HistoryAction) bool { return a.Action == action })
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for !has(changes("kept"), "refill image") || !has(changes("gone"), "out of service") {
		select {
		case <-again.C:
		case <-s.ctx.Done():
			t.Fatal(context.Cause(s.ctx))
		}
	}
	var image api.Image
	if err := s.daemon.Ask(s.ctx, &image, "image", "show", "kept"); err != nil || image.OutOfService != "" || !image.Validated.After(mended.Validated) {
		t.Errorf("%+v, %v", image, err)
	}
	if err := s.daemon.Ask(s.ctx, &image, "image", "show", "gone"); err != nil || image.OutOfService == "" {
		t.Errorf("%+v, %v", image, err)
	}
	var actions []string
	for _, a := range changes("gone") {
		if a.Action != "validate image" {
			actions = append(actions, a.Action)
		}
	}
	slices.Reverse(actions)
	if got := strings.Join(actions, ", "); got != "add image, rename image, set image, out of service" {
		t.Errorf("what became of it: %s", got)
	}
	for _, want := range []string{`"msg":"package is out of service","package":"gone"`, `"msg":"content mended from where it came from","package":"kept@1"`} {
		if !strings.Contains(s.daemon.Log(), want) {
			t.Errorf("the log doesn't say %s", want)
		}
	}
	// The same file by hand brings the other back.
	if p := s.add(lost, "--name", "gone"); p.OutOfService != "" || !p.AlreadyThere {
		t.Errorf("%+v", p)
	}
	if list := changes("gone"); !has(list, "back in service") {
		t.Errorf("%+v", list)
	}
}
