package keyex

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"wimcast/statefile"
)

// The files of an Authority.
const (
	caFile     = "ca.pem"     // certificate and key
	serverFile = "server.pem" // certificate and key
	issuedFile = "issued.json"

	// maxIssuedFile bounds the list that is read: about 250,000 entries.
	maxIssuedFile = 64 << 20
)

// stateDir is an Authority's directory. Every write is whole or not at all.
type stateDir struct {
	root *os.Root
}

func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	// MkdirAll leaves the mode of what exists.
	if err := os.Chmod(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &stateDir{root: root}, nil
}

func (d *stateDir) close() error { return d.root.Close() }

func (d *stateDir) exists(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

func (d *stateDir) read(name string, limit int64) ([]byte, error) {
	return statefile.Read(d.root, name, limit)
}

func (d *stateDir) write(name string, content []byte) error {
	return statefile.Replace(d.root, name, 0o600, content)
}

func (d *stateDir) writeCredential(name string, chain []*x509.Certificate, key *ecdsa.PrivateKey) error {
	b, err := appendCredential(nil, chain, key)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.write(name, b)
}

func (d *stateDir) readCredential(name string) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	b, err := d.read(name, maxPEM)
	if err != nil {
		return nil, nil, err
	}
	chain, key, err := parseCredential(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w; restore it from a backup", name, err)
	}
	if public, ok := chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, nil, fmt.Errorf("%s: key doesn't belong to the certificate; restore it from a backup", name)
	}
	return chain, key, nil
}

// appendCredential appends PEM: certificates, then the key in PKCS #8.
func appendCredential(b []byte, chain []*x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	for _, c := range chain {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...), nil
}

// parseCredential reads what appendCredential wrote, and nothing else.
func parseCredential(b []byte) (chain []*x509.Certificate, key *ecdsa.PrivateKey, err error) {
	for b = bytes.TrimSpace(b); len(b) > 0; b = bytes.TrimSpace(b) {
		block, rest := pem.Decode(b)
		switch {
		case block == nil, !bytes.HasPrefix(b, []byte("-----BEGIN ")), len(block.Headers) > 0:
			return nil, nil, errors.New("something that isn't a PEM block")
		case key != nil:
			return nil, nil, errors.New("something after the private key")
		case block.Type == "CERTIFICATE" && len(chain) > maxChain:
			return nil, nil, fmt.Errorf("more than %d certificates", maxChain+1)
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, err
			}
			chain = append(chain, c)
		case block.Type == "PRIVATE KEY":
			if key, err = parseKey(block); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("unknown PEM block %.32q", block.Type)
		}
		b = rest
	}
	if len(chain) == 0 || key == nil {
		return nil, nil, errors.New("certificate or private key is missing")
	}
	return chain, key, nil
}

// issuedList is the content of issued.json.
type issuedList struct {
	Version int      `json:"version"`
	Issued  []Issued `json:"issued"`
}

func (d *stateDir) writeIssued(issued []Issued) error {
	b, err := json.MarshalIndent(issuedList{Version: 1, Issued: issued}, "", " ")
	if err != nil {
		return err
	}
	return d.write(issuedFile, append(b, '\n'))
}

func (d *stateDir) readIssued() ([]Issued, error) {
	b, err := d.read(issuedFile, maxIssuedFile)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	var list issuedList
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup, revocations are in it", issuedFile, err)
	}
	if list.Version != 1 {
		return nil, fmt.Errorf("%s: version %d, this program reads 1", issuedFile, list.Version)
	}
	return list.Issued, nil
}
