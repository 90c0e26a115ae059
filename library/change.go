package library

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Change is what to change of a package; what is nil stays.
type Change struct {
	Name           *string
	Comment        *string
	AllowMulticast *bool
	Encrypt        *bool
	MulticastOnly  *bool
}

// Change changes a package in one step, all of it or nothing, and returns it. What
// reads the content meanwhile isn't disturbed. The errors wrap ErrNotFound, ErrAmbiguous, ErrExists, ErrFlags, ErrDiskFull.
func (l *Library) Change(ref string, c Change) (Package, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, err := l.find(ref)
	if err != nil {
		return Package{}, err
	}
	p := l.packages[i]
	if p.Pulled() {
		return Package{}, l.ofSite("change", &p, fmt.Sprintf("wimcast image set %q", p.Reference()))
	}
	set(&p.Name, c.Name)
	set(&p.Comment, c.Comment)
	set(&p.Flags.AllowMulticast, c.AllowMulticast)
	set(&p.Flags.Encrypt, c.Encrypt)
	set(&p.Flags.MulticastOnly, c.MulticastOnly)
	if err := errors.Join(checkName(p.Name), checkComment(p.Comment), p.Flags.check(ref)); err != nil {
		return Package{}, fmt.Errorf("change package: %w", err)
	}
	for j := range l.packages {
		if j != i && l.packages[j].Reference() == p.Reference() {
			return Package{}, fmt.Errorf("rename package: %w: %s has that name; next: choose another, or first wimcast image remove %q", ErrExists, p.Reference(), p.Reference())
		}
	}
	packages := slices.Clone(l.packages)
	packages[i] = p
	if err := l.commit(packages); err != nil {
		return Package{}, fmt.Errorf("change package: %w", err)
	}
	return p, nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Remove removes a package, and its content where no other package has it. Content that is
// open stays readable until it is closed. The errors wrap ErrNotFound or ErrAmbiguous.
func (l *Library) Remove(ref string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, err := l.find(ref)
	if err != nil {
		return err
	}
	if p := &l.packages[i]; p.Pulled() && l.site != nil && !p.Prestaged {
		return l.ofSite("remove", p, fmt.Sprintf("wimcast image withdraw %q --from %s", p.Reference(), l.site.Point))
	}
	return l.remove(i)
}

// remove removes the package at a place. mu must be held.
func (l *Library) remove(i int) error {
	ref := l.packages[i].Reference()
	packages := slices.Delete(slices.Clone(l.packages), i, i+1)
	if err := errors.Join(l.commit(packages), l.sweep()); err != nil {
		return fmt.Errorf("remove package %s: %w", ref, err)
	}
	return nil
}

// setService says of all packages of a content what is wrong with it. Where the content
// was placed anew since p was read, this was about the old file and changes nothing.
func (l *Library) setService(p *Package, reason string) error {
	return l.changeContent(p, func(q *Package) bool {
		changed := q.OutOfService != reason
		if q.OutOfService == "" {
			l.note(*q, reason)
		}
		q.OutOfService = reason
		return changed
	})
}

// backInService says of all packages of a content that it is as p has it, and whole.
func (l *Library) backInService(p *Package) error {
	now := time.Now().UTC()
	return l.changeContent(p, func(q *Package) bool {
		if q.OutOfService != "" {
			l.note(*q, "")
		}
		q.OutOfService, q.Validated = "", now
		if !p.Pulled() || q.oci.Digest == p.oci.Digest {
			q.stored = p.stored
		}
		return true
	})
}

// changeContent changes all packages of a content; change reports whether it did anything.
func (l *Library) changeContent(p *Package, change func(*Package) bool) error {
	l.mu.Lock()
	defer l.unlock()
	packages := slices.Clone(l.packages)
	changed := false
	for i := range packages {
		if q := &packages[i]; q.sharesContent(p) && q.generation == p.generation && change(q) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return l.commit(packages)
}
