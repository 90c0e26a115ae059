package release

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// What a signature is for; one of another kind of document doesn't do.
const (
	signsRelease     = "wimcast release v1\n"
	signsAssignments = "wimcast assignments v1\n"
)

// ErrOrigin says that a document isn't of the site: its signature doesn't hold.
var ErrOrigin = errors.New("it isn't signed by the site whose point this is")

func sign(key ed25519.PrivateKey, what string, document []byte) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed(what, document)))
}

func verify(key ed25519.PublicKey, what string, document []byte, signature string) error {
	b, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, signed(what, document), b) {
		return ErrOrigin
	}
	return nil
}

// signed is what is signed of a document.
func signed(what string, document []byte) []byte {
	sum := sha256.Sum256(document)
	return append([]byte(what), sum[:]...)
}

// ParsePublicKey reads a site's key: base64 of the 32 bytes of Ed25519 (RFC 8032).
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("site key %.60q: want %d bytes as base64", text, ed25519.PublicKeySize)
	}
	return b, nil
}

// FormatPublicKey writes what ParsePublicKey reads.
func FormatPublicKey(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }
