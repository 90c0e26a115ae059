package servicing

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"

	"wimcast/library/wim"
)

// packagesDir is where Windows' servicing keeps a manifest for each package that is installed.
const packagesDir = "/Windows/servicing/Packages"

// maxInstalled bounds the packages that are kept of an image. Real ones have some thousands of manifests, of
// which a few dozen are updates.
const maxInstalled = 10_000

var kbInName = regexp.MustCompile(`(?i)KB[0-9]{4,10}`)

// parseManifestName reads the name of a manifest, such as
// Package_for_KB5031455~31bf3856ad364e35~amd64~~22621.2506.1.8.mum: name, public key token, architecture, language
// and version. Only whole updates count, not the parts that they come in (Package_1_for_...).
func parseManifestName(file string) (InstalledPackage, bool) {
	stem, ok := strings.CutSuffix(strings.ToLower(file), ".mum")
	if !ok || !strings.HasPrefix(stem, "package_for_") {
		return InstalledPackage{}, false
	}
	fields := strings.Split(file[:len(stem)], "~")
	if len(fields) != 5 {
		return InstalledPackage{}, false
	}
	for _, f := range fields {
		if checkText("manifest", f, maxTitle) != nil {
			return InstalledPackage{}, false
		}
	}
	p := InstalledPackage{Identity: Identity{Name: fields[0], PublicKeyToken: fields[1], Architecture: fields[2], Language: cmp.Or(fields[3], "neutral"), Version: fields[4]}}
	p.ID = strings.ToUpper(kbInName.FindString(p.Name))
	return p, true
}

// installedIn picks the updates out of the paths of packagesDir, sorted.
func installedIn(paths []string) []InstalledPackage {
	var list []InstalledPackage
	for _, p := range paths {
		if one, ok := parseManifestName(path.Base(p)); ok && len(list) < maxInstalled {
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(a, b InstalledPackage) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), compareVersions(a.Version, b.Version), strings.Compare(a.Architecture, b.Architecture))
	})
	return slices.Compact(list)
}

// factsOf are the facts of an image with these packages in it.
func factsOf(image *wim.Image, installed []InstalledPackage) Facts {
	f := Facts{Index: image.Index, Build: image.Version.Build, Edition: image.Edition(), Languages: image.Languages, Installed: installed, Applied: parseApplied(image.Serviced.Updates)}
	if image.HasArchitecture {
		f.Architecture = image.Architecture.String()
	}
	return f
}

// parseApplied reads the record in an image's XML, which may be anybody's.
func parseApplied(words []string) []Applied {
	var list []Applied
	for _, w := range words {
		id, rest, _ := strings.Cut(w, "/")
		executor, date, ok := strings.Cut(rest, "/")
		if ok && checkID(id) == nil && checkID(executor) == nil && len(date) == len("2006-01-02") && checkID(date) == nil && len(list) < maxInstalled {
			list = append(list, Applied{ID: id, Executor: executor, Date: date})
		}
	}
	return list
}

// recordText writes a record as parseApplied reads it, word by word.
func recordText(list []Applied) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.ID + "/" + a.Executor + "/" + a.Date
	}
	return strings.Join(words, " ")
}
