package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	wimcrypto "wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// tick lets n ticks come, and returns when all is done.
func tick(t *testing.T, u *upkeep, n int) {
	t.Helper()
	ticks := make(chan time.Time, n)
	for range n {
		ticks <- time.Time{}
	}
	close(ticks)
	u.run(t.Context(), ticks)
}

// TestUpkeepEnds with its context.
func TestUpkeepEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	(&upkeep{}).run(ctx, nil)
}

// TestUpkeepRound: each part of it runs at every tick, whatever becomes of the
// others, and only revoked holders are evicted.
func TestUpkeepRound(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	var done []string
	fail := true
	var alarms []string
	u := &upkeep{
		renew: func() (bool, error) {
			done = append(done, "renew")
			if fail {
				return false, errors.New("no CA")
			}
			return true, nil
		},
		reread: func() (bool, error) {
			done = append(done, "reread")
			if fail {
				return false, errors.New("no list")
			}
			return true, nil
		},
		recheck: func(before func(keyex.Identity, *keyex.RefusedError)) int {
			done = append(done, "recheck")
			before(keyex.Identity{Name: "old"}, &keyex.RefusedError{Reason: keyex.Expired})
			before(keyex.Identity{Name: "bad"}, &keyex.RefusedError{Reason: keyex.Revoked})
			return 2
		},
		evict: func(holder keyex.Identity) []string {
			done = append(done, "evict "+holder.Name)
			return []string{"pc09"}
		},
		raise: func(alarm string) { alarms = append(alarms, alarm) },
		log:   zap.New(core),
	}
	tick(t, u, 2)
	round := []string{"renew", "reread", "recheck", "evict bad"}
	if want := slices.Concat(round, round); !slices.Equal(done, want) {
		t.Errorf("two ticks do %v, want %v", done, want)
	}
	for _, want := range []string{"certificate can't be renewed", "pki.crl: the file can't be used"} {
		if found := logged.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet(want); found.Len() != 2 {
			t.Errorf("%d errors say %q, want 2", found.Len(), want)
		}
	}
	if len(alarms) != 4 || !strings.Contains(alarms[0], "no CA") || !strings.Contains(alarms[1], "no list") {
		t.Errorf("alarms: %q", alarms)
	}
	if n := logged.FilterMessageSnippet("control channel ended").Len(); n != 4 {
		t.Errorf("%d lines on channels that ended, want 4", n)
	}

	fail, u.renew = false, nil
	logged.TakeAll()
	u.round()
	if n := logged.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 0 {
		t.Errorf("%d errors in a good round with an organisation's PKI", n)
	}
	if n := logged.FilterMessageSnippet("new revocation list").Len(); n != 1 {
		t.Errorf("%d lines on the new list, want 1", n)
	}
}

// organisation is a PKI in files, made with the daemon's own means.
type organisation struct {
	authority *keyex.Authority
	pki       pkiConfig
	ca        *x509.Certificate
	key       crypto.Signer
}

func newOrganisation(t *testing.T) *organisation {
	t.Helper()
	dir := t.TempDir()
	o := &organisation{}
	var err error
	if o.authority, err = keyex.OpenAuthority(filepath.Join(dir, "ca"), keyex.AuthorityConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.authority.Close() })
	server := filepath.Join(dir, "ca", "server.pem")
	o.pki = pkiConfig{CA: filepath.Join(dir, "ca", "ca.pem"), Certificate: server, Key: server, CRL: filepath.Join(dir, "crl.pem")}
	text, err := os.ReadFile(o.pki.CA)
	if err != nil {
		t.Fatal(err)
	}
	certificate, rest := pem.Decode(text)
	private, _ := pem.Decode(rest)
	if o.ca, err = x509.ParseCertificate(certificate.Bytes); err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	o.key = key.(crypto.Signer)
	return o
}

// revoke writes a revocation list.
func (o *organisation) revoke(t *testing.T, number int64, serials ...*big.Int) {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, o.ca, o.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.pki.CRL, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holder is a client with a certificate of the organisation.
type holder struct {
	bundle      *keyex.Bundle
	credentials *keyex.Credentials
	conn        *keyex.Conn
}

func (o *organisation) holder(t *testing.T, name string) *holder {
	t.Helper()
	bundle, err := o.authority.Issue(keyex.Request{Name: name, Role: keyex.Client, Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	return &holder{bundle: bundle, credentials: credentials}
}

func (h *holder) serial() *big.Int { return h.bundle.Chain[0].SerialNumber }

// join lets the holder into a session of a package.
func (h *holder) join(t *testing.T, d *distributionPoint, pkg, host string) *wire.Welcome {
	t.Helper()
	var err error
	if h.conn, err = keyex.Dial(t.Context(), d.listener.Addr(), h.credentials); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.conn.Close() })
	join := &wire.Join{Request: 1, Nonce: [16]byte([]byte(rand.Text())), MaxPayload: 1472, Machine: wire.Machine{Host: host, MACs: host}, Package: pkg}
	if err := h.conn.Send(join.Append(nil)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, wire.MaxControl); ; {
		n, err := h.conn.Receive(b)
		if err != nil {
			t.Fatal(err)
		}
		message, err := wire.Parse(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case *wire.Welcome:
			return m
		case *wire.Refused:
			t.Fatalf("refused: %s", m.Text)
		}
	}
}

// gone reads the control channel to its end, and returns the refusal that ended it.
func (h *holder) gone(t *testing.T, d *distributionPoint) {
	t.Helper()
	b := make([]byte, wire.MaxControl)
	for {
		if _, err := h.conn.Receive(b); err != nil {
			break
		}
	}
	_, err := keyex.Dial(t.Context(), d.listener.Addr(), h.credentials)
	if refused, ok := errors.AsType[*keyex.RefusedError](err); !ok || refused.Reason != keyex.Revoked {
		t.Errorf("coming back: %v, want revoked", err)
	}
}

// addImage adds a small WIM to a daemon's library.
func addImage(t *testing.T, d *distributionPoint) {
	t.Helper()
	tool, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Skip("wimlib-imagex is missing; it is in the package wimtools")
	}
	from, name := t.TempDir(), filepath.Join(t.TempDir(), "w11.wim")
	if out, err := exec.CommandContext(t.Context(), tool, "capture", from, name, "Windows").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, _, err := d.library.Add(t.Context(), f, library.AddOptions{Name: "w11"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.deployed.Create(deployment.Deployment{Name: "room", Image: "w11", Content: deployment.Download}); err != nil {
		t.Fatal(err)
	}
}

// TestUpkeepOfADaemon: a certificate that an organisation revokes while its holder
// receives an image ends that, by the next tick; a bad list ends nothing.
func TestUpkeepOfADaemon(t *testing.T) {
	o := newOrganisation(t)
	o.revoke(t, 1)
	cfg := defaults()
	cfg.State, cfg.Listen, cfg.Metrics.Listen, cfg.PKI = t.TempDir(), "127.0.0.1:0", "", o.pki
	cfg.Admin.Socket = filepath.Join(cfg.State, "admin.sock")
	cfg.Multicast.Interface, cfg.Multicast.MTU = "lo", leastMTU
	core, logged := observer.New(zapcore.InfoLevel)
	d, err := newDaemon(cfg, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	addImage(t, d)
	d.start(t.Context())

	goes, stays := o.holder(t, "goes"), o.holder(t, "stays")
	welcome := goes.join(t, d, "w11", "pc01")
	stays.join(t, d, "w11", "pc02")
	if least := ipUDP + wire.HeaderLen + wire.SymbolHeaderLen + int(welcome.SymbolSize) + wimcrypto.Overhead; least != leastMTU {
		t.Errorf("with an MTU of %d bytes packets have %d", leastMTU, least)
	}
	tick(t, d.upkeep, 1)
	if n := logged.FilterMessageSnippet("pki.crl").Len(); n != 0 {
		t.Errorf("the same list: %d lines about it", n)
	}
	o.revoke(t, 2, goes.serial())
	tick(t, d.upkeep, 1)
	goes.gone(t, d)
	running, over := d.sessions.Sessions()
	states := map[string]session.ClientState{}
	for _, s := range slices.Concat(running, over) {
		for _, c := range s.Clients {
			states[c.Name] = c.State
		}
	}
	if states["pc01"] != session.ClientEvicted || states["pc02"] == session.ClientEvicted {
		t.Errorf("clients are %v, want pc01 evicted alone", states)
	}

	if err := os.WriteFile(o.pki.CRL, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	tick(t, d.upkeep, 1)
	found := logged.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("pki.crl").All()
	if len(found) != 1 || !strings.Contains(found[0].ContextMap()["error"].(string), o.pki.CRL) {
		t.Errorf("a bad list is logged as %+v, want one error that names the file", found)
	}
	goes.gone(t, d)
	if n := d.listener.Stats().Associations; n != 1 {
		t.Errorf("%d control channels, want the one that stays", n)
	}
}
