package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// ErrNotRecipient says that a content key isn't wrapped to an identity.
var ErrNotRecipient = errors.New("this point isn't among those that may have the package")

// NewIdentity draws the key pair of a point: an X25519 identity of age, as text, and its recipient.
func NewIdentity() (identity, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("draw an identity: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}

// Recipient returns the recipient of an identity.
func Recipient(identity string) (string, error) {
	id, err := age.ParseX25519Identity(identity)
	if err != nil {
		return "", fmt.Errorf("read the identity: %w", err)
	}
	return id.Recipient().String(), nil
}

// Wrap encrypts a content key to recipients, at least one, in the format of age (age-encryption.org/v1).
func Wrap(key [KeySize]byte, recipients []string) ([]byte, error) {
	var to []age.Recipient
	for _, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("wrap the content key: recipient %.80q: %w", text, err)
		}
		to = append(to, r)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err == nil {
		_, err = w.Write(key[:])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("wrap the content key: %w", err)
	}
	return out.Bytes(), nil
}

// Unwrap returns the content key, or an error that wraps ErrNotRecipient.
func Unwrap(wrapped []byte, identity string) (key [KeySize]byte, err error) {
	id, err := age.ParseX25519Identity(identity)
	if err != nil {
		return key, fmt.Errorf("read the identity: %w", err)
	}
	r, err := age.Decrypt(bytes.NewReader(wrapped), id)
	if err != nil {
		if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
			return key, ErrNotRecipient
		}
		return key, fmt.Errorf("unwrap the content key: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, KeySize+1))
	if err != nil || len(b) != KeySize {
		return key, errors.New("unwrap the content key: what is in it isn't a key")
	}
	copy(key[:], b)
	return key, nil
}
