package page

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"sync"
	"time"
)

// Lives and numbers of what opens the page.
const (
	secretLen    = 32              // bytes of a token and of a cookie: 256 random bits
	tokenLife    = 5 * time.Minute // a link is followed at once, or made again
	sessionLife  = 12 * time.Hour  // a shift
	maxTokens    = 64              // links that nobody followed yet; the oldest goes
	maxSessions  = 256             // browsers; the oldest goes
	maxSecretLen = 64              // characters of what is compared at all
)

// secret is something that opens the page, and what is known of it. Only its hash is kept.
type secret struct {
	hash    [sha256.Size]byte
	by      string // who had the link made
	expires time.Time
	ended   chan struct{} // closed once it doesn't count any more
}

// keyring holds secrets. Safe for concurrent use.
type keyring struct {
	life time.Duration
	most int

	mu   sync.Mutex
	keys []*secret // the oldest first
}

// add draws a secret and returns its text.
func (k *keyring) add(by string, now time.Time) (text string, made *secret) {
	b := make([]byte, secretLen)
	_, _ = rand.Read(b) // never fails
	text = base64.RawURLEncoding.EncodeToString(b)
	made = &secret{hash: sha256.Sum256([]byte(text)), by: by, expires: now.Add(k.life), ended: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire(now)
	if len(k.keys) >= k.most {
		k.remove(0)
	}
	k.keys = append(k.keys, made)
	return text, made
}

// find returns the secret of a text, nil where there is none that still counts; with take it is gone after that. Every secret is compared
// in full, so that the time says nothing.
func (k *keyring) find(text string, now time.Time, take bool) *secret {
	if text == "" || len(text) > maxSecretLen {
		return nil
	}
	hash := sha256.Sum256([]byte(text))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire(now)
	at := -1
	for i, key := range k.keys {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(key.hash[:], hash[:]), i, at)
	}
	if at < 0 {
		return nil
	}
	found := k.keys[at]
	if take {
		k.remove(at)
	}
	return found
}

// expire removes what doesn't count any more; the caller holds mu.
func (k *keyring) expire(now time.Time) {
	for len(k.keys) > 0 && !now.Before(k.keys[0].expires) { // all live as long, so the oldest ends first
		k.remove(0)
	}
}

// remove ends the secret at a place; the caller holds mu.
func (k *keyring) remove(at int) {
	close(k.keys[at].ended)
	k.keys = append(k.keys[:at], k.keys[at+1:]...)
}
