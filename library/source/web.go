package source

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"wimcast/library/wim"
)

// Bounds of a download.
const (
	maxRedirects = 5
	// maxFailures in a row, without one byte between them, end a download; with the back-off that is about two minutes.
	maxFailures  = 8
	firstBackoff = time.Second
	mostBackoff  = 30 * time.Second
	// stallTime is how long a server may send nothing before the connection counts as broken.
	stallTime   = time.Minute
	dialTime    = 15 * time.Second
	maxCAFile   = 4 << 20 // bytes
	maxSkimmed  = 64 << 10
	keptFailure = 300 // bytes of a server's words in an error
)

// download reads a web address from beginning to end over as many connections as it takes. Each but the first asks for the rest of
// what the first one began (RFC 9110, sections 13.1.5 and 14), so that the bytes of two files never meet.
type download struct {
	ctx     context.Context
	client  *http.Client
	address string // with query
	name    string // without
	pinned  bool
	backoff time.Duration

	size     int64
	etag     string // strong, or ""
	modified string // Last-Modified
	off      int64

	body     io.ReadCloser
	cancel   context.CancelFunc
	stall    *time.Timer
	skip     int64 // bytes of the body that were read before, from a server that knows no ranges
	failures int
}

// openWeb opens an http or https address.
func openWeb(ctx context.Context, u *url.URL, o *Options) (*Source, error) {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	switch {
	case u.Host == "":
		return nil, errors.New("the address names no server; it looks like https://server/folder/os.wim")
	case u.User != nil:
		return nil, fmt.Errorf("%s: a user or password in an address shows on screens and in lists of processes; next: put the file where none is needed, or download it and add the file", clean.String())
	case u.Scheme == "http" && !o.Pinned && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%w: by http:// anybody on the way can put another image in its place; next: use https://, or say what it must be with --sha256", ErrInsecure)
	}
	secure, err := tlsConfig(o.CACert)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSClientConfig: secure, TLSHandshakeTimeout: dialTime,
		ResponseHeaderTimeout: stallTime, DisableCompression: true, ForceAttemptHTTP2: true,
	}
	d := &download{
		ctx: ctx, address: u.String(), name: clean.String(), pinned: o.Pinned, backoff: o.backoff,
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
	}
	if d.backoff == 0 {
		d.backoff = firstBackoff
	}
	done := func() error {
		d.close()
		transport.CloseIdleConnections()
		return nil
	}
	if err := d.begin(); err != nil {
		_ = done()
		return nil, err
	}
	s := &Source{Name: d.name, Stem: stemOf(path.Base(u.Path)), Size: d.size, closers: []func() error{done}}
	if u.RawQuery == "" && u.Scheme == "https" { // what follows a ? is a password as often as not
		s.Again = d.name
	}
	s.reader, s.left = bufio.NewReaderSize(d, readBuffer), d.size
	// A page that says "log in" is as long as it says, too.
	head, err := s.reader.Peek(int(min(wim.HeaderSize, d.size)))
	if err == nil {
		var h wim.Header
		if h, err = wim.ParseHeader(head); err == nil && h.Split() {
			err = fmt.Errorf("%w: it is part %d of %d; next: download all of them into a folder, and add that", ErrParts, h.Part, h.Parts)
		}
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	return s, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}

// tlsConfig trusts the system's CAs, or those of a file alone.
func tlsConfig(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA file %s: no certificate in PEM in it", file)
	}
	return c, nil
}

// checkRedirect follows a few redirects, and none to where the bytes could be changed on the way.
func checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case to.URL.Scheme != "https" && via[0].URL.Scheme == "https":
		return fmt.Errorf("%w: the server sends us from https:// on to %s://%s", ErrInsecure, to.URL.Scheme, to.URL.Host)
	case to.URL.Scheme != "https" && to.URL.Scheme != "http":
		return fmt.Errorf("%w: the server sends us on to %s://", ErrInsecure, to.URL.Scheme)
	}
	return nil
}

// request asks for the content from d.off on. A stalled answer is cut off.
func (d *download) request() (*http.Response, error) {
	ctx, cancel := context.WithCancel(d.ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.address, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: the address can't be asked for", d.name)
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "wimcast")
	if d.off > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.off))
		if v := d.validator(); v != "" {
			r.Header.Set("If-Range", v)
		}
	}
	answer, err := d.client.Do(r)
	if err != nil {
		cancel()
		return nil, d.explain(err)
	}
	d.body, d.cancel, d.stall = answer.Body, cancel, time.AfterFunc(stallTime, cancel)
	d.stall.Stop()
	return answer, nil
}

// validator is what names the version of the file that is being read; "" where the server gives nothing that does.
func (d *download) validator() string {
	if d.etag != "" {
		return d.etag
	}
	return d.modified
}

// close ends the connection that is open.
func (d *download) close() {
	if d.body == nil {
		return
	}
	d.stall.Stop()
	d.cancel()
	_ = d.body.Close()
	d.body = nil
}

// begin makes the first request, and learns what is to come.
func (d *download) begin() error {
	for {
		answer, err := d.request() //nolint:bodyclose // d.close does
		if err == nil {
			err = d.first(answer)
		}
		if err == nil {
			return nil
		}
		d.close()
		// A name that doesn't exist or a port that is closed is told at once: a person waits.
		if _, busy := errors.AsType[*busyError](err); !busy {
			return err
		}
		if err := d.wait(err); err != nil {
			return err
		}
	}
}

func (d *download) first(answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return d.refused(answer)
	}
	switch coding := answer.Header.Get("Content-Encoding"); {
	case coding != "" && coding != "identity":
		return fmt.Errorf("%s: the server sends it packed (Content-Encoding: %.20q), though asked not to", d.name, coding)
	case answer.ContentLength < 0:
		return fmt.Errorf("%s: the server doesn't say how long it is, so a broken download couldn't be told from a whole one; next: download it and add the file", d.name)
	}
	d.size = answer.ContentLength
	d.etag, d.modified = versionOf(answer)
	return nil
}

// versionOf returns the strong ETag and the Last-Modified of an answer. A weak ETag may be the same for other bytes.
func versionOf(answer *http.Response) (etag, modified string) {
	if etag = answer.Header.Get("ETag"); strings.HasPrefix(etag, "W/") {
		etag = ""
	}
	return etag, answer.Header.Get("Last-Modified")
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.off == d.size {
			return 0, io.EOF
		}
		err := d.resume()
		if err == nil {
			var n int
			if n, err = d.readBody(p); n > 0 {
				d.failures = 0
				return n, nil
			}
		}
		if err == nil {
			continue
		}
		d.close()
		if err := d.wait(err); err != nil {
			return 0, err
		}
	}
}

// readBody reads what comes next. What was read before is passed over.
func (d *download) readBody(p []byte) (int, error) {
	want := min(int64(len(p)), d.size-d.off)
	if d.skip > 0 {
		want = min(int64(len(p)), d.skip)
	}
	d.stall.Reset(stallTime)
	n, err := d.body.Read(p[:want])
	stalled := !d.stall.Stop()
	if d.skip > 0 {
		d.skip -= int64(n)
		n = 0
	}
	d.off += int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes again
	case stalled && d.ctx.Err() == nil:
		return 0, fmt.Errorf("the server sent nothing for %v", stallTime)
	case errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	}
	return 0, err
}

// finalError is one that trying again doesn't mend.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// busyError is a server that may be asked again later.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// wait waits before the next try; it returns the error where there shall be none.
func (d *download) wait(why error) error {
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	if final, ok := errors.AsType[finalError](why); ok {
		return final.error
	}
	if d.failures++; d.failures > maxFailures {
		return fmt.Errorf("%w: gave up after %d tries in a row at byte %d of %d: %w; next: add it again later", ErrUnreachable, d.failures, d.off, d.size, why)
	}
	timer := time.NewTimer(min(d.backoff<<(d.failures-1), mostBackoff))
	defer timer.Stop()
	select {
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	case <-timer.C:
		return nil
	}
}

// resume asks for the rest where no connection is open.
func (d *download) resume() error {
	if d.body != nil {
		return nil
	}
	if d.off > 0 && d.validator() == "" && !d.pinned {
		return finalError{fmt.Errorf("the connection broke after %d of %d bytes, and the server gives neither ETag nor Last-Modified, so going on might join two different files; next: add it again, or with --sha256", d.off, d.size)}
	}
	answer, err := d.request() //nolint:bodyclose // d.close does
	if err != nil {
		return err
	}
	changed := finalError{fmt.Errorf("%w: the server has another one since byte %d of %d; next: add it again", ErrChanged, d.off, d.size)}
	etag, modified := versionOf(answer)
	same := etag == d.etag && (d.etag != "" || modified == d.modified)
	switch answer.StatusCode {
	case http.StatusPartialContent:
		var from, to, size int64
		if n, err := fmt.Sscanf(answer.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); n != 3 || err != nil || from != d.off {
			return finalError{fmt.Errorf("asked for the bytes from %d on, the server answered %.60q", d.off, answer.Header.Get("Content-Range"))}
		}
		if size != d.size || etag != "" && !same {
			return changed
		}
		return nil
	case http.StatusOK:
		// It knows no ranges, or the file is another one now.
		if answer.ContentLength != d.size || !same {
			return changed
		}
		d.skip = d.off
		return nil
	case http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed:
		return changed
	}
	if err := d.refused(answer); err != nil {
		if _, busy := errors.AsType[*busyError](err); busy {
			return err
		}
		return finalError{err}
	}
	return nil
}

// refused says what an answer means that isn't the content.
func (d *download) refused(answer *http.Response) error {
	_, _ = io.CopyN(io.Discard, answer.Body, maxSkimmed)
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound || status == http.StatusGone:
		return fmt.Errorf("%s: %w: the server has no such file (%d)", d.name, os.ErrNotExist, status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		return fmt.Errorf("%s: %w: the server wants a password, or forbids it (%d); next: download it and add the file", d.name, ErrDenied, status)
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return &busyError{fmt.Errorf("%s: the server answered %d (%s)", d.name, status, http.StatusText(status))}
	default:
		return fmt.Errorf("%s: the server answered %d (%s) in place of the file", d.name, status, http.StatusText(status))
	}
}

// explain says in words why there was no answer. What net/http says has the whole address in it, query included.
func (d *download) explain(err error) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, wrong := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case errors.Is(err, ErrInsecure):
		return finalError{err}
	case unknown:
		return finalError{fmt.Errorf("%s: the server's certificate is of a CA that isn't trusted here (%.*s); next: name that CA's file with --cacert", d.name, keptFailure, err)}
	case wrong || invalid:
		return finalError{fmt.Errorf("%s: the server's certificate isn't good: %.*s", d.name, keptFailure, err)}
	}
	return fmt.Errorf("%s: %w", d.name, reachable(err))
}

// reachable says in words why a server can't be reached.
func reachable(err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return fmt.Errorf("%w: no host is called %s", ErrUnreachable, e.Name)
	}
	return fmt.Errorf("%w: %.*s", ErrUnreachable, keptFailure, err)
}
