package keyex

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func issuePoint(t testing.TB, a *Authority, name string) *PointCredentials {
	t.Helper()
	p, err := a.IssuePoint(PointRequest{Name: name, Servers: []string{"10.0.0.1:7601"}, DNS: []string{"berlin.example"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pointTrust(t testing.TB, p *PointCredentials, c *clock) *Trust {
	t.Helper()
	trust, err := NewPointTrust(p.Server, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// TestPointServesTheSitesClients: a bundle of the site is good at its point, and each side knows who the other is.
func TestPointServesTheSitesClients(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	trust := pointTrust(t, issuePoint(t, a, "berlin"), c)
	if trust.ServerName() != DefaultServerName || trust.Server().Name != "berlin" || !trust.Server().Marks.Point {
		t.Errorf("%+v, server name %s", trust.Server(), trust.ServerName())
	}
	l := listen(t, ServerConfig{Trust: trust})
	conn := dial(t, l, issue(t, a, "room", WinPE))
	if peer := conn.Peer(); peer.Name != "berlin" || peer.Role != Server || !peer.Marks.Point {
		t.Errorf("the client sees %+v", peer)
	}
	if peer := accept(t, l).Peer(); peer.Name != "room" || peer.Role != WinPE {
		t.Errorf("the point sees %+v", peer)
	}
	if site := a.Trust().Server(); site.Name != DefaultServerName || site.Marks.Point {
		t.Errorf("the site is %+v", site)
	}
	list := a.Issued()
	if len(list) != 3 || list[0].Name != "berlin" || list[0].Role != Server || list[1].Name != "berlin" || list[1].Role != Point {
		t.Errorf("%+v", list)
	}
}

// TestPointClock: a point whose clock is late by days lets in what its site issued since; one that is early refuses what has ended by it. The site
// itself goes by its clock both ways.
func TestPointClock(t *testing.T) {
	c, wrong := newClock(), newClock()
	a := openTestAuthority(t, c)
	wrong.add(-10 * 24 * time.Hour)
	late := listen(t, ServerConfig{Trust: pointTrust(t, issuePoint(t, a, "berlin"), wrong)})
	room := issue(t, a, "room", WinPE)
	dial(t, late, room)
	if peer := accept(t, late).Peer(); peer.Name != "room" {
		t.Errorf("%+v", peer)
	}
	wrong.add(20*24*time.Hour + DefaultLifetime)
	if _, err := Dial(t.Context(), late.Addr(), room); refusal(t, err).Reason != Expired {
		t.Errorf("a bundle that has ended: %v", err)
	}
	site := listen(t, ServerConfig{Trust: a.Trust()})
	c.add(-10 * 24 * time.Hour)
	if _, err := Dial(t.Context(), site.Addr(), room); err == nil {
		t.Error("the site lets in what hasn't begun by its clock")
	}
}

// TestPointRevocation: what the site took back, its points refuse at once, and associations that run end.
func TestPointRevocation(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	trust := pointTrust(t, issuePoint(t, a, "berlin"), c)
	l := listen(t, ServerConfig{Trust: trust})
	stays, goes := issue(t, a, "stays", WinPE), issue(t, a, "goes", WinPE)
	dial(t, l, stays)
	accept(t, l)
	dial(t, l, goes)
	accept(t, l)
	if _, err := a.Revoke("goes"); err != nil {
		t.Fatal(err)
	}
	if n := l.Recheck(nil); n != 0 {
		t.Errorf("%d associations ended before the point was told", n)
	}
	revoked := a.Revoked()
	if !slices.Equal(revoked, []string{goes.Identity().Serial}) {
		t.Errorf("revoked are %v", revoked)
	}
	if changed, err := trust.SetRevoked(revoked); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	if changed, err := trust.SetRevoked([]string{strings.ToUpper(revoked[0])}); err != nil || changed {
		t.Errorf("the same again: changed %v, %v", changed, err)
	}
	var ended []string
	if n := l.Recheck(func(peer Identity, why *RefusedError) { ended = append(ended, peer.Name+" "+string(why.Reason)) }); n != 1 || !slices.Equal(ended, []string{"goes revoked"}) {
		t.Errorf("%d ended: %v", n, ended)
	}
	if _, err := Dial(t.Context(), l.Addr(), goes); refusal(t, err).Reason != Revoked {
		t.Errorf("%v", err)
	}
	if _, err := trust.SetRevoked([]string{revoked[0], "x"}); err == nil {
		t.Error("takes a list with something that is no serial")
	}
	if _, err := Dial(t.Context(), l.Addr(), goes); refusal(t, err).Reason != Revoked {
		t.Errorf("after a bad list: %v", err)
	}
	if changed, err := trust.SetRevoked(nil); err != nil || !changed {
		t.Errorf("changed %v, %v", changed, err)
	}
	dial(t, l, goes)
	c.add(DefaultLifetime + time.Hour)
	if revoked := a.Revoked(); len(revoked) != 0 {
		t.Errorf("ended ones are still told: %v", revoked)
	}
}

// TestPointPoses: what a point's credentials aren't good for.
func TestPointPoses(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	p := issuePoint(t, a, "berlin")
	chain, key, err := parsePointServer(p.Server)
	if err != nil {
		t.Fatal(err)
	}
	server, err := pair(chain[:1], key)
	if err != nil {
		t.Fatal(err)
	}
	own, err := p.Client.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	site := listen(t, ServerConfig{Trust: a.Trust(), Roles: []Role{WinPE, Operator, Point}})
	refused := func(what string, l *Listener, as *Credentials, want Reason) {
		t.Helper()
		if _, err := Dial(t.Context(), l.Addr(), as); refusal(t, err).Reason != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	refused("its server certificate as a client's", site, own.with(server), WrongUsage)
	dial(t, site, own)
	accept(t, site)
	refused("at a service that takes no points", listen(t, ServerConfig{Trust: a.Trust(), Roles: []Role{WinPE}}), own, WrongRole)

	// As a server: for clients alone, and under its own name.
	trust := pointTrust(t, p, c)
	point := listen(t, ServerConfig{Trust: trust})
	dial(t, point, issue(t, a, "room", WinPE))
	accept(t, point)
	refused("as the site, to another point", point, own, WrongName)
	refused("as the site, to a worker", point, issue(t, a, "w", Worker), WrongName)
	operator := issue(t, a, "ann", Operator)
	dial(t, point, operator)
	accept(t, point)
	refused("as the site, to an operator who means the site", point, operator.Site(), WrongName)
	elsewhere := *operator
	judge := *operator.verifier
	judge.serverName = "other.internal"
	elsewhere.verifier = &judge
	refused("under a name that it hasn't", point, &elsewhere, WrongName)
	dial(t, site, operator.Site())
	accept(t, site)

	// And nobody else's certificate makes a point.
	client, clientKey := p.Client.Chain[0], p.Client.Key
	plain := forge(t, a, func(c *x509.Certificate) {
		c.Subject, c.ExtKeyUsage, c.URIs, c.DNSNames = pkix.Name{CommonName: "x"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []*url.URL{Server.uri()}, []string{DefaultServerName}
	})
	other := openTestAuthority(t, c)
	for name, text := range map[string][]byte{
		"its client credential":    mustPEM(t, client, a.ca, clientKey),
		"a server's without mark":  mustPEM(t, plain.Leaf, a.ca, plain.PrivateKey),
		"another CA":               mustPEM(t, chain[0], other.ca, key),
		"another key":              mustPEM(t, chain[0], a.ca, clientKey),
		"no CA":                    bytes.Replace(p.Server, mustPEM(t, a.ca, nil, nil), nil, 1),
		"cut":                      p.Server[:len(p.Server)/2],
		"nothing":                  nil,
		"larger than can be meant": bytes.Repeat([]byte("\n"), maxPEM+1),
	} {
		if _, err := NewPointTrust(text, c.now); err == nil {
			t.Errorf("takes %s", name)
		}
	}
}

// TestPointOverHTTPS: the same over HTTPS, where a point's client talks to the site.
func TestPointOverHTTPS(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	p := issuePoint(t, a, "berlin")
	own, err := p.Client.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	serve := func(trust *Trust) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := PeerIdentity(r.TLS)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(id.Name))
		}))
		s.TLS = ServerTLS(trust, nil)
		s.EnableHTTP2, s.Config.ErrorLog = true, log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	get := func(url string, as *Credentials) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: ClientTLS(as), DisableKeepAlives: true, ForceAttemptHTTP2: true}}
		answer, err := client.Get(url)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err
	}
	site, point := serve(a.Trust()), serve(pointTrust(t, p, c))
	if err := get(site, own); err != nil {
		t.Error(err)
	}
	if err := get(point, own); err == nil || !strings.Contains(err.Error(), "for the site alone") {
		t.Errorf("a point that poses as the site: %v", err)
	}
	if err := get(point, issue(t, a, "room", Client)); err != nil {
		t.Error(err)
	}
}

// TestPointLost: the name takes back both credentials of a point, nothing of others of that name, and bundles made from then on refuse
// its server, for ever.
func TestPointLost(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	a, err := OpenAuthority(dir, AuthorityConfig{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	p := issuePoint(t, a, "berlin")
	point := listen(t, ServerConfig{Trust: pointTrust(t, p, c)})
	room := issue(t, a, "berlin", WinPE)
	dial(t, point, room)
	accept(t, point)
	taken, err := a.RevokePoint("berlin")
	if err != nil || len(taken) != 2 || taken[0].Role != Server || taken[1].Role != Point {
		t.Fatalf("%+v, %v", taken, err)
	}
	if revoked := a.Revoked(); len(revoked) != 1 || revoked[0] != taken[1].Serial {
		t.Errorf("points are told of %v, want its client's alone", revoked)
	}
	if again, err := a.RevokePoint("berlin"); err != nil || len(again) != 0 {
		t.Errorf("again: %v, %v", again, err)
	}
	if _, err := a.RevokePoint("paris"); err == nil {
		t.Error("revokes a point that isn't there")
	}
	own, err := p.Client.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	site := listen(t, ServerConfig{Trust: a.Trust()})
	if _, err := Dial(t.Context(), site.Addr(), own); refusal(t, err).Reason != Revoked {
		t.Errorf("%v", err)
	}
	dial(t, site, room)
	accept(t, site)
	dial(t, point, room) // an old bundle knows nothing of it
	accept(t, point)
	newer := issue(t, a, "lab", WinPE)
	if _, err := Dial(t.Context(), point.Addr(), newer); refusal(t, err).Reason != Revoked {
		t.Errorf("a new bundle at a lost point: %v", err)
	}
	dial(t, site, newer)
	accept(t, site)
	b, err := a.Issue(Request{Name: "lab", Role: WinPE, Servers: []string{"10.0.0.1:7600"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Marshal()
	if err != nil || !strings.Contains(string(text), "\nrefused-server: "+taken[0].Serial+"\n") {
		t.Errorf("%v:\n%s", err, text)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	c.add(DefaultLifetime + forgetAfter + time.Hour)
	a, err = OpenAuthority(dir, AuthorityConfig{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if list := a.Issued(); len(list) != 1 || list[0].Serial != taken[0].Serial {
		t.Errorf("kept are %+v", list)
	}
}

// TestPointRenews: newer credentials of the same point replace those in use; others don't.
func TestPointRenews(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	first := issuePoint(t, a, "berlin")
	trust := pointTrust(t, first, c)
	start, end := trust.Lifetime()
	if at := RenewAt(start, end); at.Before(start.Add(240*24*time.Hour)) || at.After(start.Add(246*24*time.Hour)) {
		t.Errorf("renewed on %v, from %v to %v", at, start, end)
	}
	if changed, err := trust.SetServer(first.Server); changed || err != nil {
		t.Errorf("the same: %v, %v", changed, err)
	}
	c.add(time.Hour)
	second := issuePoint(t, a, "berlin")
	if changed, err := trust.SetServer(second.Server); !changed || err != nil {
		t.Errorf("newer ones: %v, %v", changed, err)
	}
	inUse := trust.Server()
	for name, text := range map[string][]byte{
		"older":         first.Server,
		"another point": issuePoint(t, a, "paris").Server,
		"another site":  issuePoint(t, openTestAuthority(t, c), "berlin").Server,
		"the client's":  mustPEM(t, second.Client.Chain[0], a.ca, second.Client.Key),
		"nothing":       nil,
	} {
		if changed, err := trust.SetServer(text); changed || err == nil {
			t.Errorf("takes %s: %v, %v", name, changed, err)
		}
	}
	if trust.Server() != inUse {
		t.Errorf("%+v is in use, want %+v", trust.Server(), inUse)
	}
	for name, r := range map[string]PointRequest{
		"no name":          {Servers: []string{"a:1"}},
		"the site's name":  {Name: DefaultServerName, Servers: []string{"a:1"}},
		"a serial number":  {Name: strings.Repeat("ab", 16), Servers: []string{"a:1"}},
		"no site":          {Name: "x"},
		"a bad DNS name":   {Name: "x", Servers: []string{"a:1"}, DNS: []string{"10.0.0.1"}},
		"too short a life": {Name: "x", Servers: []string{"a:1"}, Lifetime: time.Second},
		"beyond the CA":    {Name: "x", Servers: []string{"a:1"}, Lifetime: 2 * caLifetime},
	} {
		if _, err := a.IssuePoint(r); err == nil {
			t.Errorf("issues to %s", name)
		}
	}
	if n := len(a.Issued()); n != 6 {
		t.Errorf("%d are listed, want 6", n)
	}
}

// TestRenewPoint: who holds a point's credential gets new ones in its last third, for as long as it had them, and nobody else does.
func TestRenewPoint(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	held := issuePoint(t, a, "berlin").Client.Identity()
	site := []string{"10.0.0.1:7601"}
	if _, err := a.RenewPoint(held.Serial, site); !errors.Is(err, ErrTooEarly) {
		t.Errorf("at once: %v", err)
	}
	c.add(DefaultLifetime * 3 / 4)
	for name, serial := range map[string]string{
		"no serial": "", "its server's": a.Issued()[0].Serial, "a room's": issue(t, a, "berlin", WinPE).Identity().Serial,
	} {
		if _, err := a.RenewPoint(serial, site); !errors.Is(err, ErrUnknownCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := a.RenewPoint(held.Serial, site)
	if err != nil {
		t.Fatal(err)
	}
	if id := p.Client.Identity(); id.Name != "berlin" || id.Role != Point || !id.NotAfter.Equal(c.now().Add(DefaultLifetime)) || id.Serial == held.Serial {
		t.Errorf("%+v", id)
	}
	if trust := pointTrust(t, p, c); trust.Server().Name != "berlin" {
		t.Errorf("%+v", trust.Server())
	}
	if _, err := a.RevokePoint("berlin"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RenewPoint(held.Serial, site); !errors.Is(err, ErrUnknownCredential) {
		t.Errorf("a revoked one: %v", err)
	}
}
