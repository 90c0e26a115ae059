package page

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// Config is what the page is made of. All fields are required that don't say otherwise.
type Config struct {
	// API answers the routes. It takes who asks from the request's context (api.WithCaller), or over HTTPS from a certificate.
	API http.Handler
	// Secure says that the page is served over HTTPS, and then holders of certificates that Judge admits need no link.
	Secure bool
	Judge  func(*tls.ConnectionState) (keyex.Identity, error) // with Secure
	// Names are what the page may be called by beside addresses and localhost.
	Names func() []string
	Now   func() time.Time
	Log   *zap.Logger
	// ErrorLog takes what the HTTP server says of its connections, which anybody can cause.
	ErrorLog *log.Logger
}

// Page is the web page. Safe for concurrent use.
type Page struct {
	cfg      Config
	files    map[string]file
	api      *http.ServeMux
	foreign  *http.CrossOriginProtection
	tokens   keyring
	sessions keyring
	tries    limit
	logins   struct{ accepted, refused, limited atomic.Uint64 }
}

var _ http.Handler = (*Page)(nil)

// New returns the page. It starts nothing.
func New(cfg Config) *Page {
	p := &Page{
		cfg: cfg, files: files(), foreign: http.NewCrossOriginProtection(),
		tokens: keyring{life: tokenLife, most: maxTokens}, sessions: keyring{life: sessionLife, most: maxSessions},
	}
	p.api = asks(p.ask)
	return p
}

// Bounds of a connection.
const (
	headerTimeout = 10 * time.Second
	loginTimeout  = 10 * time.Second // of reading a login and of writing a file
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
)

// Serve answers what comes in on l until ctx ends. With a TLS configuration it is HTTPS.
func (p *Page) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	s := &http.Server{
		Handler: p, TLSConfig: secure, ErrorLog: p.cfg.ErrorLog,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var err error
	if secure == nil {
		err = s.Serve(l)
	} else {
		err = s.ServeTLS(l, "", "")
	}
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the web page: %w", err)
}

// policy is the page's Content-Security-Policy: everything is its own, and nothing is inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

// ServeHTTP implements http.Handler.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(loginTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(loginTimeout)) // the API knows better for its own
	if !p.admits(r.Host) {
		problem(w, http.StatusMisdirectedRequest, fmt.Sprintf("%.100q is no name of this page; next: open it by its address, or set page.certificate to one with that name", r.Host))
		return
	}
	if err := p.foreign.Check(r); err != nil {
		problem(w, http.StatusForbidden, "request from a web page elsewhere: "+err.Error())
		return
	}
	if f, ok := p.files[r.URL.Path]; ok {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "the page only shows; what changes something is done with the wimcast command")
			return
		}
		f.serve(w, r)
		return
	}
	switch at := r.Method + " " + r.URL.Path; at {
	case "POST /login":
		p.login(w, r)
		return
	case "POST /logout":
		p.logout(w, r)
		return
	}
	if _, pattern := p.api.Handler(r); pattern == "" {
		problem(w, http.StatusNotFound, "not on the page, which only shows; next: the admin API (docs/api.md), or the command wimcast")
		return
	}
	p.api.ServeHTTP(w, r)
}

// ask has the API answer, for whoever may ask.
func (p *Page) ask(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(p.cookie()); err == nil {
		if key := p.sessions.find(c.Value, p.cfg.Now(), false); key != nil {
			p.askFor(key, w, r)
			return
		}
	}
	if p.cfg.Secure && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if _, err := p.cfg.Judge(r.TLS); err != nil {
			problem(w, http.StatusForbidden, err.Error())
			return
		}
		p.cfg.API.ServeHTTP(w, r) // which judges it again, also while it streams
		return
	}
	problem(w, http.StatusUnauthorized, "this page wants a link; next, on the server or with a viewer's bundle: wimcast page")
}

// askFor has the API answer for the holder of a cookie, until it ends: a stream is cut off then.
func (p *Page) askFor(key *secret, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), key.expires.Sub(p.cfg.Now()))
	defer cancel()
	watch := make(chan struct{})
	defer close(watch)
	go func() {
		select {
		case <-key.ended:
			cancel()
		case <-watch:
		}
	}()
	ctx = api.WithCaller(ctx, api.Caller{Name: "link of " + key.by, Role: string(keyex.Viewer), Address: r.RemoteAddr, UID: -1})
	asked := r.Clone(ctx)
	asked.TLS = nil // it is the cookie that counts
	asked.Header.Del("Cookie")
	p.cfg.API.ServeHTTP(w, asked)
}
