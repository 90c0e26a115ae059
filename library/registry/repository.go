package registry

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Config says where a repository is, and how to get there.
type Config struct {
	// Repository is the registry's host, with a port where it isn't the usual one, and the repository's name in it: registry.example.org/wimcast.
	Repository string
	// Credentials is a file with username and password, or a token, or docker's config.json; "" asks without any. It is
	// read again whenever the registry refuses what it held before.
	Credentials string
	// CA is a file with certificates in PEM that alone are trusted; "" trusts the system's.
	CA string
	// PlainHTTP speaks HTTP. Whoever is on the way then sees the credentials, and what isn't encrypted.
	PlainHTTP bool
	// UserAgent is how we name ourselves; "" is wimcast.
	UserAgent string
	// Parallel is how many blobs are on their way at once, in both directions together; 0 is 4.
	Parallel int
}

const (
	defaultParallel = 4
	// pushTries is how often one blob is sent at most; with the back-off that is at least 7 s.
	pushTries    = 4
	firstBackoff = time.Second
	mostBackoff  = 30 * time.Second
	// maxTagPages bounds a list of tags; a page is the registry's, 100 tags or more.
	maxTagPages = 10_000
)

// Repository is one repository of a registry. It is safe for concurrent use.
type Repository struct {
	config    Config
	name      string // as in Config
	host      string
	remote    *remote.Repository
	client    *client
	transport *http.Transport
	slots     chan struct{} // one for each blob on its way
	backoff   time.Duration
	shown     atomic.Pointer[auth.Credential] // what it was shown last; nil before
}

// Open looks at the configuration and the files that it names. It doesn't ask the registry.
func Open(c Config) (*Repository, error) {
	r, err := open(context.Background(), c, idleTime) // it only reads files
	if err != nil {
		return nil, fmt.Errorf("open repository: %s: %w", printable(c.Repository), err)
	}
	return r, nil
}

func open(ctx context.Context, c Config, idle time.Duration) (*Repository, error) {
	if c.UserAgent == "" {
		c.UserAgent = "wimcast"
	}
	if c.Parallel <= 0 {
		c.Parallel = defaultParallel
	}
	ref, err := registry.ParseReference(c.Repository)
	if err != nil || ref.Reference != "" {
		return nil, fmt.Errorf("it is no repository; it looks like registry.example.org/wimcast, in small letters and without a tag")
	}
	r := &Repository{config: c, name: c.Repository, host: ref.Host(), slots: make(chan struct{}, c.Parallel), backoff: firstBackoff}
	if c.Credentials != "" {
		if _, err := readCredentials(ctx, c.Credentials, r.host); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
	}
	if r.transport, err = newTransport(&r.config, idle); err != nil {
		return nil, err
	}
	a := &auth.Client{
		Client: &http.Client{Transport: r.transport, CheckRedirect: r.config.checkRedirect}, Credential: r.credential, Cache: auth.NewCache(), ClientID: c.UserAgent,
	}
	a.SetUserAgent(c.UserAgent)
	r.client = &client{auth: a, repository: r.name, said: r.said}
	r.remote = &remote.Repository{Client: r.client, Reference: ref, PlainHTTP: c.PlainHTTP, MaxMetadataBytes: MaxManifest, TagListMaxPages: maxTagPages}
	// What is pushed here names no subject, so nothing is ever asked about referrers.
	if err := r.remote.SetReferrersCapability(true); err != nil {
		return nil, err
	}
	return r, nil
}

// Name returns the repository's name as it was configured.
func (r *Repository) Name() string { return r.name }

// Close gives up connections that aren't in use. The repository stays usable.
func (r *Repository) Close() { r.transport.CloseIdleConnections() }

func (r *Repository) scheme() string {
	if r.config.PlainHTTP {
		return "http"
	}
	return "https"
}
