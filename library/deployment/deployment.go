// Package deployment keeps who may have which image, and when: deployments, in one file of
// the state directory that people can read.
//
// A deployment names a package and an image in it, the bundles that may have it, and what
// differs from the configuration in how its sessions are run. The package knows neither
// the library nor sessions. Check holds a deployment against packages that it is
// shown, and rules are text that it keeps for those who understand it.
package deployment

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Deployment is a package for a room.
type Deployment struct {
	Name string `json:"name"`
	// Image is the package: name@version, or a name for the version that is current when a client joins.
	Image string `json:"image"`
	// Index is the image in the WIM, from 1 on; 0 where none is named.
	Index int `json:"index,omitempty"`
	// Who may have it: patterns for the name in a client's certificate, in which * and ? stand for any characters and
	// for any one. Empty: every bundle that may join.
	Who []string `json:"who,omitempty"`
	// Rules are the keys of [session] in the configuration that differ for this deployment, with their values as text.
	Rules   map[string]string `json:"rules,omitempty"`
	Content Content           `json:"content"`
	Comment string            `json:"comment,omitempty"`
	Created time.Time         `json:"created"` // UTC
	Changed time.Time         `json:"changed"` // UTC
}

// Content says where a client reads the content from.
type Content string

// The places: a closed set. The zero value of a new deployment is download.
const (
	Download Content = "download" // download content locally when needed
	Direct   Content = "direct"   // access content directly from the distribution point: not built yet
)

// Bounds of texts, in bytes. With maxName a name fits where the protocol carries it
// (docs/protocol.md, section 6.1).
const (
	maxName    = 128
	maxImage   = 193 // a package's name, @ and version
	maxPattern = 64  // as long as a certificate's name
	maxWho     = 256 // patterns
	maxRule    = 64
	maxComment = 1024
	maxIndex   = 10_000
)

// RuleKeys are the keys that Rules may have, in the order of the configuration.
func RuleKeys() []string {
	return []string{"start", "min_clients", "delay", "delay_from", "at", "max_clients", "overflow", "slow", "floor", "grace", "weight"}
}

// Allows reports whether the holder of a certificate with that name may have it.
func (d *Deployment) Allows(bundle string) bool {
	return len(d.Who) == 0 || slices.ContainsFunc(d.Who, func(pattern string) bool { return fits(pattern, bundle) })
}

// fits matches a name with a pattern. For path.Match a slash is special, in names of
// certificates it isn't: NUL, which neither may have, stands for it.
func fits(pattern, name string) bool {
	ok, err := path.Match(slashless(pattern), slashless(name))
	return ok && err == nil
}

func slashless(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// String says in one line what a deployment is, for a record of changes.
func (d *Deployment) String() string {
	parts := []string{"image " + d.Image}
	if d.Index > 0 {
		parts = append(parts, fmt.Sprintf("index %d", d.Index))
	}
	if len(d.Who) > 0 {
		parts = append(parts, "for "+strings.Join(d.Who, " "))
	}
	for _, key := range RuleKeys() {
		if value, ok := d.Rules[key]; ok {
			parts = append(parts, key+" "+value)
		}
	}
	if d.Content != Download {
		parts = append(parts, "content "+string(d.Content))
	}
	return d.Name + ": " + strings.Join(parts, ", ")
}

func (d *Deployment) clone() Deployment {
	c := *d
	c.Who, c.Rules = slices.Clone(d.Who), maps.Clone(d.Rules)
	return c
}

// Change is what to change of a deployment; what is nil stays.
type Change struct {
	Image   *string
	Index   *int
	Who     *[]string
	Rules   map[string]string // keys that aren't there stay; "" gives one back to the configuration
	Content *Content
	Comment *string
}

// With returns the deployment with a change.
func (d *Deployment) With(c Change) Deployment {
	out := d.clone()
	set(&out.Image, c.Image)
	set(&out.Index, c.Index)
	set(&out.Who, c.Who)
	set(&out.Content, c.Content)
	set(&out.Comment, c.Comment)
	for key, value := range c.Rules {
		if value == "" {
			delete(out.Rules, key)
			continue
		}
		if out.Rules == nil {
			out.Rules = map[string]string{}
		}
		out.Rules[key] = value
	}
	return out
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// checkForm holds what can be judged without knowing any package. All errors are returned, joined.
func (d *Deployment) checkForm() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkWord("name", d.Name, maxName, `@/\"*?[]<>|:`); err != nil {
		errs = append(errs, err)
	}
	if err := checkWord("image", d.Image, maxImage, ""); err != nil {
		errs = append(errs, err)
	}
	if d.Index < 0 || d.Index > maxIndex {
		bad("index: %d isn't between 1 and %d, or 0 for none", d.Index, maxIndex)
	}
	if len(d.Who) > maxWho {
		bad("who: %d patterns; at most %d", len(d.Who), maxWho)
	}
	for _, pattern := range d.Who {
		if err := checkText("who", pattern, maxPattern); err != nil {
			errs = append(errs, err)
		} else if _, err := path.Match(slashless(pattern), ""); err != nil || pattern == "" {
			bad("who: %q is not a pattern such as \"lab12\" or \"room-*\"", pattern)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(d.Rules)) {
		switch value := d.Rules[key]; {
		case !slices.Contains(RuleKeys(), key):
			bad("rules: unknown key %.80q; there are %s", key, strings.Join(RuleKeys(), ", "))
		case value == "":
			bad("%s: is empty", key)
		default:
			errs = append(errs, checkText(key, value, maxRule))
		}
	}
	if d.Content != Download && d.Content != Direct {
		bad("content: %.80q is none of download, direct", d.Content)
	}
	errs = append(errs, checkText("comment", d.Comment, maxComment))
	return errors.Join(errs...)
}

// checkWord holds what people type in shells, and what stands in paths of addresses.
func checkWord(what, s string, limit int, without string) error {
	if err := checkText(what, s, limit); err != nil {
		return err
	}
	switch i := strings.IndexAny(s, without); {
	case s == "":
		return fmt.Errorf("%s: is empty", what)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("%s: %q begins or ends with a space", what, s)
	case strings.HasPrefix(s, "-"):
		return fmt.Errorf("%s: %q begins with a hyphen, as options do", what, s)
	case s == "." || s == "..":
		return fmt.Errorf("%s: %q names a folder", what, s)
	case i >= 0:
		return fmt.Errorf("%s: %q: the character %q isn't allowed in it", what, s, s[i])
	}
	return nil
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s: %d bytes; at most %d are allowed", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: not UTF-8", what)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s: the character %q isn't allowed in it", what, r)
		}
	}
	return nil
}
