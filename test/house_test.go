package test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "wimcast"

// room is one line of the house (docs/design.md): what a package may import of
// ours, and why no more.
type room struct {
	imports []string
	reason  string
}

var house = map[string]room{
	"metrics": {
		[]string{"session", "multicast", "multicast/wire", "crypto", "crypto/keyex", "library"},
		"it pulls snapshots from what counts; nothing pushes into it",
	},
	"api": {
		nil,
		"it is what goes over the admin socket; the command line on Windows speaks it too",
	},
	"api/history": {
		[]string{"api", "session", "crypto"},
		"it is a record of sessions; the protocol never reads it",
	},
	"api/reports": {
		[]string{"api", "statefile"},
		"it keeps what points say of themselves; what they shall have is plugged in",
	},
	"api/live": {
		[]string{"api", "session"},
		"it looks at sessions for those who watch; how that is written to them is the handler's",
	},
	"api/support": {nil, "it puts together what others make, and looks for secrets in it; it gathers nothing itself"},
	"api/page": {
		[]string{"api", "crypto/keyex"},
		"it shows what the API answers, which is plugged in; it knows neither sessions nor images",
	},
	"api/handler": {
		[]string{"api", "api/live", "api/support", "api/reports", "api/history", "session", "crypto", "crypto/keyex", "crypto/pin", "library", "library/deployment", "library/fleet", "library/prestage", "library/release", "library/servicing", "library/wim", "unicast/clientlog"},
		"it shows and steers the daemon's parts; only cmd knows it",
	},
	"client": {
		[]string{"client/volume", "session", "multicast", "multicast/wire", "crypto", "crypto/keyex", "library/wim"},
		"it is a machine's side of a cast; only cmd knows it",
	},
	"client/volume": {nil, "it looks at volumes"},
	"client/apply": {
		[]string{"client/volume", "library/wim", "library/wimlib", "statefile"},
		"it puts a file that is there onto a volume; it knows nothing of how that came",
	},
	"client/route": {
		[]string{"crypto/keyex"},
		"it says which server is next; it dials none, and is told what came of it",
	},
	"client/doctor": {
		[]string{"client/route", "multicast", "multicast/wire", "multicast/fault", "multicast/igmp", "crypto", "crypto/keyex"},
		"it says why a machine can't be reached; it joins no session and knows no image",
	},
	"client/machine": {
		[]string{"client/volume", "multicast/fault"},
		"it looks at a machine, and says what it sees in the words of all; it knows no server and no image",
	},
	"client/screen": {
		[]string{"session", "multicast/wire", "multicast/fault"},
		"it shows what a receiver says of itself; only cmd knows it",
	},
	"unicast": {
		[]string{"crypto", "crypto/keyex"},
		"it serves blocks of whatever cmd plugs in; only cmd knows it",
	},
	"unicast/clientlog": {
		[]string{"crypto/keyex", "statefile"},
		"it takes what machines write of themselves, and knows neither content nor sessions",
	},
	"session": {
		[]string{"multicast", "multicast/wire", "multicast/fec", "multicast/fault", "crypto"},
		"it knows neither images at rest nor the control channel: cmd plugs them in",
	},
	"library": {
		[]string{"library/release", "library/wim", "library/wimlib", "crypto", "statefile"},
		"it is images at rest, those of a site in the form in which they were released; it knows nothing of casting them",
	},
	"library/bootimage": {
		[]string{"library/wim", "library/wimlib"},
		"it changes boot images and knows neither bundles nor the library: cmd hands it what goes in",
	},
	"library/deployment": {[]string{"statefile"}, "it keeps who may have what, and holds that against packages that it is shown"},
	"library/prestage": {
		[]string{"library", "library/release"},
		"it is a release in one file; who makes releases and where they go is plugged in",
	},
	"library/fleet": {
		[]string{"library", "library/prestage", "library/registry", "library/release", "crypto", "statefile"},
		"it is the site's side of its points: it takes packages from a library to a registry, and knows no certificates",
	},
	"library/registry": {nil, "it moves blobs by their digests and knows no images"},
	"library/servicing": {
		[]string{"library/wim", "library/wimlib", "statefile"},
		"it changes images, and has them from whoever makes it; it knows no library",
	},
	"library/wimlib": {nil, "it runs a program and knows no library"},
	"library/fleet/window": {
		[]string{"library/release"},
		"it holds readers against a clock, and knows of packages their priority alone",
	},
	"library/fleet/puller": {
		[]string{"library", "library/registry", "library/release", "crypto", "statefile"},
		"it makes a point's library what its site says; of the registry it knows the errors, the way there and the hours are plugged in",
	},
	"library/validation": {
		[]string{"library", "library/source", "crypto"},
		"it looks at a library by the clock; who casts and who hears of it is plugged in",
	},
	"library/source": {
		[]string{"library/wim", "library/wimlib"},
		"it opens files elsewhere, on the machine of whoever adds them; it knows no library",
	},
	"crypto/keyex": {
		[]string{"crypto", "statefile"},
		"it carries messages without understanding them",
	},
	"multicast": {
		nil,
		"it moves bytes and knows no protocol",
	},
	"multicast/igmp":  {nil, "it hears who asks for members, and knows no group of ours"},
	"multicast/wire":  {nil, "a leaf: bytes in, structs out"},
	"multicast/fec":   {nil, "a leaf: shards in, shards out"},
	"multicast/fault": {nil, "a leaf: one sentence for each trouble"},
	"crypto":          {nil, "a leaf: keys and hashes"},
	"crypto/pin":      {nil, "it keeps PINs and counts who tries them; it knows neither channels nor certificates"},
	"library/wim":     {nil, "a leaf: a file format"},
	"statefile":       {nil, "a leaf: it writes files and knows none"},
	"deploy/grafana":  {nil, "it makes the dashboard, which knows names of metrics alone"},
	"library/release": {[]string{"crypto"}, "it is what goes through a registry: bytes in, structs out"},
}

// leaves neither log nor read clocks nor start goroutines.
var leaves = []string{"multicast/wire", "multicast/fec", "multicast/fault", "crypto", "library/wim"}

// solitary names who alone may import a package of others, tests included.
var solitary = []struct{ prefix, importer, reason string }{
	{"github.com/pion/", "crypto/keyex", "what is known of its faults is handled in one place"},
	{"github.com/prometheus/client_golang", "metrics", "names and labels are decided in one place"},
	{"github.com/klauspost/reedsolomon", "multicast/fec", "one erasure code, compared with its twin in one place"},
	{"github.com/zeebo/blake3", "crypto", "one hash of a block"},
	{"github.com/cloudsoda/", "library/source", "file servers, and what is known of the client's faults, in one place"},
	{"github.com/muesli/", "client/screen", "one screen, and what is known of consoles in one place"},
	{"modernc.org/", "api/history", "one record, and SQL in one place"},
	{"oras.land/oras-go/v2/registry/", "library/registry", "one way to registries, and what they may claim in one place"},
	{"github.com/grafana/", "deploy/grafana", "the dashboard is made in one place, and no program needs it"},
	{"github.com/chromedp/", "test/browser", "one browser for tests, and what counts against a page in one place"},
	{"filippo.io/age", "library/release", "content keys are wrapped and unwrapped in one place"},
}

// bareDownload is what the benchmark measures points against: oras alone.
const bareDownload = "test/bench/fleet"

// sheltered names what session's own code can't touch of the standard library.
var sheltered = []string{"os", "net", "net/http", "crypto/tls", "syscall"}

// source is a Go file of the module.
type source struct {
	pkg  string // path of its package within the module; "" is the root
	name string
	test bool
	file *ast.File
}

// ours reports the path within the module of an import of ours.
func ours(imported string) (string, bool) { return strings.CutPrefix(imported, module+"/") }

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, name)
		}
	}
	return paths
}

// sources parses every Go file of the module, for whatever system it is.
func sources(t *testing.T) []source {
	t.Helper()
	root := os.DirFS("..")
	files := token.NewFileSet()
	var all []source
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := name != "." && strings.HasPrefix(entry.Name(), ".")
			if hidden || entry.Name() == "testdata" || name == "tools" || name == "dist" || name == "third_party" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := path.Dir(name)
		if pkg == "." {
			pkg = ""
		}
		all = append(all, source{pkg: pkg, name: name, test: strings.HasSuffix(name, "_test.go"), file: file})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no Go files found: the walk is broken")
	}
	return all
}

func TestHouseImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports() {
			for _, rule := range solitary {
				if strings.HasPrefix(imported, rule.prefix) && s.pkg != rule.importer && s.pkg != bareDownload {
					t.Errorf("%s imports %s: only %s does: %s", s.name, imported, rule.importer, rule.reason)
				}
			}
			if s.test {
				continue // a test plugs in what it likes
			}
			own, isOurs := ours(imported)
			switch top, _, _ := strings.Cut(s.pkg, "/"); top {
			case "cmd", "test":
				continue // cmd wires everything; test stands outside
			}
			row, known := house[s.pkg]
			if !known {
				t.Errorf("%s: package %s isn't in the table of the house: add it with what it may import, and why", s.name, s.pkg)
				break
			}
			if isOurs && !slices.Contains(row.imports, own) {
				t.Errorf("%s imports %s: it may import %v: %s", s.name, imported, row.imports, row.reason)
			}
			if s.pkg == "session" && slices.Contains(sheltered, imported) {
				t.Errorf("%s imports %s: session knows neither files nor sockets; cmd plugs them in", s.name, imported)
			}
		}
	}
}

// TestHouseHasOneDirection holds the table itself: no row leads back to itself,
// session and library don't meet, and every name in it has a row.
func TestHouseHasOneDirection(t *testing.T) {
	var reach func(from string, seen map[string]bool)
	reach = func(from string, seen map[string]bool) {
		for _, to := range house[from].imports {
			if _, ok := house[to]; !ok {
				t.Errorf("%s may import %s, which has no row", from, to)
			}
			if !seen[to] {
				seen[to] = true
				reach(to, seen)
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(house)) {
		seen := map[string]bool{}
		reach(pkg, seen)
		if seen[pkg] {
			t.Errorf("%s leads back to itself", pkg)
		}
		if pkg == "session" && seen["library"] || pkg == "library" && seen["session"] {
			t.Error("session and library know each other")
		}
		if slices.Contains(leaves, pkg) && len(seen) > 0 {
			t.Errorf("leaf %s imports %v", pkg, slices.Sorted(maps.Keys(seen)))
		}
	}
}

func TestLeavesAreQuiet(t *testing.T) {
	clocks := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
	for _, s := range sources(t) {
		if s.test || !slices.Contains(leaves, s.pkg) {
			continue
		}
		for _, imported := range s.imports() {
			if imported == "log" || strings.HasPrefix(imported, "log/") || strings.HasPrefix(imported, "go.uber.org/zap") {
				t.Errorf("%s imports %s: a leaf doesn't log", s.name, imported)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a leaf doesn't start goroutines", s.name)
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: a leaf has no init", s.name)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s: time.%s: a leaf reads no clock", s.name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// home matches paths of somebody's own machine.
var home = regexp.MustCompile(`(?:^|[\s"'=(:])/(?:home|root|Users|work)/[A-Za-z0-9_.]`)

func TestNoPathsOfOwnMachines(t *testing.T) {
	list := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z", "..")
	out, err := list.Output()
	if err != nil {
		t.Skipf("not a git checkout: git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			continue // removed but not yet committed, or not text
		}
		if match := home.Find(text); match != nil {
			t.Errorf("%s holds a path of somebody's machine: %s", name, bytes.TrimSpace(match))
		}
	}
}
