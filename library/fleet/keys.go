package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"wimcast/library/release"
)

// contentKey is a key that blocks of a package are sealed under.
type contentKey struct {
	Number int       `json:"number"` // from 1; the latest is what a new version is sealed under
	Key    []byte    `json:"key"`    // release.KeySize random bytes
	Drawn  time.Time `json:"drawn"`
	// Wrapped are all recipients that it was ever wrapped to: who of them is lost knows it.
	Wrapped []string `json:"wrapped,omitempty"`
}

func (k *contentKey) array() (out [release.KeySize]byte) {
	copy(out[:], k.Key)
	return out
}

// keyring is what keys.json has. Like a state it is never changed in place.
type keyring struct {
	Version  int                     `json:"version"`
	Packages map[string][]contentKey `json:"packages"` // by name
}

func (r *keyring) clone() *keyring {
	out := &keyring{Version: r.Version, Packages: map[string][]contentKey{}}
	for name, keys := range r.Packages {
		keys = slices.Clone(keys)
		for i := range keys {
			keys[i].Wrapped = slices.Clone(keys[i].Wrapped)
		}
		out.Packages[name] = keys
	}
	return out
}

func (r *keyring) check() error {
	if r.Version != stateVersion {
		return fmt.Errorf("%s: its version is %d, this program reads %d", keysFile, r.Version, stateVersion)
	}
	for name, keys := range r.Packages {
		for i := range keys {
			if len(keys[i].Key) != release.KeySize || keys[i].Number < 1 || i > 0 && keys[i].Number <= keys[i-1].Number {
				return fmt.Errorf("%s: key %d of %.80q isn't one", keysFile, i+1, name)
			}
		}
	}
	return nil
}

// find returns a key by its number, nil where there is none.
func (r *keyring) find(pkg string, number int) *contentKey {
	keys := r.Packages[pkg]
	if i := slices.IndexFunc(keys, func(k contentKey) bool { return k.Number == number }); i >= 0 {
		return &keys[i]
	}
	return nil
}

// latest returns the key for new versions, nil where there is none.
func (r *keyring) latest(pkg string) *contentKey {
	if keys := r.Packages[pkg]; len(keys) > 0 {
		return &keys[len(keys)-1]
	}
	return nil
}

// draw adds a key to a package.
func (r *keyring) draw(pkg string, now time.Time) *contentKey {
	k := contentKey{Number: 1, Key: make([]byte, release.KeySize), Drawn: now}
	_, _ = rand.Read(k.Key)
	if last := r.latest(pkg); last != nil {
		k.Number = last.Number + 1
	}
	r.Packages[pkg] = append(r.Packages[pkg], k)
	return r.latest(pkg)
}

// noteWrapped remembers recipients; it reports whether one was new.
func (k *contentKey) noteWrapped(recipients []string) bool {
	changed := false
	for _, r := range recipients {
		if !slices.Contains(k.Wrapped, r) {
			k.Wrapped, changed = append(k.Wrapped, r), true
		}
	}
	return changed
}

// openKeys reads the site's key and the content keys; it draws the site's key where there is no state yet.
func (s *Site) openKeys(fresh bool) error {
	key, err := s.readSiteKey()
	switch {
	case errors.Is(err, fs.ErrNotExist) && fresh:
		if _, key, err = ed25519.GenerateKey(nil); err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := s.replace(siteKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is missing, and %s is there: points believe nobody else; next: restore the folder from a backup, or move it away and add all points anew", siteKeyFile, stateFile)
	case err != nil:
		return err
	}
	s.key = key
	s.keys = &keyring{Version: stateVersion}
	there, err := readJSON(s.root, keysFile, maxKeysFile, s.keys)
	if err != nil {
		return err
	}
	if s.keys.Packages == nil {
		s.keys.Packages = map[string][]contentKey{}
	}
	if !there && slices.ContainsFunc(s.state.Made, func(m Made) bool { return m.Key > 0 }) {
		return fmt.Errorf("%s is missing, and releases are sealed under keys that were in it; next: restore the folder from a backup", keysFile)
	}
	return s.keys.check()
}

func (s *Site) readSiteKey() (ed25519.PrivateKey, error) {
	f, err := s.root.Open(siteKeyFile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 1<<12))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s has no key in PEM; next: restore the folder from a backup", siteKeyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; next: restore the folder from a backup", siteKeyFile, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s has a key of another kind than Ed25519; next: restore the folder from a backup", siteKeyFile)
	}
	return key, nil
}

// commitKeys makes a keyring the site's, on disk first. mu must be held.
func (s *Site) commitKeys(r *keyring) error {
	if err := s.writeJSON(keysFile, r, maxKeysFile); err != nil {
		return err
	}
	s.keys = r
	return nil
}

// useKey returns the content key of a number, or for 0 the one for new versions, which is drawn where there is none;
// and notes, on disk and before it is used, whom it is going to be wrapped to.
func (s *Site) useKey(pkg string, number int, recipients []string) (contentKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.keys.clone()
	k, changed := keys.latest(pkg), false
	if number > 0 {
		if k = keys.find(pkg, number); k == nil {
			return contentKey{}, fmt.Errorf("content key %d of %s is gone; next: restore %s from a backup", number, pkg, keysFile)
		}
	} else if k == nil {
		k, changed = keys.draw(pkg, s.now()), true
	}
	if k.noteWrapped(recipients) || changed {
		if err := s.commitKeys(keys); err != nil {
			return contentKey{}, err
		}
	}
	return *k, nil
}
