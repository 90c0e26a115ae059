package clientlog

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"wimcast/statefile"
)

// Entry is a report that is kept. What Report says is claimed by the machine; the rest is
// what the point saw.
type Entry struct {
	ID          string    `json:"id"` // also the name of its directory
	Received    time.Time `json:"received"`
	Address     string    `json:"address"`
	Certificate string    `json:"certificate"` // its holder's name
	Role        string    `json:"role"`
	CertSerial  string    `json:"certificate_serial"`
	Report      Report    `json:"report"`
	Files       []Kept    `json:"files"`
}

// Kept is a file of an entry.
type Kept struct {
	Name string `json:"name"`
	Size int64  `json:"size_bytes"`
}

// size is what an entry counts for: its files, and a block of the disk for each and for itself.
func (e *Entry) size() int64 {
	n := int64(2 * diskBlock)
	for _, f := range e.Files {
		n += f.Size + diskBlock
	}
	return n
}

// Implementation constants.
const (
	entryFile = "entry.json"
	unborn    = ".new-"  // begins the name of what isn't whole yet
	diskBlock = 4096     // bytes
	maxEntry  = 64 << 10 // bytes of entry.json
)

// Errors of a Store.
var (
	// ErrOff: nothing is kept here.
	ErrOff = errors.New("no logs of clients are kept here")
	// ErrUnknown: there is no such report, or it has no such file.
	ErrUnknown = errors.New("no such log")
	// ErrDiskFull: nothing of the report was stored.
	ErrDiskFull = errors.New("the disk is full")
)

// Store keeps reports in a directory, each in one of its own. Safe for concurrent use; one
// process has a directory at a time.
type Store struct {
	root *os.Root

	mu      sync.Mutex
	keep    time.Duration // 0: for ever
	max     int64         // bytes; 0: keeps nothing
	entries []Entry       // the oldest first
	coming  int64         // bytes of reports that are being written
}

// Open opens the store in dir, and makes it there (mode 0700). keep is how long a report stays (0: for ever), max
// what all of them may take in bytes (0: none is taken). What a killed process left half written is removed, and so is a
// report that can't be read.
func Open(dir string, keep time.Duration, max int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open logs of clients: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open logs of clients: %w", err)
	}
	s := &Store{root: root, keep: keep, max: max}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open logs of clients: %s: %w", dir, err), root.Close())
	}
	return s, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

// idPattern is what newID makes; nothing else is looked at.
var idPattern = regexp.MustCompile(`^\d{8}T\d{6}Z-[A-Za-z0-9_][A-Za-z0-9_.-]*-[0-9a-f]{8}$`)

func newID(now time.Time, machine string) string {
	var random [4]byte
	_, _ = rand.Read(random[:])
	return now.UTC().Format("20060102T150405Z") + "-" + cmp.Or(strings.TrimLeft(plain(machine), "-"), "_") + "-" + hex.EncodeToString(random[:])
}

func (s *Store) load() error {
	list, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, d := range list {
		switch {
		case strings.HasPrefix(d.Name(), unborn):
			err = s.root.RemoveAll(d.Name())
		case idPattern.MatchString(d.Name()):
			var e Entry
			if e, err = s.read(d.Name()); err == nil {
				s.entries = append(s.entries, e)
			} else {
				err = s.root.RemoveAll(d.Name())
			}
		}
		if err != nil {
			return err
		}
	}
	slices.SortFunc(s.entries, func(a, b Entry) int { return a.Received.Compare(b.Received) })
	return nil
}

func (s *Store) read(id string) (e Entry, err error) {
	text, err := statefile.Read(s.root, id+"/"+entryFile, maxEntry)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, err
	}
	if e.ID != id {
		return e, fmt.Errorf("%s says that it is %.80q", id, e.ID)
	}
	return e, nil
}

// Set changes how long reports stay, and how much of them.
func (s *Store) Set(keep time.Duration, max int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep, s.max = keep, max
	_ = s.prune(time.Now(), 0, "")
}

// Expire removes what has been kept long enough.
func (s *Store) Expire(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prune(now, 0, "")
}

// prune removes what is too old, then what is too much when size bytes of an address come to it: the oldest report of the
// address that has most. So whoever floods the store pushes out their own. The caller holds mu.
func (s *Store) prune(now time.Time, size int64, from string) error {
	for s.keep > 0 && len(s.entries) > 0 && now.Sub(s.entries[0].Received) > s.keep {
		if err := s.remove(0); err != nil {
			return err
		}
	}
	for len(s.entries) > 0 {
		total, by, heaviest := s.coming+size, map[string]int64{from: size}, from
		for i := range s.entries {
			e := &s.entries[i]
			total += e.size()
			by[e.Address] += e.size()
		}
		if s.max == 0 || total <= s.max { // what is there stays when no more is taken
			return nil
		}
		oldest := -1
		for i := range s.entries {
			if a := s.entries[i].Address; oldest < 0 || by[a] > by[heaviest] {
				oldest, heaviest = i, a
			}
		}
		if err := s.remove(oldest); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the i-th entry. The caller holds mu.
func (s *Store) remove(i int) error {
	id := s.entries[i].ID
	// It is out of the way with one step, so that a kill leaves nothing half removed in sight.
	if err := s.root.Rename(id, unborn+id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove log %s: %w", id, err)
	}
	s.entries = slices.Delete(s.entries, i, i+1)
	if err := s.root.RemoveAll(unborn + id); err != nil {
		return fmt.Errorf("remove log %s: %w", id, err)
	}
	return nil
}

// Add stores a report of at most size bytes, whole or not at all. fill calls create for each file, and sets what the entry doesn't
// have yet; an error of it is returned as it is. Older reports go where it needs their room.
func (s *Store) Add(now time.Time, e Entry, size int64, fill func(e *Entry, create func(name string, r io.Reader) error) error) (Entry, error) {
	if err := s.reserve(now, size, e.Address); err != nil {
		return e, err
	}
	defer func() {
		s.mu.Lock()
		s.coming -= size
		s.mu.Unlock()
	}()
	var random [8]byte
	_, _ = rand.Read(random[:])
	temporary := unborn + hex.EncodeToString(random[:])
	err := s.root.Mkdir(temporary, 0o700)
	if err == nil {
		err = s.write(&e, temporary, now, fill)
	}
	if err != nil {
		_ = s.root.RemoveAll(temporary)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return e, err
	}
	return e, nil
}

// reserve makes room for what comes.
func (s *Store) reserve(now time.Time, size int64, from string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.max == 0 {
		return ErrOff
	}
	if size+s.coming > s.max {
		return fmt.Errorf("%w: %d bytes, and all logs together may have %d", errTooLarge, size, s.max)
	}
	if err := s.prune(now, size, from); err != nil {
		return err
	}
	s.coming += size
	return nil
}

func (s *Store) write(e *Entry, temporary string, now time.Time, fill func(e *Entry, create func(name string, r io.Reader) error) error) error {
	if err := fill(e, func(name string, r io.Reader) error {
		n, err := s.writeFile(temporary+"/"+name, r)
		if err == nil {
			e.Files = append(e.Files, Kept{Name: name, Size: n})
		}
		return err
	}); err != nil {
		return err
	}
	e.ID, e.Received = newID(now, cmp.Or(e.Report.Machine, e.Certificate)), now.UTC()
	text, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		return err
	}
	if _, err := s.writeFile(temporary+"/"+entryFile, strings.NewReader(string(text)+"\n")); err != nil {
		return err
	}
	if err := statefile.SyncDir(s.root, temporary); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.root.Rename(temporary, e.ID); err != nil {
		return err
	}
	s.entries = append(s.entries, *e)
	return statefile.SyncDir(s.root, ".")
}

func (s *Store) writeFile(name string, r io.Reader) (int64, error) {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	return n, errors.Join(err, f.Close())
}

// List returns the reports that are kept, the latest first.
func (s *Store) List() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.entries)
	slices.Reverse(list)
	return list
}

// File returns the content of a file of a report, as it came: escape codes and all. ErrUnknown where it isn't there (any more).
func (s *Store) File(id, name string) ([]byte, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.entries, func(e Entry) bool { return e.ID == id })
	known := i >= 0 && slices.ContainsFunc(s.entries[max(i, 0)].Files, func(f Kept) bool { return f.Name == name })
	s.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("%w: %.80q of %.120q", ErrUnknown, name, id)
	}
	f, err := s.root.Open(id + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s of %s", ErrUnknown, name, id) // it has just expired
	}
	if err != nil {
		return nil, fmt.Errorf("read log %s: %w", id, err)
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, max(MaxLog, MaxExtra)))
}

// Remove removes a report.
func (s *Store) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.entries, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: %.120q", ErrUnknown, id)
	}
	return s.remove(i)
}
