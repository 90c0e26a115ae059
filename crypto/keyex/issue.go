package keyex

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Request asks an Authority for a bundle.
type Request struct {
	Name     string        // the holder's; 1 to 64 bytes; needn't be unique
	Role     Role          // any but Server
	Lifetime time.Duration // DefaultLifetime when zero
	Marks    Marks         // for WinPE and Client alone
	Servers  []string      // where the server is: host:port, 1 to 16 of them
	Points   []PointAt     // which machines go elsewhere first; for those who join
}

// Issue makes a key and a certificate and returns them as a bundle. The issue is
// on disk in the list before the bundle is returned.
func (a *Authority) Issue(r Request) (*Bundle, error) {
	b, err := a.issue(r)
	if err != nil {
		return nil, fmt.Errorf("issue bundle: %w", err)
	}
	return b, nil
}

func (a *Authority) issue(r Request) (*Bundle, error) {
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	if r.Lifetime < minLifetime {
		return nil, fmt.Errorf("lifetime %v: want at least %v", r.Lifetime, minLifetime)
	}
	if !slices.Contains(ClientRoles(), r.Role) {
		return nil, fmt.Errorf("role %q: want one of %v", r.Role, ClientRoles())
	}
	if err := checkHolder(r.Name); err != nil {
		return nil, err
	}
	if err := checkMarks(r.Marks, r.Role); err != nil {
		return nil, err
	}
	if err := checkTable(r.Points, r.Role); err != nil {
		return nil, err
	}
	leaf, key, err := a.sign(r.Name, r.Role, r.Marks, nil, a.now().Add(r.Lifetime))
	if err != nil {
		return nil, err
	}
	b := &Bundle{
		Servers: slices.Clone(r.Servers), Points: slices.Clone(r.Points), Refused: a.refusedServers(), ServerName: a.serverName,
		CA: a.ca, Chain: []*x509.Certificate{leaf}, Key: key,
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := a.list(issuedOf(leaf, r.Role, r.Marks)); err != nil {
		return nil, err
	}
	return b, nil
}

// checkHolder holds that a credential can be issued to that name.
func checkHolder(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, ok := parseSerial(name); ok && len(name) >= 32 {
		return fmt.Errorf("name %q: could be taken for a serial number", name)
	}
	return nil
}

func issuedOf(leaf *x509.Certificate, role Role, marks Marks) Issued {
	return Issued{
		Serial: formatSerial(leaf.SerialNumber), Name: leaf.Subject.CommonName, Role: role, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		PIN: marks.PIN, Alone: marks.Alone,
	}
}

// list puts credentials into the list of what was issued, all or none.
func (a *Authority) list(issued ...Issued) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	// A new slice: Issued hands out copies, and a failed write must change nothing.
	next := append(slices.Clip(a.issued), issued...)
	if err := a.dir.writeIssued(next); err != nil {
		return err
	}
	a.issued = next
	return nil
}

// ErrUnknownCredential is in the chain when nothing issued has the serial or name.
var ErrUnknownCredential = errors.New("no such credential")

// Revoke takes back the credential with that serial, or all credentials with
// that name, and returns those it newly took back. Handshakes from now on are
// refused; call Listener.Recheck to end associations that run.
func (a *Authority) Revoke(serialOrName string) ([]Issued, error) {
	serial, _ := parseSerial(serialOrName)
	return a.revoke(serialOrName, func(i *Issued) bool { return i.Name == serialOrName || i.Serial == serial })
}

// revoke takes back what fits, and returns what it newly took back.
func (a *Authority) revoke(which string, fits func(*Issued) bool) ([]Issued, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := slices.Clone(a.issued)
	var taken []Issued
	known := false
	for i := range next {
		if !fits(&next[i]) {
			continue
		}
		known = true
		if next[i].Revoked.IsZero() {
			next[i].Revoked = a.now().UTC().Truncate(time.Second)
			taken = append(taken, next[i])
		}
	}
	if !known {
		return nil, fmt.Errorf("revoke %q: %w; list them: wimcast bundle list", which, ErrUnknownCredential)
	}
	if len(taken) == 0 {
		return nil, nil
	}
	if err := a.dir.writeIssued(next); err != nil {
		return nil, fmt.Errorf("revoke %q: %w", which, err)
	}
	a.issued = next
	for i := range taken {
		a.revoked[taken[i].Serial] = true
	}
	return taken, nil
}

// Issued returns what was issued, the oldest first. Entries go 90 days after
// their credential's end, at the next start.
func (a *Authority) Issued() []Issued {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.issued)
}

// forgetAfter is how long an ended credential stays in the list.
const forgetAfter = 90 * 24 * time.Hour

func (a *Authority) loadIssued() error {
	issued, err := a.dir.readIssued()
	if errors.Is(err, fs.ErrNotExist) {
		return a.dir.writeIssued(nil)
	}
	if err != nil {
		return err
	}
	now := a.now()
	// A revoked server's is kept: clients look at no clock, so that their bundles must go on refusing it.
	a.issued = slices.DeleteFunc(issued, func(i Issued) bool {
		return now.After(i.NotAfter.Add(forgetAfter)) && (i.Role != Server || i.Revoked.IsZero())
	})
	for i := range a.issued {
		if !a.issued[i].Revoked.IsZero() {
			a.revoked[a.issued[i].Serial] = true
		}
	}
	return nil
}
