package support

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Pseudonyms replaces what names machines by words that are the same wherever the same thing is named, keyed by random bytes that are
// nowhere else: nobody can try names against them. Not safe for concurrent use.
type Pseudonyms struct {
	key   [32]byte
	names map[string]string // in lower case → pseudonym
}

// NewPseudonyms returns Pseudonyms with a key of their own.
func NewPseudonyms() *Pseudonyms {
	p := &Pseudonyms{names: map[string]string{}}
	_, _ = rand.Read(p.key[:]) // never fails
	return p
}

func (p *Pseudonyms) word(kind, text string) string {
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write([]byte(kind + "\x00" + strings.ToLower(text)))
	return kind + "-" + hex.EncodeToString(mac.Sum(nil)[:5])
}

// leastName is how long a name must be to be replaced wherever it stands, in bytes.
const leastName = 2

// Know adds a name of a machine.
func (p *Pseudonyms) Know(name string) {
	name = strings.TrimSpace(name)
	if len(name) >= leastName {
		p.names[strings.ToLower(name)] = p.word("name", name)
	}
}

// nameKeys are the keys of JSON whose values name machines, wherever they stand; in the lists of names a "name" is a machine's too.
var nameKeys = []string{"client", "host", "hostname", "machine", "uuid", "serial", "certificate_serial", "macs", "limiting"}

// Learn takes the names of machines out of a file of JSON, or of lines of JSON. With named a field "name" is one too.
func (p *Pseudonyms) Learn(text []byte, named bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var value any
		if decoder.Decode(&value) != nil {
			return
		}
		p.learn(value, named)
	}
}

func (p *Pseudonyms) learn(value any, named bool) {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			p.learn(v, named)
		}
	case map[string]any:
		for key, v := range value {
			text, is := v.(string)
			switch {
			case !is:
				p.learn(v, named || key == "clients" || key == "members" || key == "client" || key == "machine")
			case slices.Contains(nameKeys, key) || named && key == "name":
				for one := range strings.SplitSeq(text, ",") {
					p.Know(one)
				}
			}
		}
	}
}

// What names a machine by its form.
var (
	ipv4 = regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}\b`)
	ipv6 = regexp.MustCompile(`(?i)(?:[0-9a-f]{1,4}:){2,7}(?::|[0-9a-f]{1,4})(?::[0-9a-f]{1,4})*|(?:[0-9a-f]{1,4}:)+:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?`)
	mac  = regexp.MustCompile(`(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b`)
	uuid = regexp.MustCompile(`(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b`)
	word = regexp.MustCompile(`[\p{L}\p{N}_][\p{L}\p{N}_.-]*`)
)

// Replace returns text with pseudonyms. Groups, loopback and the address of everybody stay: they are of nobody, and say much.
func (p *Pseudonyms) Replace(text string) string {
	text = mac.ReplaceAllStringFunc(text, func(s string) string { return p.word("mac", strings.ReplaceAll(s, "-", ":")) })
	text = uuid.ReplaceAllStringFunc(text, func(s string) string { return p.word("uuid", s) })
	text = p.replaceLong(text)
	text = ipv4.ReplaceAllStringFunc(text, p.addr)
	text = ipv6.ReplaceAllStringFunc(text, p.addr)
	return word.ReplaceAllStringFunc(text, func(s string) string {
		bare := strings.TrimRight(s, ".-")
		if known := p.names[strings.ToLower(bare)]; known != "" {
			return known + s[len(bare):]
		}
		host, rest, found := strings.Cut(bare, ".") // pc01 of pc01.example.org
		if known := p.names[strings.ToLower(host)]; found && known != "" {
			return known + "." + p.word("domain", rest) + s[len(bare):]
		}
		return s
	})
}

// replaceLong replaces names that aren't one word.
func (p *Pseudonyms) replaceLong(text string) string {
	for name, known := range p.names {
		if word.FindString(name) == name {
			continue
		}
		for _, form := range []string{name, strings.Trim(string(quote(name)), `"`)} {
			text = replaceFold(text, form, known)
		}
	}
	return text
}

func replaceFold(text, name, with string) string {
	find := regexp.MustCompile(`(?i)` + regexp.QuoteMeta(name))
	return find.ReplaceAllLiteralString(text, with)
}

// addr is the pseudonym of an address: its network's and its own, so that one sees who is in one network.
func (p *Pseudonyms) addr(text string) string {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return text
	}
	a = a.Unmap()
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return text
	}
	bits := 64
	if a.Is4() {
		b := a.As4()
		if b[0] == 255 { // a mask
			return text
		}
		bits = 24
	}
	network, _ := a.Prefix(bits)
	return p.word("net", network.Masked().String()) + "." + strings.TrimPrefix(p.word("host", a.String()), "host-")
}
