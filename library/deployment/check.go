package deployment

import (
	"errors"
	"fmt"
	"strings"
)

// Package is what of a package concerns its deployments.
type Package struct {
	Name, Version string
	Images        int // in the WIM
	MulticastOnly bool
}

// Reference returns name@version, or the name where there is no version.
func (p *Package) Reference() string {
	if p.Version == "" {
		return p.Name
	}
	return p.Name + "@" + p.Version
}

// Errors that the package's errors wrap.
var (
	// ErrNotFound: no deployment has that name.
	ErrNotFound = errors.New("no such deployment")
	// ErrExists: another deployment has the name.
	ErrExists = errors.New("deployment exists")
	// ErrUnsupported: it is a choice, but nothing here can do it.
	ErrUnsupported = errors.New("not supported")
)

// Check holds a deployment against the package that its image names, when it is created or changed. All errors are
// returned, joined; each says what to do. It doesn't judge Rules.
func (d *Deployment) Check(p *Package) error {
	if err := d.checkForm(); err != nil {
		return fmt.Errorf("deployment %.80q: %w", d.Name, err)
	}
	var errs []error
	if d.Image != p.Name && d.Image != p.Reference() {
		errs = append(errs, fmt.Errorf("deployment %s: image: name a package as %s or %s, not as %s", d.Name, p.Name, p.Reference(), d.Image))
	}
	switch {
	case d.Content == Direct && p.MulticastOnly:
		errs = append(errs, fmt.Errorf("deployment %s: content: direct reads from the point, and package %s is multicast-only; next: --content download, or first: wimcast image set %q --no-multicast-only",
			d.Name, p.Reference(), p.Reference()))
	case d.Content == Direct:
		errs = append(errs, fmt.Errorf("deployment %s: content: direct is %w: no client here can use content where it lies; next: --content download", d.Name, ErrUnsupported))
	}
	return errors.Join(append(errs, d.CheckIndex(p))...)
}

// CheckIndex holds a deployment's index against the package that its image names now: another version may have become current.
func (d *Deployment) CheckIndex(p *Package) error {
	if d.Index <= p.Images {
		return nil
	}
	return fmt.Errorf("deployment %s: index: %s has no image %d, the last is %d; next: wimcast deployment set %q --index N, with one that wimcast image show lists",
		d.Name, p.Reference(), d.Index, p.Images, d.Name)
}

// CheckMulticastOnly refuses to make a package multicast-only while deployments read it in another way.
func CheckMulticastOnly(list []Deployment, p *Package) error {
	var errs []error
	for i := range list {
		if d := &list[i]; d.Content == Direct && d.Names(p) {
			errs = append(errs, fmt.Errorf("package %s can't be multicast-only: deployment %s reads directly from the point; first: wimcast deployment set %s --content download", p.Reference(), d.Name, d.Name))
		}
	}
	return errors.Join(errs...)
}

// Names reports whether a deployment's image is that package, or would be if the package were the current one of its name.
func (d *Deployment) Names(p *Package) bool { return d.Image == p.Name || d.Image == p.Reference() }

// CheckGone refuses to take a package away, by removing or renaming it, while deployments name it and no other package that
// stays.
func CheckGone(list []Deployment, gone *Package, stay []Package) error {
	var named []string
	for i := range list {
		d := &list[i]
		kept := false
		for j := range stay {
			kept = kept || d.Names(&stay[j])
		}
		if d.Names(gone) && !kept {
			named = append(named, d.Name)
		}
	}
	switch len(named) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("package %s: deployment %s names it; first: wimcast deployment set %q --image OTHER, or wimcast deployment remove %q", gone.Reference(), named[0], named[0], named[0])
	}
	return fmt.Errorf("package %s: deployments %s name it; first give each another image (wimcast deployment set NAME --image OTHER), or remove it", gone.Reference(), strings.Join(named, ", "))
}
