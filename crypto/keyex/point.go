package keyex

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// PointRequest asks an Authority for what a point proves itself with.
type PointRequest struct {
	Name     string        // the point's; 1 to 64 bytes
	Servers  []string      // where the site's admin API is: host:port, 1 to 16
	DNS      []string      // further DNS names of the point's own daemon, for HTTPS clients of others
	Lifetime time.Duration // DefaultLifetime when zero
}

// PointCredentials are what a point proves itself with.
type PointCredentials struct {
	// Server is the certificate that the point's own daemon shows to clients, as PEM: the certificate, the CA, the private key.
	// It bears the site's server name, so that the site's bundles are good at every point, the point's name as the subject,
	// and the mark that it is a point's.
	Server []byte
	// Client is the point's own credential at the site's admin API, of role Point.
	Client *Bundle
}

// IssuePoint makes both credentials of a point. Both are on disk in the list, under the point's name, before they are returned.
// Earlier ones of the name stay good until they are revoked or end.
func (a *Authority) IssuePoint(r PointRequest) (*PointCredentials, error) {
	p, err := a.issuePoint(r)
	if err != nil {
		return nil, fmt.Errorf("issue credentials of point %.80q: %w", r.Name, err)
	}
	return p, nil
}

func (a *Authority) issuePoint(r PointRequest) (*PointCredentials, error) {
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	if r.Lifetime < minLifetime {
		return nil, fmt.Errorf("lifetime %v: want at least %v", r.Lifetime, minLifetime)
	}
	if err := checkHolder(r.Name); err != nil {
		return nil, err
	}
	if r.Name == a.serverName {
		return nil, fmt.Errorf("name %q is the site's own", r.Name)
	}
	if err := CheckServers(r.Servers); err != nil {
		return nil, err
	}
	names := []string{a.serverName}
	for _, name := range r.DNS {
		if err := CheckServerName(name); err != nil {
			return nil, err
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	end := a.now().Add(r.Lifetime)
	server, serverKey, err := a.sign(r.Name, Server, Marks{Point: true}, names, end)
	if err != nil {
		return nil, err
	}
	client, clientKey, err := a.sign(r.Name, Point, Marks{}, nil, end)
	if err != nil {
		return nil, err
	}
	out := &PointCredentials{Client: &Bundle{
		Servers: slices.Clone(r.Servers), Refused: a.refusedServers(), ServerName: a.serverName, CA: a.ca, Chain: []*x509.Certificate{client}, Key: clientKey,
	}}
	if err := out.Client.check(); err != nil {
		return nil, err
	}
	if out.Server, err = appendCredential(nil, []*x509.Certificate{server, a.ca}, serverKey); err != nil {
		return nil, err
	}
	return out, a.list(issuedOf(server, Server, Marks{}), issuedOf(client, Point, Marks{}))
}

// RevokePoint takes back the credentials of a point, and returns those it newly took back. Others that bear the same name aren't
// touched.
func (a *Authority) RevokePoint(name string) ([]Issued, error) {
	return a.revoke(name, func(i *Issued) bool { return i.Name == name && (i.Role == Server || i.Role == Point) })
}

// Revoked returns the serials of clients' credentials that were taken back and haven't ended: what points must refuse. They are in
// order.
func (a *Authority) Revoked() []string {
	now := a.now()
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []string
	for i := range a.issued {
		if one := &a.issued[i]; !one.Revoked.IsZero() && one.Role != Server && !now.After(one.NotAfter) {
			out = append(out, one.Serial)
		}
	}
	slices.Sort(out)
	return out
}

// refusedServers returns the serials of points' servers that were taken back. Bundles made from now on refuse them.
func (a *Authority) refusedServers() []string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []string
	for i := range a.issued {
		if one := &a.issued[i]; !one.Revoked.IsZero() && one.Role == Server {
			out = append(out, one.Serial)
		}
	}
	return out
}

// revokedList is what a point's Trust refuses; it is replaced, never changed.
type revokedList map[string]bool

// NewPointTrust returns the Trust of a daemon that is a point: server is PointCredentials.Server. It has no CA of its own: it
// refuses whom SetRevoked names. now is the clock; time.Now when nil. What begins later than that is let in: its site signs nothing ahead of
// time, so it is the point's clock that is wrong, and its rooms would stand still. What has ended is refused.
func NewPointTrust(server []byte, now func() time.Time) (*Trust, error) {
	if now == nil {
		now = time.Now
	}
	chain, key, err := parsePointServer(server)
	if err != nil {
		return nil, fmt.Errorf("use a point's credentials: %w", err)
	}
	t := newTrust(chain[len(chain)-1:], now)
	t.late = true
	t.list.Store(&revokedList{})
	t.revoked = func(c *x509.Certificate) bool { return (*t.list.Load())[formatSerial(c.SerialNumber)] }
	if err := t.setPoint(chain, key); err != nil {
		return nil, fmt.Errorf("use a point's credentials: %w", err)
	}
	return t, nil
}

// parsePointServer reads PointCredentials.Server.
func parsePointServer(server []byte) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	if len(server) > maxPEM {
		return nil, nil, fmt.Errorf("larger than %d bytes", maxPEM)
	}
	chain, key, err := parseCredential(bytes.TrimSpace(server))
	switch {
	case err != nil:
		return nil, nil, err
	case len(chain) < 2 || !chain[len(chain)-1].IsCA:
		return nil, nil, errors.New("the last certificate must be the site's CA")
	}
	return chain, key, nil
}

// setPoint takes a point's server certificate into use.
func (t *Trust) setPoint(chain []*x509.Certificate, key *ecdsa.PrivateKey) error {
	cert, err := pair(chain[:len(chain)-1], key)
	if err != nil {
		return err
	}
	if id, err := identityOf(cert.Leaf); err != nil || !id.Marks.Point {
		return errors.Join(err, errors.New("the certificate isn't a point's; next, at the site: wimcast point add"))
	}
	return t.setCertificate(cert)
}

// SetServer takes renewed credentials of the same point into use, and reports whether they are others than before. Associations
// aren't disturbed. Those of another point, of another site, or that end earlier are refused, and nothing changes.
func (t *Trust) SetServer(server []byte) (changed bool, err error) {
	chain, key, err := parsePointServer(server)
	if err != nil {
		return false, fmt.Errorf("renew a point's credentials: %w", err)
	}
	used := t.certificate.Load().Leaf
	switch leaf := chain[0]; {
	case leaf.Equal(used):
		return false, nil
	case leaf.Subject.CommonName != used.Subject.CommonName:
		return false, fmt.Errorf("renew a point's credentials: they are of point %.80q, this is %.80q", leaf.Subject.CommonName, used.Subject.CommonName)
	case !chain[len(chain)-1].Equal(t.subjects[0]):
		return false, errors.New("renew a point's credentials: they are of another site")
	case leaf.NotAfter.Before(used.NotAfter):
		return false, fmt.Errorf("renew a point's credentials: they end %s, those in use %s", leaf.NotAfter.UTC().Format(time.RFC3339), used.NotAfter.UTC().Format(time.RFC3339))
	}
	if err := t.setPoint(chain, key); err != nil {
		return false, fmt.Errorf("renew a point's credentials: %w", err)
	}
	return true, nil
}

// SetRevoked replaces the list of serials that a point refuses, as Authority.Revoked gives them, and reports whether that changes
// anything. Handshakes from now on obey it; call Listener.Recheck to end associations that run. Only for NewPointTrust's. The error
// names what isn't a serial number, and changes nothing.
func (t *Trust) SetRevoked(serials []string) (changed bool, err error) {
	list := make(revokedList, len(serials))
	for _, s := range serials {
		serial, ok := parseSerial(s)
		if !ok {
			return false, fmt.Errorf("revoked serials: %.80q isn't a serial number", s)
		}
		list[serial] = true
	}
	old := t.list.Swap(&list)
	if old == nil {
		panic("keyex: only a point is told what is revoked")
	}
	return !maps.Equal(*old, list), nil
}

// Pins reports whether the CA is one that clients' certificates are held against.
func (t *Trust) Pins(ca *x509.Certificate) bool {
	return slices.ContainsFunc(t.subjects, func(c *x509.Certificate) bool { return c.Equal(ca) })
}

// Server returns whom the certificate is for that clients are shown.
func (t *Trust) Server() Identity {
	id, _ := identityOf(t.certificate.Load().Leaf) // setCertificate held it
	return id
}

// RenewAt returns when credentials should be replaced that last from start to end: with a third of their life left.
func RenewAt(start, end time.Time) time.Time { return end.Add(-end.Sub(start) / 3) }

// Lifetime returns the validity of the server's certificate in use.
func (t *Trust) Lifetime() (start, end time.Time) {
	leaf := t.certificate.Load().Leaf
	return leaf.NotBefore, leaf.NotAfter
}

// ErrTooEarly is in the chain when a point asks for new credentials while those it has are good for long.
var ErrTooEarly = errors.New("too early to renew")

// RenewPoint makes both credentials of a point anew, for as long as those it has, which serial names: that of its credential of role
// Point, which must be good still. With more than a third of their life left that is ErrTooEarly, so that nobody fills the list.
func (a *Authority) RenewPoint(serial string, servers []string) (*PointCredentials, error) {
	var held *Issued
	for _, i := range a.Issued() {
		if i.Serial == serial && i.Role == Point && i.Revoked.IsZero() {
			held = &i
		}
	}
	if held == nil {
		return nil, fmt.Errorf("renew point credentials: serial %.80q: %w", serial, ErrUnknownCredential)
	}
	if from, now := RenewAt(held.NotBefore, held.NotAfter), a.now(); now.Before(from) {
		return nil, fmt.Errorf("renew credentials of point %q: %w: they end %s, and can be renewed from %s on", held.Name, ErrTooEarly, held.NotAfter.UTC().Format(time.RFC3339), from.UTC().Format(time.RFC3339))
	}
	return a.IssuePoint(PointRequest{Name: held.Name, Servers: servers, Lifetime: held.NotAfter.Sub(held.NotBefore) - backdate})
}
