package servicing

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what names of downloads have
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"wimcast/statefile"
)

// Errors that the package's errors wrap.
var (
	// ErrNotFound: there is no update, overlay or schedule of that name.
	ErrNotFound = errors.New("no such thing")
	// ErrExists: another file has the name already.
	ErrExists = errors.New("it exists")
	// ErrInUse: a schedule wants it.
	ErrInUse = errors.New("in use")
	// ErrUnsupported: what is asked for can't be done.
	ErrUnsupported = errors.New("unsupported")
)

// Bounds of the catalogue.
const (
	maxUpdates    = 2000
	maxUpdateSize = 32 << 30 // bytes; the largest updates have some 5 GB
	maxFileName   = 255
)

// Files of the catalogue.
const (
	catalogueFile = "catalogue.json"
	filesDir      = "files"
	incomingDir   = "incoming"
)

// Catalogue keeps updates and overlays. Safe for concurrent use.
type Catalogue struct {
	dir  string
	root *os.Root

	mu      sync.Mutex
	updates []Update // in the order of their adding; a slice in use is never changed
}

// catalogue is what stands in the file.
type catalogue struct {
	Updates []Update `json:"updates"`
}

// OpenCatalogue opens the catalogue in a directory, which it makes where it is missing, and removes what a crash left over.
func OpenCatalogue(dir string) (*Catalogue, error) {
	c := &Catalogue{dir: dir}
	if err := c.open(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open catalogue of updates %s: %w", dir, err)
	}
	return c, nil
}

func (c *Catalogue) open() (err error) {
	if c.root, err = openDir(c.dir, filesDir); err != nil {
		return err
	}
	if err := emptyDir(c.root, incomingDir); err != nil {
		return err
	}
	var in catalogue
	if err := readJSON(c.root, catalogueFile, &in); err != nil {
		return err
	}
	for i := range in.Updates {
		if err := in.Updates[i].check(); err != nil {
			return fmt.Errorf("%s: entry %d: %w", catalogueFile, i, err)
		}
	}
	c.updates = in.Updates
	return c.sweep()
}

// check holds what was read from disk as far as it goes on into paths and commands.
func (u *Update) check() error {
	sum, err := hex.DecodeString(u.SHA256)
	if err != nil || len(sum) != sha256.Size || u.SHA256 != strings.ToLower(u.SHA256) {
		return fmt.Errorf("%.80q isn't a SHA-256", u.SHA256)
	}
	if u.Kind != MSU && u.Kind != CAB && u.Kind != Overlay {
		return fmt.Errorf("kind %.40q", u.Kind)
	}
	return checkID(u.ID)
}

// Close closes the catalogue.
func (c *Catalogue) Close() error {
	if c.root == nil {
		return nil
	}
	return c.root.Close()
}

// sweep removes files that no update names. mu must be held, or nobody else be there.
func (c *Catalogue) sweep() error {
	keep := map[string]bool{}
	for i := range c.updates {
		keep[c.updates[i].SHA256] = true
	}
	d, err := c.root.Open(filesDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !keep[name] {
			if err := c.root.Remove(path.Join(filesDir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Add adds a package or, where overlay says so, a tree of files as a tar archive, which it reads once from r. name
// is what the file is called: Microsoft's names tell what a package is, and what its SHA-1 is. size is how many
// bytes will come; 0 where that isn't known. Nothing of a file that is refused stays. The same file
// added again with the same reference gets the new description, and alreadyThere. The errors wrap ErrExists where another file has
// the reference.
func (c *Catalogue) Add(ctx context.Context, r io.Reader, name string, size int64, overlay bool, told Description) (u Update, alreadyThere bool, err error) {
	what := "update"
	if overlay {
		what = "overlay"
	}
	if u, alreadyThere, err = c.add(ctx, r, name, size, overlay, told); err != nil {
		return u, false, fmt.Errorf("add %s %q: %w", what, printable(name), err)
	}
	return u, alreadyThere, nil
}

func (c *Catalogue) add(ctx context.Context, r io.Reader, name string, size int64, overlay bool, told Description) (u Update, alreadyThere bool, err error) {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	if err := checkText("file name", name, maxFileName); err != nil {
		return u, false, err
	}
	temporary := path.Join(incomingDir, rand.Text())
	f, err := c.root.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return u, false, err
	}
	defer func() {
		_ = f.Close()
		_ = c.root.Remove(temporary) // gone already where it was renamed
	}()
	sum, old := sha256.New(), sha1.New() //nolint:gosec // not for security: a download that broke
	n, err := io.Copy(io.MultiWriter(f, sum, old), io.LimitReader(contextReader{ctx, r}, maxUpdateSize+1))
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return u, false, fmt.Errorf("%w; next: wimcast update remove, or give the disk more space", err)
	case err != nil:
		return u, false, fmt.Errorf("after %d bytes: %w", n, err)
	case n > maxUpdateSize:
		return u, false, fmt.Errorf("it has more than %d bytes", int64(maxUpdateSize))
	case size > 0 && n != size:
		return u, false, fmt.Errorf("it ended after %d of %d bytes; next: add it again", n, size)
	}
	if want := sha1InName(name); want != "" && !overlay && want != hex.EncodeToString(old.Sum(nil)) {
		return u, false, fmt.Errorf("its name says that its SHA-1 is %s, and it is %x; next: download it again", want, old.Sum(nil))
	}
	found, err := inspect(ctx, filepath.Join(c.dir, filepath.FromSlash(temporary)), name, overlay)
	if err != nil {
		return u, false, err
	}
	if u, err = describe(found, told); err != nil {
		return u, false, err
	}
	u.File, u.SHA256, u.Size, u.Added = name, hex.EncodeToString(sum.Sum(nil)), n, time.Now().UTC()
	if err := f.Sync(); err != nil {
		return u, false, err
	}
	return c.place(u, temporary)
}

// place makes a file that is whole the catalogue's.
func (c *Catalogue) place(u Update, temporary string) (_ Update, alreadyThere bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	updates := slices.Clone(c.updates)
	at := slices.IndexFunc(updates, func(o Update) bool { return strings.EqualFold(o.Reference(), u.Reference()) })
	switch {
	case at >= 0 && updates[at].SHA256 != u.SHA256:
		return u, false, fmt.Errorf("%w: %s is another file (%s, SHA-256 %.12s, the new one's is %.12s); next: wimcast update remove %s, or wimcast overlay remove",
			ErrExists, updates[at].Reference(), printable(updates[at].File), updates[at].SHA256, u.SHA256, updates[at].Reference())
	case at >= 0:
		alreadyThere, u.Added = true, updates[at].Added
		updates[at] = u
	case len(updates) >= maxUpdates:
		return u, false, fmt.Errorf("there are %d already, the most that the catalogue takes; next: wimcast update remove", len(updates))
	default:
		updates = append(updates, u)
	}
	if err := c.root.Rename(temporary, path.Join(filesDir, u.SHA256)); err != nil {
		return u, false, err
	}
	if err := statefile.SyncDir(c.root, filesDir); err != nil {
		return u, false, err
	}
	return u, alreadyThere, c.commit(updates)
}

// commit makes a list the catalogue's, on disk first. mu must be held.
func (c *Catalogue) commit(updates []Update) error {
	if err := writeJSON(c.root, catalogueFile, incomingDir, catalogue{updates}); err != nil {
		return errors.Join(err, c.sweep())
	}
	c.updates = updates
	return c.sweep()
}

// List returns updates and overlays in the order of their references. Nobody may change what they point to.
func (c *Catalogue) List() []Update {
	c.mu.Lock()
	list := slices.Clone(c.updates)
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Update) int { return strings.Compare(a.Reference(), b.Reference()) })
	return list
}

// Find returns what an id or a reference names, of every architecture. The error wraps ErrNotFound.
func (c *Catalogue) Find(name string) ([]Update, error) {
	var list []Update
	for _, u := range c.List() {
		if strings.EqualFold(u.Reference(), name) {
			return []Update{u}, nil
		}
		if strings.EqualFold(u.ID, name) {
			list = append(list, u)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: neither an update nor an overlay is %q; on the server: wimcast update list", ErrNotFound, printable(name))
	}
	return list, nil
}

// Get returns the one that a name names. The error wraps ErrNotFound.
func (c *Catalogue) Get(name string) (Update, error) {
	list, err := c.Find(name)
	if err != nil {
		return Update{}, err
	}
	if len(list) > 1 {
		var names []string
		for i := range list {
			names = append(names, list[i].Reference())
		}
		return Update{}, fmt.Errorf("%q is several packages; name one: %s", printable(name), strings.Join(names, ", "))
	}
	return list[0], nil
}

// remove removes one; inUse says by its reference which schedule wants it, or "".
func (c *Catalogue) remove(name string, inUse func(reference string) string) (Update, error) {
	u, err := c.Get(name)
	if err != nil {
		return u, err
	}
	if by := inUse(u.Reference()); by != "" {
		return u, fmt.Errorf("remove %s: %w: schedule %s wants it; first: wimcast schedule cancel %s", u.Reference(), ErrInUse, by, by)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	updates := slices.DeleteFunc(slices.Clone(c.updates), func(o Update) bool { return o.Reference() == u.Reference() })
	if err := c.commit(updates); err != nil {
		return u, fmt.Errorf("remove %s: %w", u.Reference(), err)
	}
	return u, nil
}

// path returns where a file lies.
func (c *Catalogue) path(u *Update) string { return filepath.Join(c.dir, filesDir, u.SHA256) }

// prove hashes a file again: what lay on a disk for months goes into an image only as it came.
func (c *Catalogue) prove(ctx context.Context, u *Update) error {
	f, err := c.root.Open(path.Join(filesDir, u.SHA256))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != u.SHA256 {
		return fmt.Errorf("its file was changed or the disk is failing: it isn't what was added; next: wimcast update remove %s, and add it again", u.Reference())
	}
	return nil
}
