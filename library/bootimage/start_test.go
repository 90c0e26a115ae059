package bootimage

import (
	"slices"
	"strings"
	"testing"
)

const (
	call  = `call %SYSTEMDRIVE%\wimcast\start.cmd`
	shell = `%SYSTEMROOT%\System32\cmd.exe, /c %SYSTEMDRIVE%\wimcast\start.cmd`
)

// TestEditStartnet: our line comes after wpeinit wherever that is run, or first with wpeinit; no other byte changes.
func TestEditStartnet(t *testing.T) {
	for before, want := range map[string]string{
		"wpeinit\r\n": "wpeinit\r\n" + call + "\r\n",
		"wpeinit":     "wpeinit\r\n" + call + "\r\n",
		"wpeinit\n":   "wpeinit\n" + call + "\n",
		"":            call + " wpeinit\r\n",
		"@echo off\r\nWPEINIT.EXE\r\necho \xe4\r\n":           "@echo off\r\nWPEINIT.EXE\r\n" + call + "\r\necho \xe4\r\n",
		"@Echo Off\r\nX:\\my.cmd\r\n":                         "@Echo Off\r\n" + call + " wpeinit\r\nX:\\my.cmd\r\n",
		"\t@call \"X:\\Windows\\System32\\wpeinit.exe\" -x\n": "\t@call \"X:\\Windows\\System32\\wpeinit.exe\" -x\n" + call + "\n",
		"wpeinit&&my.cmd\r\nrem wpeinit\r\n":                  "wpeinit&&my.cmd\r\n" + call + "\r\nrem wpeinit\r\n",
		"rem wpeinit\r\nwpeinits\r\n":                         call + " wpeinit\r\nrem wpeinit\r\nwpeinits\r\n",
		"wpeinit ^\r\n-unattend=x\r\n":                        call + " wpeinit\r\nwpeinit ^\r\n-unattend=x\r\n",
		"wpeutil InitializeNetwork\r\nwpeinit\r\nwpeinit\n":   "wpeutil InitializeNetwork\r\nwpeinit\r\n" + call + "\r\nwpeinit\n",
	} {
		got, line, err := editStartnet([]byte(before))
		if err != nil || string(got) != want {
			t.Errorf("%q became %q, %v; want %q", before, got, err, want)
		}
		if !strings.Contains(string(got), line) || line == "" {
			t.Errorf("%q: it says that %q was put in", before, line)
		}
		if back, err := withoutLine(got); err != nil || strings.TrimSuffix(string(back), "\r\n") != strings.TrimSuffix(before, "\r\n") {
			t.Errorf("%q: without our line it is %q, %v", before, back, err)
		}
	}
	for _, bad := range []string{"\xef\xbb\xbfwpeinit\r\n", "\xff\xfew\x00", "\xfe\xff\x00w", "a\x00b"} {
		if got, _, err := editStartnet([]byte(bad)); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

// TestEditShell: our line comes before the last program, after wpeinit, and in the order in which the sections run.
func TestEditShell(t *testing.T) {
	for before, want := range map[string]string{
		"[LaunchApps]\r\nwpeinit\r\nX:\\a.exe, -x\r\n":                       "[LaunchApps]\r\nwpeinit\r\n" + shell + "\r\nX:\\a.exe, -x\r\n",
		"[launchapps]\nX:\\a.exe":                                            "[launchapps]\n" + shell + " wpeinit\nX:\\a.exe",
		"[LaunchApps]\r\nX:\\a.exe\r\n%SYSTEMROOT%\\System32\\wpeinit.exe":   "[LaunchApps]\r\nX:\\a.exe\r\n%SYSTEMROOT%\\System32\\wpeinit.exe\r\n" + shell + "\r\n",
		"[LaunchApps]\r\nX:\\a.exe\r\n; X:\\b.exe\r\n\r\n[Other]\r\nx=1\r\n": "[LaunchApps]\r\n" + shell + " wpeinit\r\nX:\\a.exe\r\n; X:\\b.exe\r\n\r\n[Other]\r\nx=1\r\n",
		"[LaunchApp]\r\nAppPath = X:\\s.exe\r\n":                             "[LaunchApps]\r\n" + shell + " wpeinit\r\n[LaunchApp]\r\nAppPath = X:\\s.exe\r\n",
		"; mine\r\n[LaunchApp]\r\nAppPath=wpeinit.exe":                       "; mine\r\n[LaunchApp]\r\nAppPath=wpeinit.exe\r\n[LaunchApps]\r\n" + shell + "\r\n",
		// Both sections: the last line of a program is the last program.
		"[LaunchApp]\nAppPath=X:\\s.exe\n[LaunchApps]\nX:\\a.exe\nX:\\b.exe\n": "[LaunchApp]\nAppPath=X:\\s.exe\n[LaunchApps]\nX:\\a.exe\n" + shell + " wpeinit\nX:\\b.exe\n",
		"[LaunchApps]\nwpeinit\nX:\\b.exe\n\n[LaunchApp]\nAppPath=X:\\s.exe\n": "[LaunchApps]\nwpeinit\nX:\\b.exe\n" + shell + "\n\n[LaunchApp]\nAppPath=X:\\s.exe\n",
		"[LaunchApps]\n[LaunchApp]\nAppPath=X:\\s.exe\n":                       "[LaunchApps]\n" + shell + " wpeinit\n[LaunchApp]\nAppPath=X:\\s.exe\n",
		"[LaunchApp]\nAppPath=wpeinit\n[LaunchApps]\n; none\n":                 "[LaunchApp]\nAppPath=wpeinit\n[LaunchApps]\n" + shell + "\n; none\n",
		"\xef\xbb\xbf[LaunchApps]\r\nX:\\\xc3\xa4.exe\r\n":                     "\xef\xbb\xbf[LaunchApps]\r\n" + shell + " wpeinit\r\nX:\\\xc3\xa4.exe\r\n",
	} {
		for _, as := range []struct {
			name string
			make func(string) []byte
		}{{"bytes", func(s string) []byte { return []byte(s) }}, {"UTF-16", utf16LE}} {
			if as.name == "UTF-16" && strings.HasPrefix(before, "\xef") {
				continue
			}
			got, line, err := editShell(as.make(before))
			if err != nil || string(got) != string(as.make(want)) {
				t.Errorf("%s: %q became %q, %v; want %q", as.name, before, got, err, want)
			}
			if len(line) > 250 {
				t.Errorf("%d characters; winpeshl.ini allows 250", len(line))
			}
		}
	}
	for _, bad := range []string{"", "X:\\a.exe\r\n", "[LaunchApps]\r\n; X:\\a.exe\r\n", "[LaunchApp]\r\nX:\\a.exe\r\n", "\xff\xfe[", "\xfe\xff\x00["} {
		if got, _, err := editShell([]byte(bad)); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

func utf16LE(ascii string) []byte {
	out := slices.Clone(markUTF16)
	for _, c := range []byte(ascii) {
		out = append(out, c, 0)
	}
	return out
}

// TestTextKeepsBytes of whatever it is given, a lone half of a pair and a line break inside of another character included.
func TestTextKeepsBytes(t *testing.T) {
	for _, whole := range []string{"", "a", "\n", "a\r\n\r\nb", "\xff\xfe", "\xff\xfe\x00\xd8a\x00\n\x00", "\xff\xfe\x0a\x01\x0a\x00b\x00", "\xef\xbb\xbfa\n", "\x80\xff\r"} {
		parsed, err := parseText([]byte(whole))
		if err != nil || string(parsed.bytes()) != whole {
			t.Errorf("%q: %v", whole, err)
		}
	}
	parsed, err := parseText([]byte("\xff\xfe\x0a\x01\x0a\x00b\x00"))
	if err != nil || len(parsed.lines) != 2 {
		t.Errorf("%d lines, %v: U+010A is no line end", len(parsed.lines), err)
	}
}

// TestScript: real lines of cmd.exe, with what was asked for.
func TestScript(t *testing.T) {
	plain, err := script(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	want := "@echo off\r\n" +
		"rem Written by wimcast winpe inject, anew each time: change nothing here.\r\n" +
		"if /i \"%~1\"==\"wpeinit\" wpeinit\r\n" +
		"rem The group's packets come from a port that was never spoken to.\r\n" +
		"wpeutil DisableFirewall\r\n" +
		"\"%~dp0wimcast.exe\" winpe run --bundle \"%~dp0room.join\"\r\n" +
		"exit /b %errorlevel%\r\n"
	if string(plain) != want {
		t.Errorf("%q, want %q", plain, want)
	}
	for word, want := range map[string]string{"lab12": `"lab12"`, "50% & more": `"50%% & more"`, `a"b`: "", "a\nb": "", "ü": "", `--apply=W:\`: `"--apply=W:\\"`, `a\b`: `"a\b"`, "": `""`} {
		got, err := quoteCmd(word)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v; want %s", word, got, err, want)
		}
	}
}

// TestParseRecord: anybody may have written it, and it names what --remove writes to.
func TestParseRecord(t *testing.T) {
	for text, good := range map[string]bool{
		`{"format":"wimcast-inject-1","kind":"adk","start":"/Windows/System32/startnet.cmd"}`:       true,
		`{"format":"wimcast-inject-1","kind":"setup","start":"/windows/system32/winpeshl.ini"}`:     true,
		`{"format":"wimcast-inject-1","kind":"configmgr"}`:                                          true,
		`{"format":"wimcast-inject-1","kind":"adk","start":"/Windows/System32/config/SYSTEM"}`:      false,
		`{"format":"wimcast-inject-1","kind":"configmgr","start":"/Windows/System32/winpeshl.ini"}`: false,
		`{"format":"wimcast-inject-1","kind":"adk"}`:                                                false,
		`{"format":"wimcast-inject-2","kind":"configmgr"}`:                                          false,
		``:         false,
		`[1,2]`:    false,
		`{"kind":`: false,
	} {
		if _, err := parseRecord([]byte(text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestCheckName: what Windows can't have in a path isn't put into an image.
func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{"e1d.inf": true, "Intel(R) & Co 100%": true, "ä.sys": true, "a:b": false, `a\b`: false, "a\"": false, "a.": false, "a ": false, "a\n": false, "\xff": false, "a?": false} {
		if err := checkName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
