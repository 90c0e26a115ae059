package test

import (
	"bytes"
	"debug/pe"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// The program for Windows runs in a bare Windows PE: no optional component, no WMI, .NET or PowerShell, no COM. What it can call is
// in the binary; here that is held against a list.

// bareDLLs are the libraries that it may call: each is in Windows PE without any optional component.
var bareDLLs = map[string]string{
	"kernel32.dll":         "the one import: files, processes, memory; no program runs without it",
	"ntdll.dll":            "what kernel32 stands on",
	"bcryptprimitives.dll": "Go's random numbers (ProcessPrng); TLS of Windows PE itself uses it",
	"powrprof.dll":         "Go's runtime asks to be told of sleep, and goes on without it",
	"winmm.dll":            "Go's runtime loads it only before Windows 10 1803, for its clock's resolution",
	"advapi32.dll":         "registry and the own token; wpeinit can't do without",
	"ws2_32.dll":           "sockets; net use and wpeutil InitializeNetwork need them",
	"mswsock.dll":          "the providers of ws2_32, which loads it itself",
	"iphlpapi.dll":         "the list of network interfaces; ipconfig stands on it",
	"crypt32.dll":          "Go's crypto/x509 looks there for roots when it is given none; every certificate here is held against the bundle's",
	"secur32.dll":          "the own user's name; net use needs it for its logon",
	"userenv.dll":          "the environment of a program that is started; setupapi needs it",
	"setupapi.dll":         "devices and drivers; drvload stands on it",
	"cfgmgr32.dll":         "devices; setupapi stands on it",
}

// namedDLLs only stand in tables of golang.org/x/sys/windows, which load a library when its first function is called. None of their
// functions is in the program: TestWinPEBareCalls.
var namedDLLs = []string{
	"dnsapi.dll", "dwmapi.dll", "netapi32.dll", "ole32.dll", "psapi.dll", "sechost.dll", "shell32.dll", "user32.dll",
	"version.dll", "wintrust.dll", "wtsapi32.dll", "nsi.dll", "uxtheme.dll",
}

// strangers are the traces of what a bare Windows PE hasn't got.
var strangers = []string{
	`root\cimv2`, "winmgmts", "wbemprox", "wbemcli", "IWbem", "wmic.exe", "powershell", "pwsh.exe", "mscoree", "mscorlib", "clrjit",
	"oleaut32", "CoCreateInstance", "Scripting.FileSystemObject", "WScript.Shell",
}

var dllName = regexp.MustCompile(`(?i)\.dll`)

// foreign returns the names of libraries in a binary that aren't known, with what stands before them: Go keeps its strings without
// anything between.
func foreign(binary []byte) []string {
	var known []string
	for name := range bareDLLs {
		known = append(known, name)
	}
	known = append(known, namedDLLs...)
	var unknown []string
	for _, at := range dllName.FindAllIndex(binary, -1) {
		tail := bytes.ToLower(binary[max(0, at[0]-40):at[1]])
		before := tail[len(tail)-5]
		if !(before >= 'a' && before <= 'z' || before >= '0' && before <= '9' || before == '_' || before == '-') {
			continue // ".dll" alone: what is added to a name
		}
		if !slices.ContainsFunc(known, func(name string) bool { return bytes.HasSuffix(tail, []byte(name)) }) && !isSymbol(tail) {
			unknown = append(unknown, string(tail))
		}
	}
	return unknown
}

// isSymbol reports whether it is the name of a Go type, such as windows.DLL, and no library's.
func isSymbol(tail []byte) bool {
	return slices.ContainsFunc([]string{"windows.dll", "syscall.dll", "call.dll"}, func(name string) bool { return bytes.HasSuffix(tail, []byte(name)) })
}

// narrow returns what a binary has as UTF-16, as ASCII.
func narrow(binary []byte) []byte {
	var out []byte
	for i := 0; i+1 < len(binary); i += 2 {
		if binary[i+1] == 0 {
			out = append(out, binary[i])
		} else {
			out = append(out, '\n')
		}
	}
	return out
}

// contents returns what a program has, but for what debuggers read: that is compressed, and one binary in a hundred has by chance what
// looks like a name in it.
func contents(t *testing.T, f *pe.File) []byte {
	t.Helper()
	var all []byte
	for _, s := range f.Sections {
		if strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			continue
		}
		b, err := s.Data()
		if err != nil {
			t.Fatalf("section %s: %v", s.Name, err)
		}
		all = append(all, b...)
	}
	return all
}

func windowsBinaries(t *testing.T) map[string]string {
	t.Helper()
	dist, err := windowsDist()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"amd64": filepath.Join(dist, "wimcast.exe"), "arm64": filepath.Join(dist, "wimcast-arm64.exe")}
}

// TestWinPEBareNames: every name of a library in the program is known, and nothing in it speaks of what Windows PE hasn't got.
func TestWinPEBareNames(t *testing.T) {
	t.Parallel()
	for arch, file := range windowsBinaries(t) {
		f, err := pe.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.ImportedSymbols()
		binary := contents(t, f)
		_ = f.Close()
		if err != nil || len(symbols) == 0 {
			t.Fatalf("%s: %d imports, %v", arch, len(symbols), err)
		}
		for _, s := range symbols {
			if _, library, _ := strings.Cut(s, ":"); !strings.EqualFold(library, "kernel32.dll") {
				t.Errorf("%s imports %s: Windows would refuse to start it where that isn't there", arch, s)
			}
		}
		views := map[string][]byte{"its bytes": binary, "UTF-16": narrow(binary), "UTF-16 at odd places": narrow(binary[1:])}
		for view, text := range views {
			if unknown := foreign(text); len(unknown) > 0 {
				t.Errorf("%s, %s: names of libraries that aren't on the list: %q", arch, view, unknown)
			}
			lower := bytes.ToLower(text)
			for _, s := range strangers {
				if i := bytes.Index(lower, []byte(strings.ToLower(s))); i >= 0 {
					t.Errorf("%s, %s: there is %q: ...%q", arch, view, s, lower[max(0, i-30):min(len(lower), i+50)])
				}
			}
		}
		if n := len(dllName.FindAllIndex(binary, -1)); n < 10 || !bytes.Contains(views["UTF-16"], []byte("ntdll.dll")) && !bytes.Contains(views["UTF-16 at odd places"], []byte("ntdll.dll")) {
			t.Errorf("%s: %d names found: the search is broken", arch, n)
		}
	}
	for text, want := range map[string]int{"xyzkernel32.dll": 0, "evil.dll": 1, "name + .dll": 0, "KERNEL32.DLL": 0, "wbem\\fastprox.dll": 1, "windows.DLL": 0} {
		if got := foreign([]byte(text)); len(got) != want {
			t.Errorf("%q: %q: the test can't tell", text, got)
		}
	}
}

// wrappers are packages whose functions call libraries by tables: a function counts only where the program has it.
var wrappers = []string{"syscall", "internal/syscall/windows", "internal/syscall/windows/registry", "golang.org/x/sys/windows", "golang.org/x/sys/windows/registry"}

// TestWinPEBareCalls: of the libraries in the tables of wrappers the program has only functions that call one of the list; and
// no other package names a library that isn't on it.
func TestWinPEBareCalls(t *testing.T) {
	t.Parallel()
	for arch, file := range windowsBinaries(t) {
		alive := functions(t, file)
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}\t{{.Dir}}\t{{range .GoFiles}}{{.}} {{end}}", "../cmd/wimcast")
		list.Env = append(os.Environ(), "GOOS=windows", "GOARCH="+arch, "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		called := map[string][]string{}
		for line := range strings.Lines(string(out)) {
			parts := strings.Split(strings.TrimSpace(line), "\t")
			if len(parts) != 3 {
				continue
			}
			wraps := slices.Contains(wrappers, parts[0])
			var trees []*ast.File
			for name := range strings.FieldsSeq(parts[2]) {
				text, err := os.ReadFile(filepath.Join(parts[1], name))
				if err != nil {
					t.Fatal(err)
				}
				if !wraps && !dllName.Match(text) {
					continue
				}
				tree, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
				if err != nil {
					t.Fatal(err)
				}
				trees = append(trees, tree)
			}
			switch {
			case wraps:
				callsIn(trees, parts[0], alive, called)
			case parts[0] != "runtime": // writes them letter by letter: TestWinPEBareNames sees those
				namesIn(trees, parts[0], called)
			}
		}
		for _, library := range slices.Sorted(maps.Keys(called)) {
			if bareDLLs[library] == "" {
				t.Errorf("%s calls %s (%s): a bare Windows PE may not have it; put it on the list with the reason why it has, or do without", arch, library, strings.Join(called[library], ", "))
			}
		}
		if len(called["ws2_32.dll"]) == 0 || len(called["iphlpapi.dll"]) == 0 || called["bcryptprimitives.dll"] == nil {
			t.Errorf("%s: no sockets, no interfaces or no random numbers among %v: the search is broken", arch, slices.Sorted(maps.Keys(called)))
		}
	}
}

// functions returns the names of the functions that a program has.
func functions(t *testing.T, file string) map[string]bool {
	t.Helper()
	f, err := pe.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	alive := map[string]bool{}
	for _, s := range f.Symbols {
		alive[s.Name] = true
	}
	if !alive["main.main"] {
		t.Fatalf("%s has no table of symbols", file)
	}
	return alive
}

// callsIn adds the libraries that functions of a package call, those that the program has, by the tables in it: modX is a library,
// procY one of its functions.
func callsIn(trees []*ast.File, pkg string, alive map[string]bool, called map[string][]string) {
	modules, procs := map[string]string{}, map[string]string{}
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, value := range spec.Values {
				name := spec.Names[i].Name
				if library := literal(value); strings.HasSuffix(library, ".dll") {
					modules[name] = library
				}
				call, ok := value.(*ast.CallExpr)
				if !ok {
					continue
				}
				if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "NewProc" {
					if module, ok := method.X.(*ast.Ident); ok {
						procs[name] = module.Name
					}
				}
			}
			return true
		})
	}
	for _, tree := range trees {
		for _, decl := range tree.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil || !alive[pkg+"."+f.Name.Name] {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if ident, ok := n.(*ast.Ident); ok && procs[ident.Name] != "" {
					library := modules[procs[ident.Name]]
					called[library] = append(called[library], f.Name.Name)
				}
				return true
			})
		}
	}
}

// namesIn adds every library that a package names in code.
func namesIn(trees []*ast.File, pkg string, called map[string][]string) {
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool {
			if e, ok := n.(*ast.BasicLit); ok {
				if library := literal(e); strings.HasSuffix(library, ".dll") && len(library) > len(".dll") && !strings.ContainsAny(library, " %") {
					called[library] = append(called[library], pkg)
				}
			}
			return true
		})
	}
}

// literal returns the first string in an expression, in lower case.
func literal(e ast.Expr) (text string) {
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && text == "" {
			text, _ = strconv.Unquote(l.Value)
		}
		return text == ""
	})
	return strings.ToLower(text)
}

// TestWinPEBareFindsWide: a name in UTF-16 is found wherever it stands.
func TestWinPEBareFindsWide(t *testing.T) {
	for pad := range 2 {
		text := []byte("_")[:pad]
		for _, unit := range utf16.Encode([]rune("x powershell.exe evil.dll")) {
			text = append(text, byte(unit), byte(unit>>8))
		}
		if got := narrow(text[pad:]); !bytes.Contains(got, []byte("powershell")) || len(foreign(got)) != 1 {
			t.Errorf("%d: %q", pad, got)
		}
	}
}
