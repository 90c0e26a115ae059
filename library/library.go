package library

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
)

// Library is an open library. It is safe for concurrent use.
type Library struct {
	path string
	root *os.Root
	lock *os.File
	site *Site             // nil where it isn't a point's
	step func(name string) // of tests: called before each step that lasts

	syncing  sync.Mutex // held while blobs that were pulled are synced; before mu
	mu       sync.RWMutex
	packages []Package                         // in the order of their adding; a slice in use is never changed
	placed   int                               // how often files of a content were placed
	pending  map[digest.Digest]*pendingRelease // releases that are being pulled, by the digests of their manifests
	fresh    map[digest.Digest]bool            // blobs of those that were proven since the library was opened
	unsynced bool                              // blobs were placed that may not last yet
	reading  map[*Content]struct{}             // contents of pulled packages that are open
	watcher  func(ServiceChange)
	untold   []ServiceChange
}

// Open opens the library in a directory, which it makes where it is missing, and
// sweeps what a crash left over. Packages whose content is missing or has another size are
// taken out of service. The error wraps ErrInUse where another process has it open.
func Open(dir string) (*Library, error) { return open(dir, nil, func(string) {}) }

func open(dir string, site *Site, step func(string)) (*Library, error) {
	l := &Library{path: dir, site: site, step: step, pending: map[digest.Digest]*pendingRelease{}, fresh: map[digest.Digest]bool{}, reading: map[*Content]struct{}{}}
	if err := l.open(); err != nil {
		_ = l.close()
		return nil, fmt.Errorf("open library %s: %w", dir, l.full(err))
	}
	return l, nil
}

func (l *Library) open() (err error) {
	if err := os.MkdirAll(l.path, dirMode); err != nil {
		return err
	}
	if l.root, err = os.OpenRoot(l.path); err != nil {
		return err
	}
	if l.lock, err = l.root.OpenFile("lock", os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return err
	}
	if err := lockFile(l.lock); err != nil {
		return err
	}
	if err := l.layOut(); err != nil {
		return err
	}
	if err := l.readIndex(); err != nil {
		return err
	}
	if err := l.readPending(); err != nil {
		return err
	}
	return l.sweep()
}

// layOut makes an empty layout where there is none, and empties ingest/.
func (l *Library) layOut() error {
	if err := l.root.RemoveAll(ingestDir); err != nil {
		return err
	}
	for _, dir := range []string{blobDir, ingestDir, pendingDir} {
		if err := l.root.MkdirAll(dir, dirMode); err != nil {
			return err
		}
	}
	want, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return err
	}
	b, err := l.root.ReadFile(v1.ImageLayoutFile)
	var layout v1.ImageLayout
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := l.root.Stat(v1.ImageIndexFile); err == nil {
			return fmt.Errorf("%s is there, but %s isn't; next: restore the folder from a backup", v1.ImageIndexFile, v1.ImageLayoutFile)
		}
		empty, err := index(nil)
		if err != nil {
			return err
		}
		if err := l.replace(v1.ImageLayoutFile, want); err != nil {
			return err
		}
		if err := l.replace(v1.ImageIndexFile, empty); err != nil {
			return err
		}
		return l.syncDir(".")
	case err != nil:
		return err
	case json.Unmarshal(b, &layout) != nil || layout.Version != v1.ImageLayoutVersion:
		return fmt.Errorf("%s: %.100q, want %s", v1.ImageLayoutFile, b, want)
	}
	return nil
}

// readIndex reads index.json and what it names.
func (l *Library) readIndex() error {
	f, err := l.root.Open(v1.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) { // a crash of the first start
		return l.commit(nil)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err != nil {
		return err
	}
	var in v1.Index
	if err := json.Unmarshal(b, &in); err != nil || len(b) > maxIndex {
		return fmt.Errorf("%s: it doesn't parse (%w); next: restore it from a backup, or add the images again into an empty folder", v1.ImageIndexFile, err)
	}
	changed := false
	for i := range in.Manifests {
		p, err := parsePackage(&in.Manifests[i])
		if err != nil {
			return fmt.Errorf("%s: entry %d: %w", v1.ImageIndexFile, i, err)
		}
		p.stored, err = l.load(&p)
		switch {
		case err == nil:
		case passing(err):
			return fmt.Errorf("package %s: %w", p.Reference(), err)
		case p.OutOfService == "":
			p.OutOfService, changed = printable(err.Error()), true
			l.note(p, p.OutOfService)
		}
		l.packages = append(l.packages, p)
	}
	if changed {
		return l.commit(l.packages)
	}
	return nil
}

// Close lets another process open the library. Content that is open stays readable.
func (l *Library) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close()
}

func (l *Library) close() error {
	var errs []error
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	if l.root != nil {
		errs = append(errs, l.root.Close())
	}
	return errors.Join(errs...)
}

// commit makes packages the library's, on disk first. mu must be held.
func (l *Library) commit(packages []Package) error {
	b, err := index(packages)
	if err != nil {
		return err
	}
	if err := l.replace(v1.ImageIndexFile, b); err != nil {
		return err
	}
	l.packages = packages
	return l.syncDir(".")
}

// List returns the packages in the order of their names, of each the current version first, then those before it.
func (l *Library) List() []Package {
	l.mu.RLock()
	list := slices.Clone(l.packages)
	l.mu.RUnlock()
	slices.SortStableFunc(list, func(a, b Package) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return newer(&b, &a)
	})
	return list
}

// Get returns the package of a reference: name@version; a name alone, for its current version: the one
// that was added last, or that [Library.Rollback] restored since, and at a point the one that its site says; the digest, or its first 12 digits or more. The error wraps ErrNotFound or ErrAmbiguous.
func (l *Library) Get(ref string) (Package, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	i, err := l.find(ref)
	if err != nil {
		return Package{}, err
	}
	return l.packages[i], nil
}

// find returns the place of the package of a reference. mu must be held.
func (l *Library) find(ref string) (int, error) {
	found := -1
	name, version, exact := strings.Cut(ref, "@")
	for i := range l.packages {
		p := &l.packages[i]
		if p.Name == name && (!exact || p.Version == version) && (found < 0 || newer(p, &l.packages[found]) > 0) {
			found = i
		}
	}
	if found >= 0 {
		return found, nil
	}
	if isDigest(ref) {
		var matches []string
		for i := range l.packages {
			if strings.HasPrefix(l.packages[i].Digest.String(), ref) {
				found = i
				matches = append(matches, l.packages[i].Reference())
			}
		}
		if len(matches) > 1 {
			return 0, fmt.Errorf("digest %s: %w have it; name one: %s", ref, ErrAmbiguous, strings.Join(matches, ", "))
		}
	}
	if found < 0 {
		return 0, &notFoundError{ref, l.near(name)}
	}
	return found, nil
}

// having returns the places of the packages of a content that was added here. mu must be held.
func (l *Library) having(d crypto.Hash) []int {
	var places []int
	for i := range l.packages {
		if l.packages[i].Digest == d && !l.packages[i].Pulled() {
			places = append(places, i)
		}
	}
	return places
}

// contentPath returns where a package's WIM file lies.
func contentPath(p *Package) string { return path.Join(blobDir, p.content.Digest.Encoded()) }
