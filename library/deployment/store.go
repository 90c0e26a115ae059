package deployment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"wimcast/statefile"
)

// Bounds of the file, and its form.
const (
	maxFile        = 8 << 20 // bytes
	maxDeployments = 5000
	fileVersion    = 1
	fileMode       = 0o640
)

// file is what the file has.
type file struct {
	Version     int          `json:"version"`
	Deployments []Deployment `json:"deployments"`
}

// Store keeps deployments in a file. It is safe for concurrent use. What it hands out belongs to whoever asked.
type Store struct {
	path string

	mu   sync.RWMutex
	list []Deployment // by name
}

// Open reads the deployments of a file, which needn't exist.
func Open(path string) (*Store, error) {
	s := &Store{path: path}
	if err := s.read(); err != nil {
		return nil, fmt.Errorf("open deployments %s: %w; next: mend the file, or move it away to begin with none", path, err)
	}
	return s, nil
}

func (s *Store) read() error {
	text, err := statefile.ReadPath(s.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var in file
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	if in.Version != fileVersion {
		return fmt.Errorf("its version is %d, want %d", in.Version, fileVersion)
	}
	for i := range in.Deployments {
		d := &in.Deployments[i]
		err := d.checkForm()
		if d.Content == Direct {
			err = errors.Join(err, fmt.Errorf("content: direct is %w", ErrUnsupported))
		}
		if err != nil {
			return fmt.Errorf("deployment %.80q: %w", d.Name, err)
		}
	}
	slices.SortFunc(in.Deployments, byName)
	for i := 1; i < len(in.Deployments); i++ {
		if name := in.Deployments[i].Name; name == in.Deployments[i-1].Name {
			return fmt.Errorf("deployment %s is in it twice", name)
		}
	}
	s.list = in.Deployments
	return nil
}

func byName(a, b Deployment) int { return strings.Compare(a.Name, b.Name) }

// List returns all deployments, by name.
func (s *Store) List() []Deployment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]Deployment, len(s.list))
	for i := range s.list {
		out[i] = s.list[i].clone()
	}
	return out
}

// Get returns the deployment of a name. The error wraps ErrNotFound, and offers names that are there.
func (s *Store) Get(name string) (Deployment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.find(name)
	if !ok {
		return Deployment{}, s.notFound(name)
	}
	return s.list[i].clone(), nil
}

// find returns the place of a name, or where it would be. The caller holds mu.
func (s *Store) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.list, name, func(d Deployment, name string) int { return strings.Compare(d.Name, name) })
}

// notFound offers the deployments whose names have the letters of the one asked for, or begin alike. The caller holds mu.
func (s *Store) notFound(name string) error {
	var near []string
	for i := range s.list {
		has, want := strings.ToLower(s.list[i].Name), strings.ToLower(name)
		if len(near) < maxNear && want != "" && (strings.Contains(has, want) || strings.Contains(want, has) || letters(has) == letters(want)) {
			near = append(near, s.list[i].Name)
		}
	}
	if len(near) > 0 {
		return fmt.Errorf("%w %.80q; did you mean %s?", ErrNotFound, name, strings.Join(near, " or "))
	}
	return fmt.Errorf("%w %.80q; on the server: wimcast deployment list", ErrNotFound, name)
}

// maxNear is how many near names an error offers.
const maxNear = 3

// letters returns a word's letters in order.
func letters(s string) string {
	r := []rune(s)
	slices.Sort(r)
	return string(r)
}

// Create adds a deployment, which must have passed Check. The error wraps ErrExists where the name is taken.
func (s *Store) Create(d Deployment) (Deployment, error) {
	d = d.clone()
	d.Created = time.Now().UTC().Truncate(time.Second)
	d.Changed = d.Created
	s.mu.Lock()
	defer s.mu.Unlock()
	i, taken := s.find(d.Name)
	switch {
	case taken:
		return d, fmt.Errorf("create deployment %s: %w; next: wimcast deployment set %q, or choose another name", d.Name, ErrExists, d.Name)
	case len(s.list) >= maxDeployments:
		return d, fmt.Errorf("create deployment %s: there are %d, no more are allowed; first: wimcast deployment remove NAME", d.Name, len(s.list))
	}
	return d.clone(), s.commit("create", d.Name, slices.Insert(slices.Clone(s.list), i, d))
}

// Set replaces the deployment of the same name by one that has passed Check.
func (s *Store) Set(d Deployment) (Deployment, error) {
	d = d.clone()
	d.Changed = time.Now().UTC().Truncate(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(d.Name)
	if !ok {
		return d, s.notFound(d.Name)
	}
	list := slices.Clone(s.list)
	list[i] = d
	return d.clone(), s.commit("change", d.Name, list)
}

// Remove removes a deployment.
func (s *Store) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(name)
	if !ok {
		return s.notFound(name)
	}
	return s.commit("remove", name, slices.Delete(slices.Clone(s.list), i, i+1))
}

// commit makes a list the store's, on disk first. The caller holds mu.
func (s *Store) commit(what, name string, list []Deployment) error {
	for i := range list {
		if err := list[i].checkForm(); err != nil || list[i].Content == Direct {
			panic(fmt.Sprintf("deployment: %s wasn't checked: %v", list[i].Name, err))
		}
	}
	text, err := json.MarshalIndent(file{fileVersion, list}, "", "  ")
	if err == nil && len(text) >= maxFile {
		err = fmt.Errorf("all of them would take more than %d bytes; first: wimcast deployment remove NAME", maxFile)
	}
	if err == nil {
		err = s.replace(append(text, '\n'), list)
	}
	if err != nil {
		return fmt.Errorf("%s deployment %s: %w", what, name, err)
	}
	return nil
}

// replace makes text the file and list the store's. Once the file has its name the list counts, even where that may not outlast a power
// loss, which is the error then. The caller holds mu.
func (s *Store) replace(text []byte, list []Deployment) error {
	root, err := os.OpenRoot(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	name := filepath.Base(s.path)
	if err := statefile.Write(root, name+".new", name, fileMode, text, nil); err != nil {
		return err
	}
	s.list = list
	return statefile.SyncDir(root, ".")
}
