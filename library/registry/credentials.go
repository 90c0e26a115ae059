package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// maxCredentials bounds the file of credentials.
const maxCredentials = 1 << 20

// errCredentials: the file of credentials can't be used.
var errCredentials = errors.New("credentials")

// credential answers the registry's challenge. It reads the file each time, so that new credentials count at once;
// oras asks only when the ones that it has are refused.
func (r *Repository) credential(ctx context.Context, host string) (auth.Credential, error) {
	if r.config.Credentials == "" || host != r.host {
		return auth.EmptyCredential, nil
	}
	c, err := readCredentials(ctx, r.config.Credentials, host)
	if err != nil {
		return c, fmt.Errorf("%w: %w", errCredentials, err)
	}
	r.shown.Store(&c)
	return c, nil
}

// leastSecret is how long a secret is that is looked for in a registry's words: a shorter one is in words that have nothing of it.
const leastSecret = 4

// withoutSecrets takes our own credentials out of a registry's words: some repeat what they were shown, and errors go into logs.
func (r *Repository) withoutSecrets(text string) string {
	c := r.shown.Load()
	if c == nil {
		return text
	}
	for _, secret := range []string{c.Password, c.AccessToken, c.RefreshToken, base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))} {
		if len(secret) >= leastSecret {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// readCredentials reads a file of credentials:
//
//	username = point17
//	password = secret
//
// or token = …, or the config.json that docker login and its like write. # begins a line that doesn't count.
func readCredentials(ctx context.Context, name, host string) (c auth.Credential, err error) {
	f, err := os.Open(name)
	if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return c, err
	}
	if others := info.Mode().Perm() & 0o007; others != 0 && info.Mode().IsRegular() {
		return c, fmt.Errorf("%s: everybody on this machine can read it; next: chmod o= %s", name, name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	switch {
	case err != nil:
		return c, err
	case len(text) > maxCredentials:
		return c, fmt.Errorf("%s: more than %d bytes", name, maxCredentials)
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		return dockerCredentials(ctx, name, host, text)
	}
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if quoted, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
			value = quoted
		}
		switch key = strings.TrimSpace(key); {
		case !found:
			return c, fmt.Errorf("%s: line %d has no =", name, n+1) // what is in it may be the password
		case key == "username":
			c.Username = value
		case key == "password":
			c.Password = value
		case key == "token":
			c.AccessToken = value
		default:
			return c, fmt.Errorf("%s: line %d: the key isn't one of username, password, token", name, n+1)
		}
	}
	if c.AccessToken == "" && (c.Username == "" || c.Password == "") {
		return c, fmt.Errorf("%s: neither username and password nor token in it", name)
	}
	return c, nil
}

// dockerCredentials reads docker's config.json.
func dockerCredentials(ctx context.Context, name, host string, text []byte) (auth.Credential, error) {
	store, err := credentials.NewMemoryStoreFromDockerConfig(text)
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("%s: it begins like docker's config.json, and isn't one", name) // what it quotes may be a secret
	}
	c, err := credentials.Credential(store)(ctx, host)
	if err == nil && c == auth.EmptyCredential {
		err = fmt.Errorf("%s: no credentials for %s under auths; what a helper program keeps isn't looked up; next: write a file with username and password", name, host)
	}
	return c, err
}
