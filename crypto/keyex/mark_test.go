package keyex

import (
	"crypto/x509"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestMarks: what a certificate says beside its role holds whatever becomes of the bundle's text, and the list remembers it.
func TestMarks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := OpenAuthority(dir, AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := ParseUUID("4C4C4544-0044-4a10-8054-b3c04f4e4d31")
	if err != nil {
		t.Fatal(err)
	}
	for _, marks := range []Marks{{}, {PIN: true}, {Alone: true}, {PIN: true, Alone: true, Machine: machine}} {
		b, err := a.Issue(Request{Name: "pc07", Role: WinPE, Marks: marks, Servers: []string{"127.0.0.1:1"}})
		if err != nil {
			t.Fatal(err)
		}
		text, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseBundle(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Identity().Marks; got != marks {
			t.Errorf("%+v became %+v", marks, got)
		}
		id, err := a.Trust().verifier(nil).verifyParsed(again.Chain)
		if err != nil || id.Marks != marks {
			t.Errorf("%+v: the server sees %+v, %v", marks, id.Marks, err)
		}
	}
	for _, role := range []Role{Operator, Viewer, Worker, Point} {
		for _, marks := range []Marks{{PIN: true}, {Alone: true}} {
			if _, err := a.Issue(Request{Name: "ann", Role: role, Marks: marks, Servers: []string{"127.0.0.1:1"}}); err == nil {
				t.Errorf("%s with %+v was issued", role, marks)
			}
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a, err = OpenAuthority(dir, AuthorityConfig{}); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if list := a.Issued(); len(list) != 4 || list[0].PIN || list[0].Alone || !list[1].PIN || !list[2].Alone || !list[3].PIN || !list[3].Alone {
		t.Errorf("%+v", list)
	}
}

func TestBadMarks(t *testing.T) {
	for _, uris := range [][]string{{"wimcast:machine:"}, {"wimcast:machine:x"}, {"wimcast:machine:any", "wimcast:machine:any"}, {"wimcast:machine:00000000-0000-0000-0000-000000000000"}} {
		cert := &x509.Certificate{}
		for _, s := range uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		if m, err := marksOf(cert); err == nil {
			t.Errorf("%q: %+v", uris, m)
		}
	}
	for _, s := range []string{"", "x", "4c4c4544004444a108054b3c04f4e4d311", "{4c4c4544-0044-4a10-8054-b3c04f4e4d31}", strings.Repeat("f", 8) + "-ffff-ffff-ffff-" + strings.Repeat("f", 12)} {
		if u, err := ParseUUID(s); err == nil {
			t.Errorf("%q: %x", s, u)
		}
	}
}
