package release

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// PointFile is what a point is given once: the file that `wimcast point add` writes. Whoever holds it can have what the point may have.
type PointFile struct {
	Format     int    `json:"format"` // 1
	Name       string `json:"name"`
	Repository string `json:"repository"` // in the registry: host[:port]/path
	SiteKey    string `json:"site_key"`   // see ParsePublicKey
	Identity   string `json:"identity"`   // of age
	// Admin are the addresses of the site's admin API over HTTPS, host:port; none where the site has none.
	Admin []string `json:"admin,omitempty"`
	// Bundle is the point's credential of role point at the site, as text of a join bundle.
	Bundle string `json:"bundle"`
	// Server is what the point shows to clients: its certificate, the site's CA and the key as PEM blocks, in the order of a join bundle.
	Server string `json:"server"`

	// Exposed is true when it was read from a file that others can read.
	Exposed bool `json:"-"`
}

// maxPointFile bounds the file, in bytes.
const maxPointFile = 256 << 10

// CheckPointName says whether s can be a point's name: it stands in tags and addresses.
func CheckPointName(s string) error {
	if s == "" || len(s) > maxPointName {
		return fmt.Errorf("point name %.80q: want 1 to %d characters", s, maxPointName)
	}
	for i, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' && i > 0) {
			return fmt.Errorf("point name %q: want lower-case letters, digits and hyphens, as in north-2", s)
		}
	}
	return nil
}

const maxPointName = 48

// Site returns the site's key.
func (p *PointFile) Site() (ed25519.PublicKey, error) { return ParsePublicKey(p.SiteKey) }

func (p *PointFile) check() error {
	if p.Format != documentFormat {
		return fmt.Errorf("its format is %d, this program reads %d", p.Format, documentFormat)
	}
	if p.Repository == "" || p.Bundle == "" || p.Server == "" {
		return errors.New("repository, bundle or server is missing")
	}
	_, siteErr := p.Site()
	_, identityErr := Recipient(p.Identity)
	return errors.Join(CheckPointName(p.Name), siteErr, identityErr)
}

// Marshal returns the file's text. It fills in Format.
func (p *PointFile) Marshal() ([]byte, error) {
	p.Format = documentFormat
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("write point file: %w", err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write point file: %w", err)
	}
	return append(b, '\n'), nil
}

// ParsePointFile reads what Marshal wrote.
func ParsePointFile(text []byte) (*PointFile, error) {
	p := &PointFile{}
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read point file: it doesn't parse (%w)", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("read point file: %w", err)
	}
	return p, nil
}

// ReadPointFile reads a point file; see PointFile.Exposed.
func ReadPointFile(path string) (*PointFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read point file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxPointFile))
	if err != nil {
		return nil, fmt.Errorf("read point file: %w", err)
	}
	p, err := ParsePointFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; next: at the site, wimcast point add", path, err)
	}
	if info, err := f.Stat(); err == nil && runtime.GOOS != "windows" {
		p.Exposed = info.Mode().Perm()&0o077 != 0
	}
	return p, nil
}
