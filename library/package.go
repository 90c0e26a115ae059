package library

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
	"wimcast/library/release"
	"wimcast/library/wim"
)

// Package is content with what people call it and how it may be transferred.
type Package struct {
	Name    string
	Version string // may be empty
	Comment string
	Flags   Flags
	Added   time.Time // UTC
	// Restored is when the version became its name's current one by [Library.Rollback]; zero if never.
	Restored time.Time // UTC

	Digest crypto.Hash // of the content, as sessions and clients name it
	// OutOfService says what is wrong with the content; empty while it is in service.
	OutOfService string

	// Source says where it came from, for people; "" where nobody said.
	Source string
	// Again is where the daemon can get what Source names again: an https:// address or an absolute path; "": nowhere.
	Again string
	// Index is the image of the source that the content is; 0: the whole source.
	Index int
	// Validated is when every byte of the content was last found to match, its adding included; UTC.
	Validated time.Time

	// Revision is the site's number of the release that a pulled package is; 0 says that the package was added here.
	Revision int64
	// Current says of a pulled package that it is what its name alone means.
	Current bool
	// Prestaged says of a pulled package that it was imported, and that no assignments have named it yet.
	Prestaged bool

	oci v1.Descriptor // of the OCI manifest
	stored
}

// stored is what is known of content, whatever packages have it.
type stored struct {
	SHA256           [32]byte // of the content
	Size             int64    // of the content, in bytes
	Images           []wim.Image
	Compression      wim.Compression
	Pipable          bool // only wimlib reads it
	Solid            bool // ESD
	IntegrityChecked bool // it had an integrity table, which held when it was added

	config, content, manifest v1.Descriptor
	generation                int // counts how often the files were placed since the library was opened

	// Of a pulled package: the release as its site signed it, and its chunks in place of content; config is the release document.
	release *release.Release
	chunks  []v1.Descriptor
}

// Reference returns what names the package and no other: name@version, or the name
// where there is no version.
func (p *Package) Reference() string { return reference(p.Name, p.Version) }

func reference(name, version string) string {
	if version == "" {
		return name
	}
	return name + "@" + version
}

// since is when the version became its name's current one; the latest of a name is current.
func (p *Package) since() time.Time {
	if p.Restored.After(p.Added) {
		return p.Restored
	}
	return p.Added
}

// newer compares what two versions of a name are to it: the one that is greater comes first.
func newer(a, b *Package) int {
	if a.Current != b.Current {
		if a.Current {
			return 1
		}
		return -1
	}
	return a.since().Compare(b.since())
}

// Flags say how a package may be transferred.
type Flags struct {
	AllowMulticast bool // allow this package to be transferred via multicast (WinPE only)
	Encrypt        bool // encrypt multicast packages
	MulticastOnly  bool // transfer this package only via multicast
}

// defaultFlags are those of a new package.
var defaultFlags = Flags{AllowMulticast: true, Encrypt: true}

// check holds the rules that tie the flags.
func (f Flags) check(ref string) error {
	if f.MulticastOnly && !f.AllowMulticast {
		return fmt.Errorf("%w: multicast-only (transfer only via multicast) needs multicast (allow multicast) on, or nothing could transfer %q; "+
			"next: wimcast image set %q --multicast --multicast-only, or --no-multicast --no-multicast-only", ErrFlags, ref, ref)
	}
	return nil
}

// Bounds of texts, in bytes. With these, a reference fits where the protocol
// carries it: 255 bytes (docs/protocol.md).
const (
	maxName    = 128
	maxVersion = 64
	maxComment = 1024
	maxSource  = 2048
)

// checkName holds a package's name. Names are typed in shells and stand in paths,
// addresses and metrics; @ tells them from versions, and they don't look like digests.
func checkName(name string) error {
	if name == "" {
		return errors.New("a package needs a name; give one with --name")
	}
	if err := checkWord("name", name, maxName); err != nil {
		return err
	}
	if isDigest(name) {
		return fmt.Errorf("name %q: it would be taken for a digest; put a hyphen into it", name)
	}
	return nil
}

// checkVersion holds a package's version.
func checkVersion(version string) error { return checkWord("version", version, maxVersion) }

func checkWord(what, s string, limit int) error {
	switch {
	case len(s) > limit:
		return fmt.Errorf("%s of %d bytes: at most %d are allowed", what, len(s), limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q: not UTF-8", what, s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%s %q: it begins or ends with a space", what, s)
	case strings.HasPrefix(s, "-"):
		return fmt.Errorf("%s %q: it begins with a hyphen, as options do", what, s)
	case s == "." || s == "..":
		return fmt.Errorf("%s %q: it names a folder", what, s)
	}
	for _, r := range s {
		// Of all spaces only U+0020 is printable for Go, and nothing that turns the direction of text.
		if !unicode.IsPrint(r) || strings.ContainsRune(`@/\"*?<>|:`, r) {
			return fmt.Errorf("%s %q: the character %q isn't allowed in it", what, s, r)
		}
	}
	return nil
}

func checkComment(comment string) error {
	if len(comment) > maxComment {
		return fmt.Errorf("comment of %d bytes: at most %d are allowed", len(comment), maxComment)
	}
	if !utf8.ValidString(comment) {
		return errors.New("comment: not UTF-8")
	}
	for _, r := range comment {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("comment: the character %q isn't allowed in it", r)
		}
	}
	return nil
}

// checkSource holds a text that says where something came from.
func checkSource(source string) error {
	if len(source) > maxSource {
		return fmt.Errorf("source of %d bytes: at most %d are allowed", len(source), maxSource)
	}
	for _, r := range source {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("source: the character %q isn't allowed in it", r)
		}
	}
	return nil
}

// isDigest reports whether a reference reads as (the beginning of) a digest.
func isDigest(ref string) bool {
	return len(ref) >= minDigest && len(ref) <= 2*len(crypto.Hash{}) && strings.Trim(ref, "0123456789abcdef") == ""
}

// minDigest is how many digits of a digest name a package.
const minDigest = 12
