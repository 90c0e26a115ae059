package machine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Volume is a formatted part of a disk that has a place among the machine's files.
type Volume struct {
	Root    string // such as W:\ or a mount point
	Label   string // "" for none
	Free    int64  // bytes
	Largest int64  // bytes that one file can have; 0: any number
	// Unfit says why nothing can be stored there; "" where it can.
	Unfit string
	// Spare says why it is taken only by a person who names it; "" where it needs no naming.
	Spare string
}

// The reasons, as words after a volume's name.
const (
	readOnly  = "is read-only"
	removable = "is removable"
	inMemory  = "is in memory"
	bootedOf  = "is what the machine booted from"
	locked    = "isn't formatted, or is locked"
)

// fat32 is what one file on FAT32 can have, in bytes.
const fat32 = 1<<32 - 1

// String names it as people know it.
func (v *Volume) String() string {
	if v.Label == "" {
		return v.Root
	}
	return fmt.Sprintf("%s (%s)", v.Root, v.Label)
}

// Candidate is a volume that an image might go to.
type Candidate struct {
	Volume
	Held int64 // bytes of that image, left by an earlier try
	Work bool  // a work folder is there
}

// Choose finds the volume for an image of size bytes. label is a volume's label or root, "" for none: then it is the one with the most of
// that image, else one with a work folder, else the one with the most room; none that is spare. An error says what is wrong with each.
func Choose(candidates []Candidate, label string, size int64) (Candidate, error) {
	var fit []Candidate
	var not []string
	named := 0
	for _, c := range candidates {
		if label != "" && !c.Is(label) {
			continue
		}
		named++
		if why := c.lacks(label != "", size); why != "" {
			not = append(not, c.String()+" "+why)
			continue
		}
		fit = append(fit, c)
	}
	const next = "; next: name another by its label: --volume LABEL"
	switch {
	case label != "" && named == 0:
		return Candidate{}, fmt.Errorf("find volume %q: there is none of that label; there are %s%s", label, names(candidates), next)
	case len(fit) == 0 && len(not) == 0:
		return Candidate{}, errors.New("find volume: this machine has none; next: see that the disk has a driver and is partitioned (diskpart)")
	case len(fit) == 0:
		return Candidate{}, fmt.Errorf("find volume: none can take %s: %s%s", figure(size), strings.Join(not, ", "), next)
	}
	slices.SortStableFunc(fit, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Held, a.Held), cmp.Compare(one(b.Work), one(a.Work)), cmp.Compare(b.Free, a.Free))
	})
	if label != "" && len(fit) > 1 && fit[0].Held == fit[1].Held && fit[0].Work == fit[1].Work {
		return Candidate{}, fmt.Errorf("find volume %q: several have that label: %s; next: give one of them another label", label, names(fit))
	}
	return fit[0], nil
}

// Is reports whether a person who says label means the volume: by its label, or by its root.
func (v *Volume) Is(label string) bool {
	trim := func(s string) string { return strings.TrimRight(s, `/\`) }
	return strings.EqualFold(v.Label, label) || strings.EqualFold(trim(v.Root), trim(label)) && trim(label) != ""
}

// lacks says why an image of size bytes can't go there.
func (c *Candidate) lacks(named bool, size int64) string {
	switch {
	case c.Unfit != "":
		return c.Unfit
	case c.Spare != "" && !named:
		return c.Spare
	case c.Largest > 0 && size > c.Largest:
		return "is FAT32, whose files end at 4 GiB"
	case size-c.Held > c.Free:
		return fmt.Sprintf("has %s free", figure(c.Free))
	}
	return ""
}

func names(candidates []Candidate) string {
	if len(candidates) == 0 {
		return "no volumes"
	}
	var list []string
	for i := range candidates {
		list = append(list, candidates[i].String())
	}
	return strings.Join(list, ", ")
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// figure writes an amount of bytes for people.
func figure(n int64) string {
	if n >= 1e9 {
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
