package fleet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library"
	"wimcast/library/registry"
	"wimcast/library/release"
)

// repository is where releases and assignments go: one repository of a registry.
type repository interface {
	// Name is how it was configured.
	Name() string
	Head(ctx context.Context, reference string) (v1.Descriptor, error)
	Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error)
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	// PushBlob sends a blob unless it is there, and tells whether it was sent.
	PushBlob(ctx context.Context, d v1.Descriptor, content io.ReaderAt) (sent bool, err error)
	PushManifest(ctx context.Context, b []byte, tag string) (v1.Descriptor, error)
	DeleteManifest(ctx context.Context, d v1.Descriptor) error
}

var _ repository = (*registry.Repository)(nil)

// Config is what a Site works with. All fields are required that don't say otherwise.
type Config struct {
	Dir        string // which it makes where it is missing
	Library    *library.Library
	Repository repository
	// Busy says whether somebody casts now: then content goes out slowly.
	Busy func() bool
	// Revoked are the serials of certificates that the site took back. Points are told.
	Revoked func() []string
	// Changed hears what became of releases and assignments. It must not block; may be nil.
	Changed func(Change)

	// Restored hears, once for each point, that the registry has assignments of it that are ours and newer than all that this site remembers: its
	// state was restored from a backup. lost are references that the point was given since, which it is given no more. It must not block; may be nil.
	Restored func(point string, serial int64, lost []string)

	step func(name string) // of tests: called before each step that lasts
}

// Change says that something came to an end, well or not.
type Change struct {
	Reference string // of a release; else "",
	Point     string // of assignments; both are "" of the registry itself
	Revision  int64  // or serial
	Bytes     int64  // that were sent
	Took      time.Duration
	Err       error     // nil: it is in the registry
	Retry     time.Time // when it is tried again
	Failures  int       // in a row, this one included
}

// Site keeps what points shall have and brings it into the registry. Safe for concurrent use.
type Site struct {
	cfg  Config
	root *os.Root
	key  ed25519.PrivateKey
	now  func() time.Time
	pace *pace
	wake [2]chan struct{} // of the two loops

	mu    sync.Mutex
	state *state
	keys  *keyring

	began int64 // the newest serial that was given before this run

	working sync.Mutex // of what follows, which is of this run of the daemon alone
	jobs    map[string]*job
	stale   map[string]bool // releases that the registry has lost
	checked time.Time       // when the registry was last looked at
	adopted map[string]bool // points whose document in the registry was looked at
}

// New opens the site's state, and makes it where there is none. The caller closes it. Nothing is started.
func New(cfg Config) (*Site, error) {
	if cfg.step == nil {
		cfg.step = func(string) {}
	}
	s := &Site{
		cfg: cfg, now: func() time.Time { return time.Now().UTC() }, jobs: map[string]*job{}, stale: map[string]bool{}, adopted: map[string]bool{},
		wake: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)},
	}
	s.pace = newPace(cfg.Busy)
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open fleet %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Site) open() (err error) {
	if err := os.MkdirAll(s.cfg.Dir, dirMode); err != nil {
		return err
	}
	if err := os.Chmod(s.cfg.Dir, dirMode); err != nil {
		return err
	}
	if s.root, err = os.OpenRoot(s.cfg.Dir); err != nil {
		return err
	}
	if err := s.root.MkdirAll(releasesDir, dirMode); err != nil {
		return err
	}
	s.state = &state{Version: stateVersion}
	there, err := readJSON(s.root, stateFile, maxStateFile, s.state)
	if err != nil {
		return err
	}
	if err := s.state.check(); err != nil {
		return fmt.Errorf("%s: %w; next: restore the folder from a backup", stateFile, err)
	}
	s.began = s.state.Serial
	if err := s.openKeys(!there); err != nil {
		return err
	}
	if !there {
		if err := s.commit(s.state); err != nil {
			return err
		}
	}
	return s.sweep()
}

// Close closes the files. Run must have returned.
func (s *Site) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// Key is the public half of the site's key, which points are given.
func (s *Site) Key() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Repository is where the releases are.
func (s *Site) Repository() string { return s.cfg.Repository.Name() }

// SetLimit bounds what content goes out with, in bytes/s, at once; 0 is no limit.
func (s *Site) SetLimit(rate float64) { s.pace.set(rate) }

// Poke says that something may have changed: a package, a revocation. It doesn't block.
func (s *Site) Poke() {
	for _, c := range s.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// commit makes a state the site's, on disk first. mu must be held.
func (s *Site) commit(st *state) error {
	if err := s.writeJSON(stateFile, st, maxStateFile); err != nil {
		return err
	}
	s.state = st
	return nil
}

// change changes the state, all of it or nothing.
func (s *Site) change(change func(*state) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state.clone()
	if err := change(st); err != nil {
		return err
	}
	return s.commit(st)
}

// edit changes the state, and has what follows done.
func (s *Site) edit(change func(*state) error) error {
	if err := s.change(change); err != nil {
		return err
	}
	s.Poke()
	return nil
}

// current returns the state as it is; nobody may change it.
func (s *Site) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Site) facts() facts { return factsOf(s.cfg.Library.List()) }

// sweep removes documents of releases that aren't in use.
func (s *Site) sweep() error {
	keep := map[string]bool{}
	for i := range s.state.Made {
		keep[s.state.Made[i].Manifest.Encoded()] = true
	}
	entries, err := fs.ReadDir(s.root.FS(), releasesDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		if keep[name] {
			continue
		}
		if err := s.root.Remove(path.Join(releasesDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// file is the point's file without what certificates are about: the caller fills in Admin, Bundle and Server.
func (s *Site) file(name, identity string) *release.PointFile {
	return &release.PointFile{Name: name, Repository: s.Repository(), SiteKey: release.FormatPublicKey(s.Key()), Identity: identity}
}
