package library

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoFormer says that a package has no version to go back to.
var ErrNoFormer = errors.New("no former version")

// Rollback makes another version of a name the current one, which is what the name alone means: the
// version of that text, or, if that is nil, the one that was current before. Nothing is copied or removed, and what reads the
// version of before isn't disturbed. The errors wrap ErrNotFound, ErrNoFormer, or are a *DamagedError where
// the version is out of service.
func (l *Library) Rollback(name string, version *string) (from, to Package, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var places []int // of the name, the current one first
	for i := range l.packages {
		if l.packages[i].Name == name {
			places = append(places, i)
		}
	}
	slices.SortFunc(places, func(a, b int) int { return newer(&l.packages[b], &l.packages[a]) })
	if len(places) == 0 {
		return from, to, &notFoundError{name, l.near(name)}
	}
	from = l.packages[places[0]]
	if from.Pulled() {
		return from, to, l.ofSite("roll back", &from, fmt.Sprintf("wimcast image rollback %q", name))
	}
	if version == nil && len(places) == 1 {
		return from, to, fmt.Errorf("roll back package: %w: %s is the only one of %q; next: wimcast image list", ErrNoFormer, from.Reference(), name)
	}
	at := places[min(1, len(places)-1)]
	if version != nil {
		found := slices.IndexFunc(places, func(i int) bool { return l.packages[i].Version == *version })
		if found < 0 {
			return from, to, &notFoundError{reference(name, *version), l.near(name)}
		}
		at = places[found]
	}
	to = l.packages[at]
	switch {
	case to.OutOfService != "":
		return from, to, &DamagedError{to.Reference(), to.OutOfService, to.Pulled()}
	case at == places[0]:
		return from, to, nil
	}
	to.Restored = time.Now().UTC()
	if latest := from.since(); !to.Restored.After(latest) { // the clock went back
		to.Restored = latest.Add(time.Nanosecond)
	}
	packages := slices.Clone(l.packages)
	packages[at] = to
	if err := l.commit(packages); err != nil {
		return from, to, fmt.Errorf("roll back package: %w", err)
	}
	return from, to, nil
}
