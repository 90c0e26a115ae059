package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/library/release"
	"wimcast/statefile"
)

const (
	// pointDir is where a point keeps what it learns of its own credentials, in the state directory.
	pointDir = "point"
	// trustFile holds renewed credentials and the serials that the site has revoked.
	trustFile       = "trust.json"
	trustFileFormat = 1
	maxTrustFile    = 8 << 20 // bytes; a serial takes 36
)

// readPointFile reads the file that makes this daemon a point. systemd hands secrets over in a directory of its own: a name that is no
// path is looked up there first.
func readPointFile(name string) (*release.PointFile, error) {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Base(name) == name {
		given := filepath.Join(dir, name)
		if _, err := os.Stat(given); err == nil {
			return release.ReadPointFile(given)
		}
	}
	return release.ReadPointFile(name)
}

// pointTrust is what a daemon that is a point proves itself with, to clients and to its site, and whom it refuses. It takes the place of
// an authority: the site's CA signs for all of its points. Safe for concurrent use.
type pointTrust struct {
	trust *keyex.Trust
	name  string
	site  string // SHA-256 of the site's CA, hexadecimal
	root  *os.Root

	mu   sync.Mutex
	kept keptTrust
	own  *keyex.Bundle
}

// keptTrust is trustFile.
type keptTrust struct {
	Format  int      `json:"format"`
	Site    string   `json:"site"`
	Point   string   `json:"point"`
	Server  string   `json:"server,omitempty"` // as PointFile has it; "" while that's is in use
	Bundle  string   `json:"bundle,omitempty"` // likewise
	Revoked []string `json:"revoked,omitempty"`
}

// openPointTrust takes the credentials of a point file into use, or those that were renewed since, and refuses from the start whom the
// site had revoked when it was last heard of. What is kept is in the folder pointDir of state.
func openPointTrust(file *release.PointFile, state string) (*pointTrust, error) {
	p, err := newPointTrust(file)
	if err != nil {
		return nil, fmt.Errorf("point file of %s: %w; next, at the site: wimcast point add", file.Name, err)
	}
	dir := filepath.Join(state, pointDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open a point's trust: %w", err)
	}
	if p.root, err = os.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("open a point's trust: %w", err)
	}
	if err := p.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open a point's trust: %s: %w; next: remove the file, and the site tells the list again", filepath.Join(dir, trustFile), err), p.root.Close())
	}
	return p, nil
}

// newPointTrust holds that the parts of a point file fit together.
func newPointTrust(file *release.PointFile) (*pointTrust, error) {
	trust, err := keyex.NewPointTrust([]byte(file.Server), nil)
	if err != nil {
		return nil, err
	}
	p := &pointTrust{trust: trust, name: file.Name}
	if p.own, err = p.parseBundle(file.Bundle); err != nil {
		return nil, err
	}
	if server := trust.Server(); server.Name != file.Name {
		return nil, fmt.Errorf("its server certificate is of point %q", server.Name)
	}
	if !trust.Pins(p.own.CA) {
		return nil, errors.New("its bundle and its server certificate are of two sites")
	}
	sum := sha256.Sum256(p.own.CA.Raw)
	p.site = hex.EncodeToString(sum[:])
	p.kept = p.empty()
	return p, nil
}

func (p *pointTrust) empty() keptTrust {
	return keptTrust{Format: trustFileFormat, Site: p.site, Point: p.name}
}

// parseBundle reads the point's own credential at its site.
func (p *pointTrust) parseBundle(text string) (*keyex.Bundle, error) {
	b, err := keyex.ParseBundle([]byte(text))
	if err != nil {
		return nil, err
	}
	if id := b.Identity(); id.Role != keyex.Point || id.Name != p.name {
		return nil, fmt.Errorf("its bundle is %s's, of role %s", id.Name, id.Role)
	}
	return b, nil
}

// load takes up what was kept, unless it is of another site or another point.
func (p *pointTrust) load() error {
	text, err := statefile.Read(p.root, trustFile, maxTrustFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept keptTrust
	if err := json.Unmarshal(text, &kept); err != nil {
		return fmt.Errorf("it doesn't parse: %w", err)
	}
	switch {
	case kept.Format != trustFileFormat:
		return fmt.Errorf("its format is %d, this program reads %d", kept.Format, trustFileFormat)
	case kept.Site != p.site || kept.Point != p.name:
		return nil
	}
	if _, err := p.trust.SetRevoked(kept.Revoked); err != nil {
		return err
	}
	p.kept.Revoked = kept.Revoked
	if kept.Server == "" {
		return nil
	}
	// A point file that was written since is newer: what was kept is then refused, and forgotten.
	own, err := p.parseBundle(kept.Bundle)
	if err != nil {
		return err
	}
	if _, err := p.trust.SetServer([]byte(kept.Server)); err == nil {
		p.kept.Server, p.kept.Bundle, p.own = kept.Server, kept.Bundle, own
	}
	return nil
}

// Close releases the directory.
func (p *pointTrust) Close() error { return p.root.Close() }

// bundle is the point's own credential at its site, the newest that there is.
func (p *pointTrust) bundle() *keyex.Bundle {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own
}

// setRevoked refuses these serials from now on, and after a restart. It reports whether that changes anything: then control channels that
// are open are to be judged again. The list counts at once even where it can't be stored.
func (p *pointTrust) setRevoked(serials []string) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if changed, err = p.trust.SetRevoked(serials); err != nil {
		return false, err
	}
	if slices.Equal(p.kept.Revoked, serials) {
		return changed, nil
	}
	kept := p.kept
	kept.Revoked = slices.Clone(serials)
	return changed, p.keep(kept)
}

// renewed takes new credentials of this point into use, once they are stored. What isn't this point's changes nothing.
func (p *pointTrust) renewed(server, bundle string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	own, err := p.parseBundle(bundle)
	if err != nil {
		return fmt.Errorf("renew a point's credentials: %w", err)
	}
	if !p.trust.Pins(own.CA) {
		return errors.New("renew a point's credentials: the bundle is of another site")
	}
	before := p.kept
	kept := p.kept
	kept.Server, kept.Bundle = server, bundle
	if err := p.keep(kept); err != nil {
		return err
	}
	if _, err := p.trust.SetServer([]byte(server)); err != nil {
		return errors.Join(err, p.keep(before))
	}
	p.own = own
	return nil
}

// renewAt is when the credentials should be replaced.
func (p *pointTrust) renewAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	leaf := p.own.Chain[0]
	own := keyex.RenewAt(leaf.NotBefore, leaf.NotAfter)
	if server := keyex.RenewAt(p.trust.Lifetime()); server.Before(own) {
		return server
	}
	return own
}

// keep stores what there is, whole or not at all.
func (p *pointTrust) keep(kept keptTrust) error {
	text, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return err
	}
	if err := statefile.Replace(p.root, trustFile, 0o600, append(text, '\n')); err != nil {
		return fmt.Errorf("store a point's trust: %w", err)
	}
	p.kept = kept
	return nil
}

// checkBundle refuses what a point can't have beside its point file.
func (c *config) checkBundle(bad func(key, format string, args ...any)) {
	if c.Point.Bundle == "" {
		return
	}
	if c.PKI.CA != "" {
		bad("point.bundle", "%q and pki.ca = %q: a point has its certificates from its site; keep one", c.Point.Bundle, c.PKI.CA)
	}
	if c.Name != "" {
		bad("name", "%q and point.bundle = %q: a point bears its site's name; leave it out", c.Name, c.Point.Bundle)
	}
}

// openTrust makes the daemon a point of a site: no CA of its own, but the site's word on who may come.
func (d *distributionPoint) openTrust() (err error) {
	file := d.point.file
	if file.Exposed {
		d.log.Warn("point.bundle: others on this machine can read the point file; whoever has it can have what this point has: chmod 600", zap.String("file", d.cfg.Point.Bundle))
	}
	if _, err := os.Stat(filepath.Join(d.cfg.State, authorityDir)); err == nil {
		d.log.Warn("the state holds a CA of its own, which is out of use while this daemon is a point: its bundles aren't good here", zap.String("point", file.Name))
	}
	if d.pointTrust, err = openPointTrust(file, d.cfg.State); err != nil {
		return fmt.Errorf("point.bundle: %w", err)
	}
	d.trust = d.pointTrust.trust
	return nil
}

// revoke has a point refuse whom its site has revoked, and ends what they have here. The puller calls it with each list.
func (d *distributionPoint) revoke(serials []string) {
	changed, err := d.pointTrust.setRevoked(serials)
	if err != nil {
		d.log.Error("the site's list of revoked certificates can't be stored; it counts until the next start", zap.Error(err))
	}
	if changed {
		d.log.Info("the site's list of revoked certificates is in force", zap.Int("certificates", len(serials)))
		d.upkeep.round()
	}
}

// pointName is the name that this daemon has as a point; "" where it isn't one.
func (d *distributionPoint) pointName() string {
	if d.pointTrust == nil {
		return ""
	}
	return d.pointTrust.name
}

// serverTitle is the name under which metrics tell the end of the server's certificate.
func (d *distributionPoint) serverTitle() string { return cmp.Or(d.pointName(), d.trust.ServerName()) }
