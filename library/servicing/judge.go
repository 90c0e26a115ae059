package servicing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Verdict is whether an update is for an image.
type Verdict string

// The verdicts: a closed set.
const (
	Applicable        Verdict = "applicable"
	Installed         Verdict = "installed"
	Staged            Verdict = "staged" // put into the image here; Windows installs it on the client
	Superseded        Verdict = "superseded"
	WrongArchitecture Verdict = "wrong_architecture"
	WrongBuild        Verdict = "wrong_build"
	WrongEdition      Verdict = "wrong_edition"
	WrongLanguage     Verdict = "wrong_language"
	Lacks             Verdict = "lacks" // something that has to come first
)

// Facts are what is known of an image inside a WIM.
type Facts struct {
	Index        int
	Architecture string // as [wim.Architecture] names it; "" where the WIM doesn't say
	Build        uint32 // of Windows; 0 where the WIM doesn't say
	Edition      string
	Languages    []string
	Installed    []InstalledPackage
	Applied      []Applied // here, as its XML has it
}

// InstalledPackage is a package of Windows' servicing that is in an image.
type InstalledPackage struct {
	Identity
	ID string `json:"id,omitempty"` // KB number, where the name has one
}

// Applied is an update that was put into an image here.
type Applied struct {
	ID       string
	Executor string
	Date     string // 2006-01-02
}

// appliedHere reports whether an update was put into the image here, and how.
func (f *Facts) appliedHere(id string) (Applied, bool) {
	i := slices.IndexFunc(f.Applied, func(a Applied) bool { return a.ID == id })
	if i < 0 {
		return Applied{}, false
	}
	return f.Applied[i], true
}

// has reports whether an update is in the image, or was put into it here.
func (f *Facts) has(id string) bool {
	_, applied := f.appliedHere(id)
	return applied || slices.ContainsFunc(f.Installed, func(p InstalledPackage) bool { return p.ID == id })
}

// rollup is the name of cumulative updates in Windows' servicing: each replaces the one before.
const rollup = "Package_for_RollupFix"

// Judge says whether an update is for an image, in a word and in a sentence. all is the catalogue, for
// what supersedes the update.
func Judge(f *Facts, u *Update, all []Update) (Verdict, string) {
	switch {
	case u.Architecture == "":
	case f.Architecture == "":
		return WrongArchitecture, fmt.Sprintf("%s is for %s, and the image doesn't say what it is", u.ID, u.Architecture)
	case u.Architecture != f.Architecture:
		return WrongArchitecture, fmt.Sprintf("%s is for %s, the image is %s", u.ID, u.Architecture, f.Architecture)
	}
	switch {
	case u.BuildFrom == 0 && u.BuildTo == 0:
	case f.Build == 0:
		return WrongBuild, fmt.Sprintf("%s is for build %s, and the image doesn't say its build", u.ID, u.BuildText())
	case f.Build < u.BuildFrom || f.Build > u.BuildTo:
		return WrongBuild, fmt.Sprintf("%s is for build %s, the image is %d", u.ID, u.BuildText(), f.Build)
	}
	if len(u.Editions) > 0 && !anyFold(u.Editions, []string{f.Edition}) {
		return WrongEdition, fmt.Sprintf("%s is for edition %s, the image is %s", u.ID, strings.Join(u.Editions, ", "), orUnknown(f.Edition))
	}
	if len(u.Languages) > 0 && !anyFold(u.Languages, f.Languages) {
		return WrongLanguage, fmt.Sprintf("%s is for language %s, the image has %s", u.ID, strings.Join(u.Languages, ", "), orUnknown(strings.Join(f.Languages, ", ")))
	}
	if verdict, text := judgeInstalled(f, u); verdict != "" {
		return verdict, text
	}
	if a, ok := f.appliedHere(u.ID); ok && u.Kind.IsUpdate() {
		if a.Executor == ExecutorDISM {
			return Installed, fmt.Sprintf("%s was installed into the image here on %s", u.ID, a.Date)
		}
		return Staged, fmt.Sprintf("%s was staged into the image here on %s; Windows installs it on the client", u.ID, a.Date)
	}
	for _, id := range u.SupersededBy {
		if f.has(id) {
			return Superseded, fmt.Sprintf("%s is superseded by %s, which is in the image", u.ID, id)
		}
		for i := range all {
			if other := &all[i]; other.ID == id && (other.Architecture == u.Architecture || other.Architecture == "") {
				return Superseded, fmt.Sprintf("%s is superseded by %s, which is in the catalogue", u.ID, id)
			}
		}
	}
	var missing []string
	for _, id := range u.Requires {
		if !f.has(id) {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return Lacks, fmt.Sprintf("%s wants %s first", u.ID, strings.Join(missing, ", "))
	}
	return Applicable, fmt.Sprintf("%s is applicable", u.ID)
}

// judgeInstalled looks for the update among the packages that are in the image; "" where it isn't.
func judgeInstalled(f *Facts, u *Update) (Verdict, string) {
	for i := range f.Installed {
		p := &f.Installed[i]
		if p.ID != "" && p.ID == u.ID {
			return Installed, fmt.Sprintf("%s is installed, as %s %s", u.ID, p.Name, p.Version)
		}
		if u.Identity == nil || p.Name != u.Identity.Name || p.Architecture != u.Identity.Architecture {
			continue
		}
		switch order := compareVersions(p.Version, u.Identity.Version); {
		case order == 0:
			return Installed, fmt.Sprintf("%s is installed, as %s %s", u.ID, p.Name, p.Version)
		case order > 0 && u.Identity.Name == rollup:
			return Superseded, fmt.Sprintf("%s is %s, the image has %s", u.ID, u.Identity.Version, p.Version)
		}
	}
	return "", ""
}

func anyFold(wanted, have []string) bool {
	return slices.ContainsFunc(wanted, func(w string) bool {
		return slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(w, h) })
	})
}

func orUnknown(s string) string {
	if s == "" {
		return "none that is known"
	}
	return s
}

// compareVersions compares dotted numbers; what is missing or no number counts as 0.
func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var p, q uint64
		if i < len(x) {
			p, _ = strconv.ParseUint(x[i], 10, 64)
		}
		if i < len(y) {
			q, _ = strconv.ParseUint(y[i], 10, 64)
		}
		if p != q {
			if p < q {
				return -1
			}
			return 1
		}
	}
	return 0
}
