package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"wimcast/library/release"
	"wimcast/statefile"
)

// Files, modes and bounds.
const (
	stateFile    = "fleet.json"
	siteKeyFile  = "site.key"
	keysFile     = "keys.json"
	releasesDir  = "releases"
	stateVersion = 1

	dirMode  = 0o700
	fileMode = 0o600

	maxStateFile = 64 << 20 // bytes
	maxKeysFile  = 16 << 20 // bytes
)

// state is what fleet.json has. A state in use is never changed: a changed clone takes its place.
type state struct {
	Version       int            `json:"version"`
	Revision      int64          `json:"revision"` // the last that was given to a release
	Serial        int64          `json:"serial"`   // the last that was given to assignments
	Order         int64          `json:"order"`    // the last that was given to a distribution
	Points        []Point        `json:"points"`   // by name
	Gone          []string       `json:"gone,omitempty"`
	Distributions []Distribution `json:"distributions"`
	Made          []Made         `json:"made"`
	Published     []Published    `json:"published"`
	Retired       []Retired      `json:"retired,omitempty"`
}

// Made is the release that was made last of a version, as it stands in the registry.
type Made struct {
	Package  string        `json:"package"`
	Version  string        `json:"version"`
	Revision int64         `json:"revision"`
	Manifest digest.Digest `json:"manifest"`
	Size     int64         `json:"size"` // of the manifest, in bytes
	shape
	Key int       `json:"key,omitempty"` // number of the content key; 0: it isn't sealed
	At  time.Time `json:"at"`
}

func (m *Made) reference() string { return reference(m.Package, m.Version) }

// Published is the document of assignments that a point finds in the registry.
type Published struct {
	Point    string        `json:"point"`
	Serial   int64         `json:"serial"`
	Manifest digest.Digest `json:"manifest"`
	What     string        `json:"what"` // SHA-256 of what it says
	At       time.Time     `json:"at"`
}

// Retired is a release that another took the place of. It stays for a while: a point may be in the middle of it.
type Retired struct {
	Tag      string        `json:"tag"`
	Manifest digest.Digest `json:"manifest"`
	Size     int64         `json:"size"`
	At       time.Time     `json:"at"`
}

func (st *state) clone() *state {
	out := *st
	out.Points, out.Gone = slices.Clone(st.Points), slices.Clone(st.Gone)
	out.Distributions = slices.Clone(st.Distributions)
	for i := range out.Distributions {
		out.Distributions[i].Versions = slices.Clone(out.Distributions[i].Versions)
	}
	out.Made, out.Published, out.Retired = slices.Clone(st.Made), slices.Clone(st.Published), slices.Clone(st.Retired)
	return &out
}

func (st *state) point(name string) *Point {
	if i := slices.IndexFunc(st.Points, func(p Point) bool { return p.Name == name }); i >= 0 {
		return &st.Points[i]
	}
	return nil
}

func (st *state) made(ref string) *Made {
	if i := slices.IndexFunc(st.Made, func(m Made) bool { return m.reference() == ref }); i >= 0 {
		return &st.Made[i]
	}
	return nil
}

func (st *state) published(point string) *Published {
	if i := slices.IndexFunc(st.Published, func(p Published) bool { return p.Point == point }); i >= 0 {
		return &st.Published[i]
	}
	return nil
}

// groups returns all groups that points are in.
func (st *state) groups() []string {
	var out []string
	for i := range st.Points {
		out = append(out, st.Points[i].Groups...)
	}
	for i := range st.Distributions {
		if st.Distributions[i].To.Kind == ToGroup {
			out = append(out, st.Distributions[i].To.Name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// check holds a state that was read.
func (st *state) check() error {
	if st.Version != stateVersion {
		return fmt.Errorf("its version is %d, this program reads %d", st.Version, stateVersion)
	}
	for i := range st.Points {
		p := &st.Points[i]
		if err := p.check(); err != nil {
			return fmt.Errorf("point %.80q: %w", p.Name, err)
		}
		if i > 0 && st.Points[i-1].Name >= p.Name {
			return fmt.Errorf("point %s is in it twice, or out of order", p.Name)
		}
	}
	for i := range st.Distributions {
		d := &st.Distributions[i]
		if _, err := release.ParsePriority(string(d.Priority)); err != nil {
			return fmt.Errorf("distribution of %.80q: %w", d.Package, err)
		}
		if _, err := checkKeep(d.Keep); err != nil || d.Keep == 0 || d.Package == "" {
			return fmt.Errorf("distribution of %.80q: keep %d", d.Package, d.Keep)
		}
	}
	for i := range st.Made {
		m := &st.Made[i]
		if err := m.Manifest.Validate(); err != nil || m.Manifest.Algorithm() != digest.SHA256 {
			return fmt.Errorf("release %.80q: manifest %.100q", m.reference(), m.Manifest)
		}
	}
	return nil
}

// readJSON reads a file strictly; where it isn't there nothing is read, and there is false.
func readJSON(root *os.Root, name string, limit int64, into any) (there bool, err error) {
	b, err := statefile.Read(root, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return true, fmt.Errorf("%s: it doesn't parse (%w); next: restore the folder from a backup", name, err)
	}
	return true, nil
}

// writeJSON replaces a file.
func (s *Site) writeJSON(name string, v any, limit int) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err == nil && len(b) >= limit {
		err = fmt.Errorf("%d bytes, more than the %d that are read again", len(b), limit)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return s.replace(name, append(b, '\n'))
}

// replace writes a file so that it is there whole, or as it was.
func (s *Site) replace(name string, b []byte) error {
	if err := statefile.Write(s.root, name+".new", name, fileMode, b, func() { s.cfg.step("rename " + name) }); err != nil {
		return err
	}
	return statefile.SyncDir(s.root, path.Dir(name))
}
