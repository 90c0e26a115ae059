package keyex

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func testBundle(t testing.TB) (*Bundle, []byte) {
	t.Helper()
	a := openTestAuthority(t, newClock())
	b, err := a.Issue(Request{Name: "lab12", Role: WinPE, Servers: []string{"10.1.2.3:63000", "point.example:63001", "[2001:db8::1]:63000"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b, text
}

func TestBundleRoundTrip(t *testing.T) {
	b, text := testBundle(t)
	for name, form := range map[string][]byte{
		"as written":       text,
		"Windows' lines":   bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"no comment":       bytes.TrimPrefix(text, []byte(bundleComment)),
		"blank lines":      bytes.Replace(text, []byte("role:"), []byte("\n# x\n\nrole:"), 1),
		"no last newline":  bytes.TrimRight(text, "\n"),
		"newlines at end":  append(bytes.Clone(text), "\n\n"...),
		"blank before PEM": bytes.Replace(text, []byte("-----BEGIN"), []byte("\n-----BEGIN"), 1),
	} {
		got, err := ParseBundle(form)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := got.Marshal(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%s: doesn't round trip: %v", name, err)
		}
		if got.Identity() != b.Identity() || got.ServerName != DefaultServerName || len(got.Servers) != 3 || got.Servers[1] != "point.example:63001" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	id := b.Identity()
	if id.Name != "lab12" || id.Role != WinPE || !id.NotAfter.Equal(newClock().now().Add(DefaultLifetime)) {
		t.Errorf("identity %+v", id)
	}
	credentials, err := b.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	if credentials.Expired(id.NotAfter) || !credentials.Expired(id.NotAfter.Add(time.Second)) {
		t.Error("Expired doesn't follow the certificate")
	}
}

// replace returns text with the first old replaced; a table with a typo fails.
func replace(t *testing.T, text []byte, old, by string) []byte {
	t.Helper()
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("no %q in the bundle", old)
	}
	return bytes.Replace(text, []byte(old), []byte(by), 1)
}

func TestParseBundleRefuses(t *testing.T) {
	_, text := testBundle(t)
	_, other := testBundle(t)
	pems := func(b []byte) []string { // header, holder, CA, key
		parts := strings.Split(string(b), "-----BEGIN ")
		for i := range parts[1:] {
			parts[i+1] = "-----BEGIN " + parts[i+1]
		}
		return parts
	}
	own, strange := pems(text), pems(other)
	for name, tc := range map[string]struct {
		text []byte
		says string
	}{
		"nothing":                {nil, "format"},
		"another format":         {replace(t, text, "wimcast-bundle-1", "wimcast-bundle-2"), "wimcast-bundle-1"},
		"unknown key":            {replace(t, text, "role:", "roles: x\nrole:"), "line 4: unknown key"},
		"a key twice":            {replace(t, text, "role: winpe", "role: winpe\nrole: winpe"), "line 5: role stands twice"},
		"no colon":               {replace(t, text, "role: winpe", "role winpe"), "line 4"},
		"a role it doesn't have": {replace(t, text, "role: winpe", "role: operator"), `the certificate says "winpe"`},
		"a name it doesn't have": {replace(t, text, "name: lab12", "name: lab13"), `the certificate says "lab12"`},
		"a longer life":          {replace(t, text, "expires: 2027", "expires: 2037"), "the certificate says"},
		"no server":              {[]byte(strings.Join(own[1:], "")), "format"},
		"bad server":             {replace(t, text, "server: 10.1.2.3:63000", "server: 10.1.2.3"), "host:port"},
		"bad server name":        {replace(t, text, "server-name: wimcast.internal", "server-name: 10.0.0.1"), "DNS name"},
		"too many servers":       {replace(t, text, "server: 10.", strings.Repeat("server: a:1\n", 14)+"server: 10."), "more than 16"},
		"key missing":            {[]byte(own[0] + own[1] + own[2]), "missing"},
		"CA missing":             {[]byte(own[0] + own[1] + own[3]), "CA"},
		"another's key":          {[]byte(own[0] + own[1] + own[2] + strange[3]), "doesn't belong"},
		"another's CA":           {[]byte(own[0] + own[1] + strange[2] + own[3]), "untrusted"},
		"another's certificate":  {[]byte(own[0] + strange[1] + own[2] + strange[3]), "untrusted"},
		"order":                  {[]byte(own[0] + own[2] + own[1] + own[3]), "CA"},
		"key first":              {[]byte(own[0] + own[3] + own[1] + own[2]), "after the private key"},
		"two keys":               {[]byte(string(text) + own[3]), "after the private key"},
		"something behind":       {append(bytes.Clone(text), "x"...), "isn't a PEM block"},
		"something between":      {[]byte(own[0] + own[1] + "x\n" + own[2] + own[3]), "isn't a PEM block"},
		"six certificates":       {[]byte(own[0] + strings.Repeat(own[1], 5) + own[2] + own[3]), "more than"},
		"PEM header":             {replace(t, text, "CERTIFICATE-----\n", "CERTIFICATE-----\nA: b\n\n"), "isn't a PEM block"},
		"cut base64":             {replace(t, text, "CERTIFICATE-----\nMII", "CERTIFICATE-----\nMI"), ""},
		"unknown block":          {[]byte(own[0] + strings.ReplaceAll(own[1], "CERTIFICATE", "X") + own[2] + own[3]), "unknown PEM block"},
		"too large":              {append([]byte("# "+strings.Repeat("x", maxPEM)+"\n"), text...), "larger"},
	} {
		if _, err := ParseBundle(tc.text); err == nil {
			t.Errorf("accepts: %s", name)
		} else if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, tc.says)
		}
	}
	for n := range len(text) - 1 {
		if _, err := ParseBundle(text[:n]); err == nil {
			t.Fatalf("accepts the first %d of %d bytes", n, len(text))
		}
	}
}

func TestReadBundle(t *testing.T) {
	b, text := testBundle(t)
	path := filepath.Join(t.TempDir(), "room.join")
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadBundle(path)
	if err != nil || got.Exposed {
		t.Fatalf("%+v, %v", got, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err = ReadBundle(path); err != nil || !got.Exposed {
			t.Errorf("readable by the group: exposed %v, %v", got.Exposed, err)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.join")
	if err := os.WriteFile(bad, text[:200], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBundle(bad); err == nil || !strings.Contains(err.Error(), bad) || !strings.HasSuffix(err.Error(), "wimcast bundle create") {
		t.Errorf("a cut bundle: %v", err)
	}
	if _, err := ReadBundle(bad + "x"); !os.IsNotExist(err) && (err == nil || !strings.Contains(err.Error(), "no such file")) {
		t.Errorf("no bundle: %v", err)
	}
}

func FuzzParseBundle(f *testing.F) {
	_, text := testBundle(f)
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add(bytes.Replace(text, []byte("server: "), []byte("server: x"), 1))
	f.Add([]byte("format: wimcast-bundle-1\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ParseBundle(text)
		if err != nil {
			return
		}
		again, err := b.Marshal()
		if err != nil {
			t.Fatalf("accepted what can't be written: %v", err)
		}
		second, err := ParseBundle(again)
		if err != nil {
			t.Fatalf("can't read what it wrote: %v", err)
		}
		if third, err := second.Marshal(); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("the written form isn't stable: %v", err)
		}
	})
}

// FuzzCookie: what a stranger sends never counts as a good cookie, and nothing
// panics.
func FuzzCookie(f *testing.F) {
	f.Add(sealEnvelope(cookie{}, testHello(1)))
	f.Add(sealEnvelope(newBaker().bake(loopback, 1), testHello(2)))
	f.Add(cookieReply(cookie{7}))
	f.Add([]byte("W\x01"))
	own, now := newBaker(), time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if c, inner, ok := openEnvelope(datagram); ok {
			if own.good(c, loopback, now) {
				t.Fatal("a stranger's cookie is good")
			}
			if !bytes.Equal(sealEnvelope(c, inner), datagram) {
				t.Fatal("the envelope doesn't round trip")
			}
			parseHello(inner)
		}
		if c, ok := parseCookieReply(datagram); ok && !bytes.Equal(cookieReply(c), datagram) {
			t.Fatal("the reply doesn't round trip")
		}
	})
}
