package servicing

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is what a file of the catalogue is.
type Kind string

// The kinds: a closed set. The first two are software updates of Windows.
const (
	MSU     Kind = "msu"     // an update with its description, in a cabinet or, in newer ones, a WIM
	CAB     Kind = "cab"     // an update as Windows' component servicing takes it
	Overlay Kind = "overlay" // a tree of files, as a tar archive
)

// IsUpdate reports whether the kind is a software update.
func (k Kind) IsUpdate() bool { return k == MSU || k == CAB }

// Update is an update or an overlay of the catalogue.
type Update struct {
	ID           string   `json:"id"` // such as KB5031455, or an overlay's name
	Title        string   `json:"title,omitempty"`
	Kind         Kind     `json:"kind"`
	Architecture string   `json:"architecture,omitempty"` // as [wim.Architecture] names it; of overlays empty for any
	BuildFrom    uint32   `json:"build_from,omitempty"`   // of Windows, such as 22621; both 0 for any
	BuildTo      uint32   `json:"build_to,omitempty"`
	Editions     []string `json:"editions,omitempty"`      // empty: any
	Languages    []string `json:"languages,omitempty"`     // the image has one of them; empty: any
	SupersededBy []string `json:"superseded_by,omitempty"` // IDs
	Requires     []string `json:"requires,omitempty"`      // IDs that come first
	// Identity is how Windows' servicing names the package; nil where it couldn't be read.
	Identity *Identity `json:"identity,omitempty"`
	// Payload is the file inside an .msu that Identity is of.
	Payload string `json:"payload,omitempty"`

	File   string    `json:"file"`   // its name as it came
	SHA256 string    `json:"sha256"` // 64 hexadecimal digits
	Size   int64     `json:"size"`   // bytes
	Added  time.Time `json:"added"`  // UTC
	// Read and Told name the fields that were read from the package, and that people gave.
	Read []string `json:"read,omitempty"`
	Told []string `json:"told,omitempty"`
}

// Identity is an assemblyIdentity, which names a package of Windows' servicing.
type Identity struct {
	Name           string `json:"name"`    // such as Package_for_KB5031455
	Version        string `json:"version"` // such as 22621.2506.1.8
	Architecture   string `json:"architecture"`
	PublicKeyToken string `json:"public_key_token"`
	Language       string `json:"language"`
}

// Reference returns what names the update and no other: one id may have a package for each architecture.
func (u *Update) Reference() string {
	if u.Architecture == "" {
		return u.ID
	}
	return u.ID + "-" + u.Architecture
}

// Description is what people say of a package: what it doesn't say itself, or where they know better.
type Description struct {
	ID           string
	Title        string
	Architecture string
	Build        string // "22621", "22621-22631" or "any"
	Editions     []string
	Languages    []string
	SupersededBy []string
	Requires     []string
}

// Bounds of what is told or read, in bytes or numbers.
const (
	maxID    = 64
	maxTitle = 300
	maxWords = 64 // in a list
	maxWord  = 64
)

// architectures are the names that updates may have.
var architectures = []string{"x64", "arm64", "x86", "arm", "ia64"}

// idForm is what an id looks like: it is typed in shells, and stands in paths, in XML and in an image's record.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+]*(-[A-Za-z0-9._+]+)*$`)

// kbForm is what the id of an update of Microsoft's looks like.
var kbForm = regexp.MustCompile(`^(?i)kb[0-9]{4,10}$`)

func checkID(id string) error {
	if len(id) > maxID || !idForm.MatchString(id) {
		return fmt.Errorf("id %.80q: want letters, digits, ._+ and single hyphens between them, at most %d", id, maxID)
	}
	return nil
}

// canonicalID writes KB numbers in one way.
func canonicalID(id string) string {
	if kbForm.MatchString(id) {
		return strings.ToUpper(id)
	}
	return id
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s of %d bytes: at most %d are allowed", what, len(s), limit)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s %.80q: it has characters that don't print", what, s)
	}
	return nil
}

func checkWords(what string, words []string) error {
	if len(words) > maxWords {
		return fmt.Errorf("%s: %d of them, at most %d are allowed", what, len(words), maxWords)
	}
	for _, w := range words {
		if w == "" {
			return fmt.Errorf("%s: one is empty", what)
		}
		if err := checkText(what, w, maxWord); err != nil {
			return err
		}
	}
	return nil
}

func checkArchitecture(a string) error {
	if !slices.Contains(architectures, a) {
		return fmt.Errorf("architecture %.40q: none of %s", a, strings.Join(architectures, ", "))
	}
	return nil
}

// anyBuild says that an update is for every build of Windows.
const anyBuild = "any"

// parseBuild reads "22621", "22621-22631" or "any".
func parseBuild(s string) (from, to uint32, err error) {
	if s == anyBuild {
		return 0, 0, nil
	}
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 32)
	b, errB := strconv.ParseUint(last, 10, 32)
	if errA != nil || errB != nil || a == 0 || b < a {
		return 0, 0, fmt.Errorf("build %.40q: want a build of Windows such as 22621, a range such as 22621-22631, or any", s)
	}
	return uint32(a), uint32(b), nil
}

// BuildText writes a range of builds as parseBuild reads it.
func (u *Update) BuildText() string {
	switch {
	case u.BuildFrom == 0 && u.BuildTo == 0:
		return anyBuild
	case u.BuildFrom == u.BuildTo:
		return strconv.FormatUint(uint64(u.BuildFrom), 10)
	}
	return fmt.Sprintf("%d-%d", u.BuildFrom, u.BuildTo)
}

// describe makes an update of what a package says and what people say. People may add to what the
// package says, and widen its builds; where they contradict it, it is the wrong file.
func describe(found found, told Description) (Update, error) {
	u := Update{Kind: found.kind, ID: found.id, Title: found.title, Architecture: found.architecture, Identity: found.identity, Payload: found.payload}
	said := func(field string, isRead, isTold bool) {
		switch {
		case isTold:
			u.Told = append(u.Told, field)
		case isRead:
			u.Read = append(u.Read, field)
		}
	}
	var errs []error
	if told.ID != "" {
		told.ID = canonicalID(told.ID)
		if found.id != "" && found.id != told.ID {
			errs = append(errs, fmt.Errorf("the package says that it is %s, not %s", found.id, told.ID))
		}
		u.ID = told.ID
	}
	if told.Architecture != "" {
		if found.architecture != "" && found.architecture != told.Architecture {
			errs = append(errs, fmt.Errorf("the package says that it is for %s, not %s", found.architecture, told.Architecture))
		}
		u.Architecture = told.Architecture
	}
	if told.Title != "" {
		u.Title = told.Title
	}
	said("id", found.id != "", told.ID != "" && found.id == "")
	said("architecture", found.architecture != "", told.Architecture != "" && found.architecture == "")
	said("title", found.title != "", told.Title != "")
	u.BuildFrom, u.BuildTo = found.build, found.build
	if told.Build != "" {
		var err error
		if u.BuildFrom, u.BuildTo, err = parseBuild(told.Build); err != nil {
			errs = append(errs, err)
		}
	}
	said("build", found.build != 0, told.Build != "")
	said("identity", found.identity != nil, false)
	u.Editions, u.Languages = told.Editions, told.Languages
	said("editions", false, len(told.Editions) > 0)
	said("languages", false, len(told.Languages) > 0)
	for _, list := range []struct {
		field string
		from  []string
		to    *[]string
	}{{"superseded_by", told.SupersededBy, &u.SupersededBy}, {"requires", told.Requires, &u.Requires}} {
		for _, id := range list.from {
			id = canonicalID(id)
			if err := checkID(id); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", list.field, err))
			}
			*list.to = append(*list.to, id)
		}
		said(list.field, false, len(list.from) > 0)
	}
	if u.Kind.IsUpdate() {
		if u.ID == "" {
			errs = append(errs, errors.New("which update it is can't be read from it; say it with --id, such as --id KB5031455"))
		}
		if u.Architecture == "" {
			errs = append(errs, errors.New("the architecture can't be read from it; say it with --arch, such as --arch x64"))
		}
		if found.build == 0 && told.Build == "" {
			errs = append(errs, errors.New("the build of Windows can't be read from it; say it with --build, such as --build 22621, or --build any"))
		}
	} else if u.ID == "" {
		errs = append(errs, errors.New("an overlay needs a name; say it with --id"))
	}
	if u.ID != "" {
		errs = append(errs, checkID(u.ID))
	}
	if u.Architecture != "" {
		errs = append(errs, checkArchitecture(u.Architecture))
	}
	errs = append(errs, checkText("title", u.Title, maxTitle), checkWords("editions", u.Editions), checkWords("languages", u.Languages),
		checkWords("superseded by", u.SupersededBy), checkWords("requires", u.Requires))
	if slices.Contains(u.SupersededBy, u.ID) || slices.Contains(u.Requires, u.ID) {
		errs = append(errs, fmt.Errorf("%s can't supersede or require itself", u.ID))
	}
	return u, errors.Join(errs...)
}
