package support

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"
)

// Redacted stands where something was taken out.
const Redacted = "[redacted]"

// leastSecret is how long a known secret must be, in bytes: shorter ones stand in ordinary text by chance.
const leastSecret = 6

// Scrubber takes secrets out of text: known ones wherever they stand, also as base64, hex, or escaped, and what looks like one by its
// place. The zero value knows none. Not safe for concurrent use while it is added to.
type Scrubber struct {
	known [][]byte
}

// Know adds a secret; one that is too short to be told from ordinary text isn't.
func (s *Scrubber) Know(secret string) {
	secret = strings.TrimSpace(secret)
	if len(secret) < leastSecret {
		return
	}
	raw := []byte(secret)
	forms := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quote(secret)), `"`), hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
	}
	// In base64 a secret looks different by where in the text it begins; its ends mix with their neighbours and are left out.
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			text := encoding.EncodeToString(append(make([]byte, shift), raw...))
			from, to := (shift*8+5)/6, len(text)
			if rest := (shift + len(raw)) % 3; rest != 0 {
				to--
			}
			forms = append(forms, text[from:to])
		}
	}
	for _, f := range forms {
		s.known = append(s.known, []byte(f))
	}
}

// shapes are what looks like a secret by its place. A
// hint is in whatever fits, and quick to look for.
var shapes = []struct {
	hint string
	find *regexp.Regexp
	put  string
}{
	// Keys and bundles: what stands between the lines, escaped as in JSON or not, and what broke off.
	{"-----BEGIN", regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), Redacted},
	{"AGE-SECRET", regexp.MustCompile(`AGE-SECRET-KEY-[0-9A-Z]+`), Redacted},
	// User and password, and the query, of an address: both are where file servers and clouds keep what opens them.
	{"://", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'\\<>@]*@`), "${1}" + Redacted + "@"},
	{"://", regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s?"'\\<>]*\?)[^\s"'\\<>]+`), "${1}" + Redacted},
	{"", regexp.MustCompile(`(?i)\b((?:proxy-)?authorization["']?\s*[:=]\s*["']?)(?:(?:basic|bearer|negotiate|digest)\s+)?[^\s"',;]+`), "${1}" + Redacted},
	{"", regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/_.~=-]{8,}`), "${1}" + Redacted},
	// key = value, key: value, "key": "value", --key value.
	{"", regexp.MustCompile(`(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|identitytoken|registrytoken|wimcast_pin)\\?["']?\s*[:=]\s*\\?["']?)[^\s"',;}\\]+`), "${1}" + Redacted},
	{"--", regexp.MustCompile(`(--(?:pin|password|token)[ =])\S+`), "${1}" + Redacted},
}

// Scrub returns text without secrets. It may use text's memory.
func (s *Scrubber) Scrub(text []byte) []byte {
	for _, k := range s.known {
		if bytes.Contains(text, k) {
			text = bytes.ReplaceAll(text, k, []byte(Redacted))
		}
	}
	for _, shape := range shapes {
		if bytes.Contains(text, []byte(shape.hint)) {
			text = shape.find.ReplaceAll(text, []byte(shape.put))
		}
	}
	return text
}
