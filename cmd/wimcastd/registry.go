package main

import (
	"fmt"
	"os"
	"path/filepath"

	"wimcast/library/registry"
)

// registryConfig says where the registry is through which packages get from a site to its points. Of a point it is in the
// point file, unless it is named here.
type registryConfig struct {
	Repository  string `toml:"repository"`  // host[:port]/path; empty: none, or the point file's
	Credentials string `toml:"credentials"` // file; empty: none are shown
	CA          string `toml:"ca"`          // file with certificates in PEM; empty: the system's
	PlainHTTP   bool   `toml:"plain_http"`  // without TLS
	PushLimit   rate   `toml:"push_limit"`  // bytes/s of what a site sends there; 0: none
}

// leastPush is the least of push_limit, bytes/s: a chunk in 45 s, within what registries wait for.
const leastPush = 65_536

func (c *registryConfig) check(bad func(key, format string, args ...any)) {
	if c.PushLimit != 0 && c.PushLimit < leastPush {
		bad("registry.push_limit", "%v B/s is less than \"%d B/s\"; \"0\" means no limit", float64(c.PushLimit), leastPush)
	}
}

// open returns the repository. Relative names of files are looked for in $CREDENTIALS_DIRECTORY first, where systemd has put credentials.
func (c *registryConfig) open(repository string) (*registry.Repository, error) {
	if c.Repository != "" {
		repository = c.Repository
	}
	repo, err := registry.Open(registry.Config{
		Repository: repository, Credentials: credentialFile(c.Credentials), CA: credentialFile(c.CA), PlainHTTP: c.PlainHTTP, UserAgent: "wimcast/" + version,
	})
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return repo, nil
}

// credentialFile finds a file that systemd may hold (systemd.exec(5), LoadCredential).
func credentialFile(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if name == "" || dir == "" || filepath.IsAbs(name) {
		return name
	}
	if path := filepath.Join(dir, filepath.Base(name)); filepath.Base(name) == name {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}
