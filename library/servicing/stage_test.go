package servicing

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// applied applies an update to a WIM of one image with an executor.
func applied(t *testing.T, e executor, wimFile string, content []byte, u Update) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "package")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return e.apply(t.Context(), &target{file: wimFile, index: 1, scratch: t.TempDir()}, &u, file)
}

// reader returns what reads files of a WIM's first image.
func reader(t *testing.T, file string) func(path string) string {
	return func(path string) string {
		t.Helper()
		b, err := readImage(t.Context(), &target{file: file, index: 1}, path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

// TestOverlay: folders stay with what is in them, files are replaced, whatever the case of their names.
func TestOverlay(t *testing.T) {
	file := windows(t, map[string]string{"Windows/System32/a.dll": "old", "Windows/System32/b.dll": "stays", "Windows/explorer.exe": "stays"})
	text, err := applied(t, overlayExecutor{}, file, tree(map[string]string{"windows/system32/A.DLL": "new", "Drivers/net/net.inf": "driver", "Empty/": ""}), Update{ID: "o", Kind: Overlay})
	if err != nil || text != "2 files of 9 bytes put into the image" {
		t.Errorf("%q, %v", text, err)
	}
	read := reader(t, file)
	for path, want := range map[string]string{
		"/Windows/System32/a.dll": "new", "/Windows/System32/b.dll": "stays", "/Windows/explorer.exe": "stays", "/Drivers/net/net.inf": "driver", "/Windows/System32/c.dll": "",
	} {
		if got := read(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestStage: packages are in their places, in their order, the answer file has the schema that servicing reads, and
// what SetupComplete.cmd did before it still does.
func TestStage(t *testing.T) {
	needs(t, "cabextract")
	old := "@echo off\r\necho mine\r\nexit /b 0\r\n"
	file := windows(t, map[string]string{"Windows/Setup/Scripts/setupcomplete.cmd": old})
	read := reader(t, file)
	id := func(kb, version string) *Identity {
		return &Identity{"Package_for_" + kb, version, "amd64", "31bf3856ad364e35", "neutral"}
	}
	for _, c := range []struct {
		content []byte
		update  Update
		text    string
	}{
		{cabPackage("KB5000001", "10.0.1.1"), Update{ID: "KB5000001", Kind: CAB, Architecture: "x64", Identity: id("KB5000001", "10.0.1.1")}, "offline"},
		{msuPackage("KB5000002", "10.0.1.2"), Update{ID: "KB5000002", Kind: MSU, Architecture: "x64", Identity: id("KB5000002", "10.0.1.2"), Payload: "Windows11.0-KB5000002-x64.cab"}, "offline"},
		{[]byte("a newer msu"), Update{ID: "KB5000003", Kind: MSU, Architecture: "x64"}, "not offline"},
		{cabPackage("KB5000001", "10.0.1.1"), Update{ID: "KB5000001", Kind: CAB, Architecture: "x64", Identity: id("KB5000001", "10.0.1.1")}, "offline"}, // again: once in the list, now last
	} {
		text, err := applied(t, stageExecutor{}, file, c.content, c.update)
		if err != nil || !strings.Contains(text, c.text) {
			t.Fatalf("%s: %q, %v", c.update.ID, text, err)
		}
		if got := read(stageDir + "/" + c.update.Reference() + "." + string(c.update.Kind)); got != string(c.content) {
			t.Errorf("%s: the package has %d bytes in the image", c.update.ID, len(got))
		}
	}
	if got := read(stageDir + "/KB5000002-x64.cab"); got != string(cabPackage("KB5000002", "10.0.1.2")) {
		t.Errorf("the package in the msu has %d bytes in the image", len(got))
	}

	// The answer file, read as servicing would.
	text := read(stageDir + "/unattend.xml")
	var answers struct {
		XMLName  xml.Name `xml:"urn:schemas-microsoft-com:unattend unattend"`
		Packages []struct {
			Action   string           `xml:"action,attr"`
			Identity assemblyIdentity `xml:"urn:schemas-microsoft-com:unattend assemblyIdentity"`
			Source   struct {
				Location string `xml:"location,attr"`
			} `xml:"urn:schemas-microsoft-com:unattend source"`
		} `xml:"urn:schemas-microsoft-com:unattend servicing>package"`
	}
	if err := xml.Unmarshal([]byte(text), &answers); err != nil || len(answers.Packages) != 2 {
		t.Fatalf("%v in %s", err, text)
	}
	for i, want := range []string{"KB5000002", "KB5000001"} {
		p := answers.Packages[i]
		if p.Action != "install" || p.Identity.Name != "Package_for_"+want || p.Identity.Architecture != "amd64" || p.Identity.PublicKeyToken != "31bf3856ad364e35" ||
			p.Identity.Language != "neutral" || p.Source.Location != `%configsetroot%\`+want+"-x64.cab" {
			t.Errorf("%+v", p)
		}
	}

	// The scripts.
	boot := read(stageDir + "/firstboot.cmd")
	at := -1
	for _, line := range []string{
		`wusa.exe "%wimcast%\KB5000002-x64.msu" /quiet /norestart`, `wusa.exe "%wimcast%\KB5000003-x64.msu" /quiet /norestart`,
		`/Add-Package /PackagePath:"%wimcast%\KB5000001-x64.cab" /Quiet /NoRestart`,
	} {
		next := strings.Index(boot, line)
		if next <= at || strings.Count(boot, line) != 1 {
			t.Errorf("%s isn't in its place in\n%s", line, boot)
		}
		at = next
	}
	for _, name := range []string{"firstboot.cmd", "offline.cmd"} {
		if text := read(stageDir + "/" + name); strings.Count(text, "\n") != strings.Count(text, "\r\n") || !strings.HasPrefix(text, "@echo off\r\n") {
			t.Errorf("%s: %q", name, text)
		}
	}
	if got := read(setupComplete); !strings.HasSuffix(got, old) || strings.Count(got, "firstboot.cmd\"\r\n") != 1 {
		t.Errorf("SetupComplete.cmd: %q", got)
	}

	// An overlay that brings its own SetupComplete.cmd doesn't take the call away.
	if _, err := applied(t, overlayExecutor{}, file, tree(map[string]string{"windows/setup/scripts/SetupComplete.cmd": "echo theirs\r\n"}), Update{ID: "o", Kind: Overlay}); err != nil {
		t.Fatal(err)
	}
	if got := read(setupComplete); !strings.HasSuffix(got, "\r\necho theirs\r\n") || !strings.Contains(got, callFirstBoot) || strings.Contains(got, "mine") {
		t.Errorf("SetupComplete.cmd after an overlay: %q", got)
	}
}

// TestStageRefuses: what isn't understood isn't changed.
func TestStageRefuses(t *testing.T) {
	for text, files := range map[string]map[string]string{
		"isn't a plain text":         {"Windows/Setup/Scripts/SetupComplete.cmd": "\xff\xfee\x00c\x00h\x00o\x00"},
		"isn't wimcast's":            {"Windows/Setup/wimcast/updates.json": "theirs"},
		"an entry that wimcast does": {"Windows/Setup/wimcast/updates.json": `[{"file":"a\" & format c: & \".msu"}]`},
	} {
		file := windows(t, files)
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := applied(t, stageExecutor{}, file, []byte("msu"), Update{ID: "KB5000003", Kind: MSU, Architecture: "x64"}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
		if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
			t.Errorf("%s: the image was changed, %v", text, err)
		}
	}
}

func TestMergeScript(t *testing.T) {
	for _, old := range []string{"", "echo a", "@echo off\r\nexit\r\n"} {
		merged, err := mergeScript([]byte(old))
		if err != nil || !strings.HasSuffix(string(merged), old) || !strings.Contains(string(merged), callFirstBoot+"\r\n") {
			t.Errorf("%q: %q, %v", old, merged, err)
		}
		again, err := mergeScript(merged)
		if err != nil || string(again) != string(merged) {
			t.Errorf("twice: %q, %v", again, err)
		}
	}
}
