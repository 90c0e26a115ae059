package bootimage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What the start files are given. Neither line is as long as the 250 characters that winpeshl.ini allows a command.
const (
	scriptPath = `%SYSTEMDRIVE%\wimcast\start.cmd`
	// withInit has start.cmd run wpeinit first, where the start file doesn't do so before it.
	withInit  = " " + initProgram
	callLine  = "call " + scriptPath
	shellLine = `%SYSTEMROOT%\System32\cmd.exe, /c ` + scriptPath

	initProgram = "wpeinit"
)

// editStartnet has a startnet.cmd run start.cmd: after wpeinit, or at its beginning where it doesn't run that, wpeinit
// included. All other bytes stay. It returns the line as well.
func editStartnet(b []byte) (edited []byte, line string, err error) {
	t, err := parseText(b)
	if err != nil {
		return nil, "", err
	}
	if len(t.mark) > 0 {
		return nil, "", errors.New("it begins with a byte order mark, and cmd.exe takes that for a part of its first command; save it as ANSI first")
	}
	at, line := 0, callLine+withInit
	if i := slices.IndexFunc(t.all(), runsInit); i >= 0 {
		at, line = i+1, callLine
	} else if len(t.lines) > 0 && strings.EqualFold(t.line(0), "@echo off") {
		at = 1
	}
	t.insert(at, line)
	return t.bytes(), line, nil
}

// all returns the lines for comparing.
func (t *text) all() []string {
	lines := make([]string, len(t.lines))
	for i := range lines {
		lines[i] = t.line(i)
	}
	return lines
}

// runsInit reports whether a line of a script runs wpeinit, whatever comes behind that. A line that goes on in the next one
// is no such line: nothing can be put between.
func runsInit(line string) bool {
	if strings.HasSuffix(line, "^") {
		return false
	}
	words := strings.FieldsFunc(strings.TrimLeft(line, "@"), func(r rune) bool { return r == ' ' || r == '\t' || r == '&' })
	if len(words) > 0 && strings.EqualFold(words[0], "call") {
		words = words[1:]
	}
	return len(words) > 0 && isInit(words[0])
}

// isInit reports whether a program is wpeinit.
func isInit(program string) bool {
	program = strings.ToLower(strings.Trim(strings.TrimSpace(program), `"`))
	if i := strings.LastIndexAny(program, `\/`); i >= 0 {
		program = program[i+1:]
	}
	return strings.TrimSuffix(program, ".exe") == initProgram
}

// entry is a program that a winpeshl.ini runs.
type entry struct {
	line    int
	program string
	single  bool // AppPath of [LaunchApp]
}

// shellEntries finds what a winpeshl.ini runs, in order, and the line of each section's header.
func shellEntries(t *text) (entries []entry, headers map[string]int) {
	const app, apps = "[launchapp]", "[launchapps]"
	headers = map[string]int{}
	section := ""
	for i, line := range t.all() {
		switch key, value, _ := strings.Cut(line, "="); {
		case line == "" || line[0] == ';':
		case line[0] == '[':
			section = strings.ToLower(line)
			if _, there := headers[section]; !there {
				headers[section] = i
			}
		case section == apps:
			program, _, _ := strings.Cut(line, ",")
			entries = append(entries, entry{line: i, program: program})
		case section == app && strings.EqualFold(strings.TrimSpace(key), "AppPath"):
			entries = append(entries, entry{line: i, program: value, single: true})
		}
	}
	return entries, headers
}

// errNoPrograms says that a winpeshl.ini has nothing that could be gone before.
var errNoPrograms = errors.New("it has no program in [LaunchApps] or [LaunchApp], so nobody can say what it starts")

// editShell has a winpeshl.ini run start.cmd before the last program that it runs, or after that where it is wpeinit. Programs of
// both sections run in the order of their lines, each when the one before has ended (Microsoft, "Winpeshl.ini
// Reference"). All other bytes stay.
func editShell(b []byte) (edited []byte, line string, err error) {
	t, err := parseText(b)
	if err != nil {
		return nil, "", err
	}
	entries, headers := shellEntries(t)
	if len(entries) == 0 {
		return nil, "", errNoPrograms
	}
	last := entries[len(entries)-1]
	before := entries[:len(entries)-1]
	at := last.line
	if isInit(last.program) {
		before, at = entries, last.line+1
	}
	line = shellLine
	if !slices.ContainsFunc(before, func(e entry) bool { return isInit(e.program) }) {
		line += withInit
	}
	apps, hasApps := headers["[launchapps]"]
	switch header := headers["[launchapp]"]; {
	case !last.single:
		t.insert(at, line)
	case isInit(last.program) && hasApps && apps > header:
		t.insert(apps+1, line)
	case isInit(last.program):
		t.insert(len(t.lines), "[LaunchApps]", line)
	case hasApps && apps < header:
		// Behind the last program of [LaunchApps], which stands before [LaunchApp].
		at = apps + 1
		for _, e := range before {
			at = max(at, e.line+1)
		}
		t.insert(at, line)
	default:
		t.insert(header, "[LaunchApps]", line)
	}
	return t.bytes(), line, nil
}

// makeShell makes a winpeshl.ini for installation media, which start Setup where there is none.
func makeShell(setup string) (made []byte, line string) {
	line = shellLine + withInit
	lines := []string{"[LaunchApps]", line, "%SYSTEMDRIVE%" + strings.ReplaceAll(setup, "/", `\`)}
	return []byte(strings.Join(lines, "\r\n") + "\r\n"), line
}

// withoutLine takes the lines of ours out of a start file that somebody changed meanwhile.
func withoutLine(b []byte) ([]byte, error) {
	t, err := parseText(b)
	if err != nil {
		return nil, err
	}
	kept := t.lines[:0:0]
	for i := range t.lines {
		if !strings.Contains(strings.ToLower(t.line(i)), strings.ToLower(scriptPath)) {
			kept = append(kept, t.lines[i])
		}
	}
	t.lines = kept
	return t.bytes(), nil
}

// script returns start.cmd, which runs the client with some options. It ends with the exit code of that.
func script(options []string, drivers bool) ([]byte, error) {
	var out bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\r\n", args...) }
	line("@echo off")
	line("rem Written by wimcast winpe inject, anew each time: change nothing here.")
	line(`if /i "%%~1"=="%s" %s`, initProgram, initProgram)
	if drivers {
		line(`for /r "%%~dp0%s" %%%%i in (*.inf) do drvload "%%%%i"`, driversName)
		line("wpeutil InitializeNetwork")
	}
	line("rem The group's packets come from a port that was never spoken to.")
	line("wpeutil DisableFirewall")
	run := []string{fmt.Sprintf(`"%%~dp0%s" winpe run --bundle "%%~dp0%s"`, programName, bundleName)}
	for _, option := range options {
		quoted, err := quoteCmd(option)
		if err != nil {
			return nil, err
		}
		run = append(run, quoted)
	}
	line("%s", strings.Join(run, " "))
	line("exit /b %%errorlevel%%")
	return out.Bytes(), nil
}

// quoteCmd makes one argument of a word, in a script of cmd.exe.
func quoteCmd(word string) (string, error) {
	for _, r := range word {
		if r < ' ' || r > '~' {
			return "", fmt.Errorf("%q can't stand in a start script: cmd.exe reads those in a code page that depends on the image's language; next: name it in ASCII", word)
		}
	}
	if strings.Contains(word, `"`) {
		return "", fmt.Errorf("%q can't stand in a start script: it has a quote in it; next: leave that out", word)
	}
	// A backslash before the closing quote would take that for a part of the word.
	bare := strings.TrimRight(word, `\`)
	return `"` + strings.ReplaceAll(word, "%", "%%") + word[len(bare):] + `"`, nil
}
