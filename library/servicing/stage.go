package servicing

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"wimcast/library/wimlib"
)

// stageExecutor puts packages into an image so that Windows' own servicing installs them on the client:
//
//	\Windows\Setup\wimcast\KB5031455-x64.msu     the packages
//	\Windows\Setup\wimcast\updates.json          what is here
//	\Windows\Setup\wimcast\unattend.xml          an answer file for the pass offlineServicing, with those of which
//	                                             the identity is known
//	\Windows\Setup\wimcast\offline.cmd           applies that with DISM, from Windows PE after the image was applied
//	\Windows\Setup\wimcast\firstboot.cmd         installs what is missing when Windows starts first
//	\Windows\Setup\Scripts\SetupComplete.cmd     calls firstboot.cmd, and then goes on with what it did before
type stageExecutor struct{}

var _ executor = stageExecutor{}

// Where a client that applies an image finds what is staged in it.
const (
	StagedDir    = "/Windows/Setup/wimcast"
	StagedAnswer = "unattend.xml" // in StagedDir
)

// Places in an image.
const (
	stageDir      = StagedDir
	setupComplete = "/Windows/Setup/Scripts/SetupComplete.cmd"
)

// maxStaged bounds the list that is read from an image.
const maxStaged = 1000

// staged is a package in an image.
type staged struct {
	File     string    `json:"file"`              // the package as it came, in stageDir
	Cabinet  string    `json:"cabinet,omitempty"` // the one that Identity is of, in stageDir
	Identity *Identity `json:"identity,omitempty"`
}

func (stageExecutor) name() string { return ExecutorStage }

func (stageExecutor) apply(ctx context.Context, t *target, u *Update, file string) (string, error) {
	if !u.Kind.IsUpdate() {
		return "", fmt.Errorf("%w: %s is an overlay, not an update", ErrUnsupported, u.ID)
	}
	list, err := readStaged(ctx, t)
	if err != nil {
		return "", err
	}
	one := staged{File: u.Reference() + "." + string(u.Kind)}
	add := []addition{{file, one.File}}
	text := "staged; Windows installs it when it starts first"
	switch {
	case u.Identity == nil:
		text += " (not offline: what servicing calls it isn't known)"
	case u.Kind == CAB:
		one.Cabinet, one.Identity = one.File, u.Identity
	default:
		cabinet, err := extractCab(ctx, file, u.Payload, t.scratch, maxUpdateSize)
		if err != nil {
			return "", err
		}
		one.Cabinet, one.Identity = u.Reference()+".cab", u.Identity
		add = append(add, addition{cabinet, one.Cabinet})
	}
	if one.Identity != nil {
		text = "staged; Windows' servicing installs it offline (offline.cmd), or when Windows starts first"
	}
	list = append(slices.DeleteFunc(list, func(o staged) bool { return o.File == one.File }), one)
	for _, made := range []struct {
		name string
		make func([]staged) ([]byte, error)
	}{{"updates.json", stagedList}, {StagedAnswer, answerFile}, {"firstboot.cmd", firstBoot}, {"offline.cmd", offline}} {
		b, err := made.make(list)
		if err != nil {
			return "", err
		}
		path := filepath.Join(t.scratch, made.name)
		if err := os.WriteFile(path, b, fileMode); err != nil {
			return "", err
		}
		add = append(add, addition{path, made.name})
	}
	commands, err := additions(add)
	if err != nil {
		return "", err
	}
	script, err := mergedSetupComplete(ctx, t)
	if err != nil {
		return "", err
	}
	if script != "" {
		commands = append(commands, script)
	}
	return text, wimlib.Update(ctx, t.file, t.index, commands...)
}

// addition is a file on its way into stageDir.
type addition struct{ from, name string }

func additions(list []addition) ([]string, error) {
	var commands []string
	for _, a := range list {
		from, err := wimlib.Quote(a.from)
		if err != nil {
			return nil, err
		}
		commands = append(commands, "add "+from+" "+stageDir+"/"+a.name)
	}
	return commands, nil
}

// readImage reads a file of an image; nil where there is none.
func readImage(ctx context.Context, t *target, path string) ([]byte, error) {
	b, err := wimlib.Read(ctx, t.file, t.index, path)
	if failed, ok := errors.AsType[*wimlib.Error](err); ok && failed.Code == wimlib.CodeNoPath {
		return nil, nil
	}
	return b, err
}

// stagedName is what names of ours look like. Images come from anywhere, and the list goes on into scripts.
var stagedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\.(?:msu|cab)$`)

func readStaged(ctx context.Context, t *target) ([]staged, error) {
	b, err := readImage(ctx, t, stageDir+"/updates.json")
	if err != nil || b == nil {
		return nil, err
	}
	var list []staged
	if err := json.Unmarshal(b, &list); err != nil || len(list) > maxStaged {
		return nil, fmt.Errorf("%s/updates.json in the image isn't wimcast's; next: remove that folder from the image", stageDir)
	}
	for _, s := range list {
		good := stagedName.MatchString(s.File) && (s.Cabinet == "" || stagedName.MatchString(s.Cabinet))
		if i := s.Identity; i != nil {
			for _, part := range []string{i.Name, i.Version, i.Architecture, i.PublicKeyToken, i.Language} {
				good = good && identityForm.MatchString(part)
			}
		}
		if !good {
			return nil, fmt.Errorf("%s/updates.json in the image has an entry that wimcast doesn't write; next: remove that folder from the image", stageDir)
		}
	}
	return list, nil
}

func stagedList(list []staged) ([]byte, error) { return json.MarshalIndent(list, "", "  ") }

// The answer file, as "Unattended Windows Setup Reference" has it: the section servicing is for the pass offlineServicing.
type (
	unattend struct {
		XMLName  xml.Name          `xml:"urn:schemas-microsoft-com:unattend unattend"`
		Packages []unattendPackage `xml:"servicing>package"`
	}
	unattendPackage struct {
		Action   string `xml:"action,attr"`
		Identity struct {
			Name           string `xml:"name,attr"`
			Version        string `xml:"version,attr"`
			Architecture   string `xml:"processorArchitecture,attr"`
			PublicKeyToken string `xml:"publicKeyToken,attr"`
			Language       string `xml:"language,attr"`
		} `xml:"assemblyIdentity"`
		Source struct {
			Location string `xml:"location,attr"`
		} `xml:"source"`
	}
)

// answerFile makes unattend.xml. Places are relative to %configsetroot%, as in the answer files of Microsoft's own packages:
// which drive the image is on when it is serviced isn't known here.
func answerFile(list []staged) ([]byte, error) {
	var u unattend
	for _, s := range list {
		if s.Identity == nil {
			continue
		}
		p := unattendPackage{Action: "install"}
		p.Identity.Name, p.Identity.Version, p.Identity.Architecture = s.Identity.Name, s.Identity.Version, s.Identity.Architecture
		p.Identity.PublicKeyToken, p.Identity.Language = s.Identity.PublicKeyToken, s.Identity.Language
		p.Source.Location = `%configsetroot%\` + s.Cabinet
		u.Packages = append(u.Packages, p)
	}
	b, err := xml.MarshalIndent(u, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(append([]byte(`<?xml version="1.0" encoding="utf-8"?>`+"\n"), b...), '\n'), nil
}

// batch makes a script of lines.
func batch(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

// firstBoot makes the script that installs everything in its order. What is installed already says so and ends at once.
func firstBoot(list []staged) ([]byte, error) {
	lines := []string{
		"@echo off",
		"rem Made by wimcast: installs the updates that were staged into this image.",
		`set wimcast=%WINDIR%\Setup\wimcast`,
		`set log=%wimcast%\firstboot.log`,
	}
	for _, s := range list {
		lines = append(lines, fmt.Sprintf(`echo %%DATE%% %%TIME%% %s>>"%%log%%"`, s.File))
		if strings.HasSuffix(s.File, ".cab") {
			lines = append(lines, fmt.Sprintf(`dism.exe /Online /Add-Package /PackagePath:"%%wimcast%%\%s" /Quiet /NoRestart`, s.File))
		} else {
			lines = append(lines, fmt.Sprintf(`start "" /wait wusa.exe "%%wimcast%%\%s" /quiet /norestart`, s.File))
		}
		lines = append(lines, `echo ended with %ERRORLEVEL%>>"%log%"`)
	}
	return batch(append(lines, "exit /b 0")...), nil
}

// offline makes the script for Windows PE. It services the drive that it lies on.
func offline([]staged) ([]byte, error) {
	return batch(
		"@echo off",
		"rem Made by wimcast: run it in Windows PE, after the image was applied and before Windows starts.",
		`if /i "%~d0"=="%SystemDrive%" echo this is the running Windows; run it in Windows PE & exit /b 1`,
		"set configsetroot=%~dp0.",
		`if not exist "%~dp0scratch" mkdir "%~dp0scratch"`,
		`dism.exe /Image:%~d0\ /ScratchDir:"%~dp0scratch" /Apply-Unattend:"%~dp0unattend.xml"`,
	), nil
}

// callFirstBoot is the line in SetupComplete.cmd by which it is known again.
const callFirstBoot = `if exist "%WINDIR%\Setup\wimcast\firstboot.cmd" call "%WINDIR%\Setup\wimcast\firstboot.cmd"`

// mergedSetupComplete returns the command that makes SetupComplete.cmd call firstboot.cmd first; "" where it does already.
func mergedSetupComplete(ctx context.Context, t *target) (string, error) {
	old, err := readImage(ctx, t, setupComplete)
	if err != nil {
		return "", err
	}
	merged, err := mergeScript(old)
	if err != nil || bytes.Equal(merged, old) {
		return "", err
	}
	path := filepath.Join(t.scratch, "SetupComplete.cmd")
	if err := os.WriteFile(path, merged, fileMode); err != nil {
		return "", err
	}
	from, err := wimlib.Quote(path)
	if err != nil {
		return "", err
	}
	return "add " + from + " " + setupComplete, nil
}

// mergeScript puts our line before what a script does: what stands behind may end it. Everything else stays as it is.
func mergeScript(old []byte) ([]byte, error) {
	if bytes.IndexByte(old, 0) >= 0 || bytes.HasPrefix(old, []byte("\xef\xbb\xbf")) || bytes.HasPrefix(old, []byte("\xff\xfe")) {
		return nil, errors.New("SetupComplete.cmd in the image isn't a plain text, and wasn't changed; next: write it anew without a byte order mark")
	}
	for line := range bytes.Lines(old) {
		if string(bytes.TrimSpace(line)) == "@"+callFirstBoot {
			return old, nil
		}
	}
	return append(batch("@rem wimcast: updates that were staged into this image", "@"+callFirstBoot), old...), nil
}
