package unicast

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wimcast/crypto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The shelf is a small library.

type shelf struct {
	mu       sync.Mutex
	packages map[crypto.Hash]*book
}

type book struct {
	pkg      Package
	data     []byte
	manifest []byte
	digest   crypto.Hash
	lookup   error
	open     error
	onRead   func(off int64) error // before each read
	closed   chan struct{}         // gets one for each Close
}

func (b *book) ReadAt(p []byte, off int64) (int, error) {
	if b.onRead != nil {
		if err := b.onRead(off); err != nil {
			return 0, err
		}
	}
	return bytes.NewReader(b.data).ReadAt(p, off)
}

func (b *book) Size() int64      { return int64(len(b.data)) }
func (b *book) Manifest() []byte { return b.manifest }

func (b *book) Close() error {
	select {
	case b.closed <- struct{}{}:
	default:
	}
	return nil
}

func (s *shelf) Lookup(digest crypto.Hash) (Package, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.packages[digest]
	if b == nil {
		return Package{}, ErrUnknown
	}
	return b.pkg, b.lookup
}

func (s *shelf) Open(digest crypto.Hash) (Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.packages[digest]
	if b.open != nil {
		return nil, b.open
	}
	return b, nil
}

func (s *shelf) add(name string, size int) *book {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte([]byte(name + "................................")[:32])).Read(data)
	builder := crypto.NewManifestBuilder()
	_, _ = builder.Write(data)
	m := builder.Manifest()
	b := &book{
		pkg: Package{Name: name}, data: data, manifest: m.Marshal(), digest: m.Digest(),
		closed: make(chan struct{}, 1000),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packages[b.digest] = b
	return b
}

// The desk gives and takes tokens.
type desk struct {
	mu     sync.Mutex
	tokens map[Token]Grant
}

var errNoToken = errors.New("no such token")

func (d *desk) Grant(token [32]byte) (Grant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g, ok := d.tokens[token]; ok {
		return g, nil
	}
	return Grant{}, errNoToken
}

func (d *desk) give(client string, digest crypto.Hash) Token {
	d.mu.Lock()
	defer d.mu.Unlock()
	var token Token
	_, _ = crand.Read(token[:])
	d.tokens[token] = Grant{Digest: digest, Client: client}
	return token
}

func (d *desk) take(token Token) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.tokens, token)
}

var (
	_ contents = (*shelf)(nil)
	_ grants   = (*desk)(nil)
	_ Content  = (*book)(nil)
)

// A pki is one authority with a server's and a client's certificate.
type pki struct {
	server, client *tls.Config
	dir            string // ca.pem, client.pem, client.key
}

func newPKI(t *testing.T) pki {
	t.Helper()
	dir := t.TempDir()
	caKey, ca := certificate(t, "test authority", nil, nil, nil)
	serverKey, serverCert := certificate(t, "server", caKey, ca, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})
	clientKey, clientCert := certificate(t, "client", caKey, ca, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	der, err := x509.MarshalECPrivateKey(clientKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: ca.Raw},
		"client.pem": {Type: "CERTIFICATE", Bytes: clientCert.Raw},
		"client.key": {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pki{
		server: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{serverCert.Raw}, PrivateKey: serverKey}},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool,
		},
		client: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{clientCert.Raw}, PrivateKey: clientKey}},
			RootCAs:      pool,
		},
		dir: dir,
	}
}

// certificate makes one, signed by itself where there is no authority.
func certificate(t *testing.T, name string, caKey *ecdsa.PrivateKey, ca *x509.Certificate, usage []x509.ExtKeyUsage) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	if ca == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(crand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// A house is a running server with all that belongs to it.
type house struct {
	pki
	shelf  *shelf
	desk   *desk
	server *Server
	addr   string
}

func newHouse(t *testing.T, change func(*ServerConfig)) *house {
	t.Helper()
	h := &house{
		pki: newPKI(t), shelf: &shelf{packages: map[crypto.Hash]*book{}},
		desk: &desk{tokens: map[Token]Grant{}},
	}
	config := ServerConfig{Contents: h.shelf, Grants: h.desk}
	if change != nil {
		change(&config)
	}
	var err error
	if h.server, err = NewServer(config); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.server.Serve(ctx, l, h.pki.server, 0); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return h
}

// fetcher returns a client for a book.
func (h *house) fetcher(t *testing.T, b *book, token Token) *Client {
	t.Helper()
	return newFetcher(t, ClientConfig{Address: h.addr, TLS: h.client, Token: token, Digest: b.digest, Size: b.Size()})
}

func newFetcher(t *testing.T, config ClientConfig) *Client {
	t.Helper()
	if config.BackOff == 0 {
		config.BackOff = time.Millisecond
	}
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// browser is a plain HTTPS client with the house's client certificate.
func (h *house) browser(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: h.client.Clone(), DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (h *house) request(t *testing.T, method, path, token string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+h.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// do returns the response and its body.
func do(t *testing.T, c *http.Client, r *http.Request) (*http.Response, []byte) {
	t.Helper()
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func (token Token) hex() string { return hex.EncodeToString(token[:]) }

// gather fetches blocks and returns them joined.
func gather(t *testing.T, c *Client, first, count int) ([]byte, error) {
	t.Helper()
	var got []byte
	next := first
	err := c.Fetch(t.Context(), first, count, func(block int, data []byte) error {
		if block != next {
			t.Errorf("block %d delivered, want %d", block, next)
		}
		next++
		got = append(got, data...)
		return nil
	})
	return got, err
}
