package library

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// notFoundError says what there is in place of what was asked for.
type notFoundError struct {
	ref  string
	near []string
}

// Error implements error.
func (e *notFoundError) Error() string {
	if len(e.near) > 0 {
		return fmt.Sprintf("%v %q; did you mean %s?", ErrNotFound, e.ref, strings.Join(e.near, " or "))
	}
	return fmt.Sprintf("%v %q; on the server: wimcast image list", ErrNotFound, e.ref)
}

// Unwrap makes it ErrNotFound.
func (e *notFoundError) Unwrap() error { return ErrNotFound }

// maxNear is how many near names an error offers.
const maxNear = 3

// near returns references whose names are like a name. mu must be held.
func (l *Library) near(name string) []string {
	type candidate struct {
		ref string
		far int
	}
	var all []candidate
	name = strings.ToLower(name[:min(len(name), maxName)])
	for i := range l.packages {
		p := &l.packages[i]
		other := strings.ToLower(p.Name)
		far := distance(name, other)
		if name != "" && strings.HasPrefix(other, name) {
			far = min(far, 1)
		}
		if far <= max(1, len(name)/3) {
			all = append(all, candidate{p.Reference(), far})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	var refs []string
	for _, c := range all[:min(len(all), maxNear)] {
		refs = append(refs, c.ref)
	}
	return refs
}

// distance counts the letters to insert, remove or change between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
