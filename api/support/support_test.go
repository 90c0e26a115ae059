package support

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestKnownSecrets: in whatever form they stand, and wherever base64 of a longer text puts them.
func TestKnownSecrets(t *testing.T) {
	const secret = `hunter2"ünd\more`
	var s Scrubber
	s.Know(secret)
	s.Know("ab") // stands in every text
	for shift := range 3 {
		long := []byte(strings.Repeat("x", shift) + secret + "and what follows")
		for says, text := range map[string]string{
			"plain": "a" + secret + "b", "hex": hex.EncodeToString(long), "HEX": strings.ToUpper(hex.EncodeToString(long)), "base64": base64.StdEncoding.EncodeToString(long),
			"URL base64": base64.RawURLEncoding.EncodeToString(long), "JSON": string(quote(string(long))),
		} {
			got := string(s.Scrub([]byte(text)))
			if !strings.Contains(got, Redacted) || strings.Contains(got, "hunter2") || strings.Contains(got, hex.EncodeToString([]byte("hunter2"))) {
				t.Errorf("%s, %d: %s", says, shift, got)
			}
			if raw, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(got, Redacted, "")); err == nil && bytes.Contains(raw, []byte("hunter2")) {
				t.Errorf("%s, %d: %s", says, shift, raw)
			}
		}
	}
	if got := string(s.Scrub([]byte("ab about"))); got != "ab about" {
		t.Error(got)
	}
}

// TestShapesOfSecrets: each of them is taken out by one rule, and what a reader needs stays.
func TestShapesOfSecrets(t *testing.T) {
	var s Scrubber
	for text, want := range map[string]string{
		"a -----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY----- b":              "a [redacted] b",
		`{"text":"-----BEGIN EC PRIVATE KEY-----\nMIGH\n-----END EC PRIVATE KEY-----"}`: `{"text":"[redacted]"}`,
		"-----BEGIN PRIVATE KEY-----\nMIGH":                                             "[redacted]",
		"key AGE-SECRET-KEY-1QQQ end":                                                   "key [redacted] end",
		"open smb://ann:s3cret@fs1/img/w11.wim: no":                                     "open smb://[redacted]@fs1/img/w11.wim: no",
		`Get "https://cdn.example.org/w11.wim?sig=abc&se=1": EOF`:                       `Get "https://cdn.example.org/w11.wim?[redacted]": EOF`,
		`{"source":"https://u:p@h/x?t=1"}`:                                              `{"source":"https://[redacted]@h/x?[redacted]"}`,
		"Authorization: Bearer abc.def-ghi":                                             "Authorization: [redacted]",
		"sent Bearer abcdefghij to it":                                                  "sent Bearer [redacted] to it",
		`{"Authorization":"Basic YTpi"}`:                                                `{"Authorization":"[redacted]"}`,
		`password = "two words"`:                                                        `password = "[redacted] words"`,
		`{"password":"abc","user":"ann"}`:                                               `{"password":"[redacted]","user":"ann"}`,
		`{\"token\":\"abc\",\"user\":\"ann\"}`:                                          `{\"token\":\"[redacted]\",\"user\":\"ann\"}`,
		"wimcast get w11 --pin 12345678 --json":                                         "wimcast get w11 --pin [redacted] --json",
		"https://10.0.0.1:7601/v1/status and session s7, 100%":                          "https://10.0.0.1:7601/v1/status and session s7, 100%",
		"client pc01@lab joined; author: ann":                                           "client pc01@lab joined; author: ann",
	} {
		if got := string(s.Scrub([]byte(text))); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// TestParts: each is bounded and scrubbed, and none that fails stops the others.
func TestParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Scrubber
		s.Know("seesaw-secret")
		say := func(text string, err error) func(context.Context, io.Writer) error {
			return func(_ context.Context, w io.Writer) error {
				if _, err := io.WriteString(w, text); err != nil {
					return err
				}
				return err
			}
		}
		parts := []Part{
			{"good.txt", "good", say("all is seesaw-secret", nil)},
			{"half.txt", "half", say("half", errors.New("no more seesaw-secret"))},
			{"none.txt", "none", say("", errors.New("not there"))},
			{"large.txt", "large", func(_ context.Context, w io.Writer) error {
				for {
					if _, err := w.Write(make([]byte, 100_000)); err != nil {
						return fmt.Errorf("write: %w", err)
					}
				}
			}},
			{"panic.txt", "panic", func(context.Context, io.Writer) error { panic("oh") }},
			{"slow.txt", "slow", func(ctx context.Context, w io.Writer) error {
				_, _ = w.Write([]byte("begun"))
				<-ctx.Done()
				<-time.After(time.Minute) // it doesn't listen
				return nil
			}},
			JSON("value.json", "a value", func(context.Context) (any, error) { return map[string]string{"token": "t<>"}, nil }),
		}
		var out bytes.Buffer
		if err := Stream(t.Context(), &out, parts, &s, time.Now()); err != nil {
			t.Fatal(err)
		}
		text := out.Bytes()
		files, err := Read(bytes.NewReader(text))
		if err != nil || len(files) != len(parts) {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for i, want := range []struct {
			text, err string
			cut       bool
		}{
			{"all is [redacted]", "", false},
			{"half", "no more [redacted]", false},
			{"", "not there", false},
			{"", "", true},
			{"", "broke: oh", false},
			{"", "not done in 15s", false},
			{"{\n \"token\": \"[redacted]\"\n}\n", "", false},
		} {
			f := files[i]
			if f.Name != parts[i].Name || f.About != parts[i].About || f.Error != want.err || f.Cut != want.cut || f.Bytes != len(f.Text) {
				t.Errorf("%+v", f.Entry)
			}
			if !want.cut && string(f.Text) != want.text || want.cut && len(f.Text) != MostPart {
				t.Errorf("%s: %.200q", f.Name, f.Text)
			}
		}
		// A stream that broke off: what came is there.
		files, err = Read(bytes.NewReader(text[:1100]))
		if err == nil || len(files) != 1 || string(files[0].Text) != "all is [redacted]" {
			t.Errorf("%v, %+v", err, files)
		}
		<-time.After(2 * time.Minute) // the slow one ends
	})
}

// TestPseudonyms: the same for the same, nothing of the names is left, and what is nobody's stays.
func TestPseudonyms(t *testing.T) {
	p := NewPseudonyms()
	p.Learn([]byte(`[{"clients":[{"name":"PC01","macs":"aa:bb:cc:dd:ee:01,aa:bb:cc:dd:ee:02"},{"name":"Ann's \"box\""}],"name":"w11","serial":"SN 12/3"}]`), false)
	p.Learn([]byte("{\"client\":\"pc02\"}\n{\"host\":\"srv\"}\n"), false)
	p.Learn([]byte(`[{"name":"pc03"}]`), true)
	text := `pc01 Pc01.lab.example.org pc02, pc03. srv: ann's \"box\" SN 12/3 AA-BB-CC-DD-EE-01 aa:bb:cc:dd:ee:01 10.1.2.3:7600 10.1.2.4 10.1.3.4 ` +
		`fe80::1 2001:db8::5 239.195.16.1 127.0.0.1 0.0.0.0 255.255.255.0 ::1 4c4c4544-0031-3010-8052-b4c04f4e3232 w11 pc011 12:34:56 1.26.8 s7`
	got := p.Replace(text)
	for _, gone := range []string{"pc01 ", "Pc01", "pc02", "pc03", "srv", "box", "SN 12", "aa:bb", "AA-BB", "10.1.", "fe80", "2001:db8", "4c4c", "example"} {
		if strings.Contains(got, gone) {
			t.Errorf("%s is left in %s", gone, got)
		}
	}
	for _, stays := range []string{"239.195.16.1", "127.0.0.1", "0.0.0.0", "255.255.255.0", " ::1 ", " w11 pc011 12:34:56 1.26.8 s7", ":7600"} {
		if !strings.Contains(got, stays) {
			t.Errorf("%s isn't in %s", stays, got)
		}
	}
	words := strings.Fields(got)
	if name, _, _ := strings.Cut(words[1], "."); words[0] != name || !strings.HasPrefix(name, "name-") {
		t.Errorf("%q and %q", words[0], words[1])
	}
	a, b, c := p.Replace("10.1.2.3"), p.Replace("10.1.2.4"), p.Replace("10.1.3.4")
	net := func(s string) string { n, _, _ := strings.Cut(s, "."); return n }
	if a == b || net(a) != net(b) || net(a) == net(c) || a != p.Replace("10.1.2.3") {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if NewPseudonyms().Replace("10.1.2.3") == a {
		t.Error("another bundle has the same words")
	}
}
