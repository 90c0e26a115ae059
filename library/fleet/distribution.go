package fleet

import (
	"fmt"
	"slices"
	"time"

	"wimcast/library/release"
)

// Kind says what a target is.
type Kind string

// The kinds of targets.
const (
	ToPoint Kind = "point"
	ToGroup Kind = "group" // those that are in it, and those that come into it
	ToAll   Kind = "all"   // those that there are, and those that come
)

// Target is whom something is distributed to.
type Target struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"` // of the point or group
}

// String returns it as people type it.
func (t Target) String() string {
	if t.Kind == ToAll {
		return "--" + All
	}
	return t.Name
}

// Bounds of how many versions a point keeps.
const (
	DefaultKeep = 2 // the one in use and the one before it: a rollback finds it there
	maxKeep     = 20
)

// Distribution says that a package goes to a target. There is one for each package and target.
type Distribution struct {
	Package  string           `json:"package"` // its name
	To       Target           `json:"to"`
	Priority release.Priority `json:"priority"`
	Keep     int              `json:"keep"`     // how many versions stay there
	Versions []Sent           `json:"versions"` // the latest last; at most Keep
}

// Sent is a version that was distributed.
type Sent struct {
	Version string    `json:"version"`
	Order   int64     `json:"order"` // rises with each that the site distributes
	At      time.Time `json:"at"`
}

// has reports whether a version is in it.
func (d *Distribution) has(version string) bool {
	return slices.ContainsFunc(d.Versions, func(s Sent) bool { return s.Version == version })
}

// add makes a version the latest; what is beyond Keep goes.
func (d *Distribution) add(s Sent) {
	d.Versions = slices.DeleteFunc(slices.Clone(d.Versions), func(o Sent) bool { return o.Version == s.Version })
	d.Versions = append(d.Versions, s)
	d.Versions = d.Versions[max(0, len(d.Versions)-d.Keep):]
}

func checkKeep(keep int) (int, error) {
	if keep == 0 {
		return DefaultKeep, nil
	}
	if keep < 1 || keep > maxKeep {
		return 0, fmt.Errorf("keep %d: want 1 to %d versions", keep, maxKeep)
	}
	return keep, nil
}

func reference(name, version string) string {
	r := release.Release{Name: name, Version: version}
	return r.Reference()
}
