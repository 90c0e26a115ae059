package unicast

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"wimcast/crypto"
)

// Package is what the server must know of a package before it opens anything.
type Package struct {
	Name string // name@version; the label of its counters
	// MulticastOnly is why a request without a good token is refused. With one it is of a session that may use unicast.
	MulticastOnly bool
}

// Content is an open image. It must be safe for concurrent use. ReadAt may check
// what it reads; an error then ends the transfer.
type Content interface {
	io.ReaderAt
	io.Closer
	Size() int64
	// Manifest returns the marshalled manifest. The caller must not change it.
	Manifest() []byte
}

// contents is the library. Lookup is cheap and called for every request, also
// for those without a good token; Open comes after all checks. Errors that match
// ErrUnknown or ErrOutOfService are answered as such.
type contents interface {
	Lookup(digest crypto.Hash) (Package, error)
	Open(digest crypto.Hash) (Content, error)
}

// Grant is what a token is good for.
type Grant struct {
	Digest crypto.Hash // of the only content it gives
	Client string      // who it was given to, for people
}

// grants knows the tokens of the running sessions. A session of a multicast-only package gives none. Grant is called for every
// request and again for every chunk of a transfer, so that an eviction ends it
// at once; it must be quick. An implementation should find tokens by a hash of
// them, or compare in constant time.
type grants interface {
	Grant(token [32]byte) (Grant, error)
}

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	Contents contents // required
	Grants   grants   // required
	// Slots is how many clients fetch at a time. 0: 4.
	Slots int
	// BytesPerSecond is what all of them get together; at least 65,536. 0: no limit.
	BytesPerSecond int64
	// SlotIdle is how long a slot stays with a client between two requests. 0: 10 s.
	SlotIdle time.Duration
	// PlaceKept is how long a client's place in the queue outlives its last
	// request. 0: 30 s.
	PlaceKept time.Duration
	// WriteStall ends a transfer whose client takes nothing for so long. 0: 30 s.
	WriteStall time.Duration
	// Logs answers what machines send of themselves (package clientlog), at logsPath: it isn't content, and needs no
	// token. nil: there is no such path.
	Logs http.Handler
	// ErrorLog hears of failed TLS handshakes and the like, as http.Server has
	// them; used by Serve. nil: nobody hears.
	ErrorLog *log.Logger
}

const (
	defaultSlots      = 4
	defaultSlotIdle   = 10 * time.Second
	defaultPlaceKept  = 30 * time.Second
	defaultWriteStall = 30 * time.Second
	minBudget         = 65_536
	headerTimeout     = 10 * time.Second
	idleTimeout       = time.Minute
	maxHeader         = 16 << 10
	logsPath          = "/v1/logs" // docs/protocol.md, section 9.1
)

// Server serves content and manifests. It is safe for concurrent use.
type Server struct {
	config ServerConfig
	mux    *http.ServeMux
	chunks sync.Pool // of *[]byte, each of maxChunk bytes

	mu      sync.Mutex // guards what follows
	slots   *slotTable
	budget  budget
	running map[Token]*transfer // the newest of each token
	sent    map[string]int64
	results map[Result]int64
}

// NewServer returns a server that holds no socket and starts nothing.
func NewServer(config ServerConfig) (*Server, error) {
	switch {
	case config.Contents == nil || config.Grants == nil:
		panic("unicast: NewServer: contents and grants are required")
	case config.Slots < 0:
		return nil, fmt.Errorf("unicast: %d slots; at least 1, or 0 for the default of %d", config.Slots, defaultSlots)
	case config.BytesPerSecond != 0 && config.BytesPerSecond < minBudget:
		return nil, fmt.Errorf("unicast: a budget of %d bytes/s is below %d; 0 means no limit", config.BytesPerSecond, minBudget)
	}
	config.Slots = orDefault(config.Slots, defaultSlots)
	config.SlotIdle = orDefault(config.SlotIdle, defaultSlotIdle)
	config.PlaceKept = orDefault(config.PlaceKept, defaultPlaceKept)
	config.WriteStall = orDefault(config.WriteStall, defaultWriteStall)
	if config.ErrorLog == nil {
		config.ErrorLog = log.New(io.Discard, "", 0)
	}
	s := &Server{
		config:  config,
		mux:     http.NewServeMux(),
		slots:   newSlotTable(config.Slots, config.SlotIdle, config.PlaceKept),
		budget:  budget{rate: config.BytesPerSecond},
		running: map[Token]*transfer{},
		sent:    map[string]int64{},
		results: map[Result]int64{},
	}
	s.chunks.New = func() any { b := make([]byte, maxChunk); return &b }
	s.mux.HandleFunc("GET /v1/content/{digest}", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, false) })
	s.mux.HandleFunc("GET /v1/manifest/{digest}", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, true) })
	return s, nil
}

// SetLimits changes how many clients fetch at a time (0: 4), and what all of them get together, in bytes/s (at least 65,536; 0: no
// limit). Clients that fetch already keep their slots.
func (s *Server) SetLimits(slots int, bytesPerSecond int64) error {
	switch {
	case slots < 0:
		return fmt.Errorf("unicast: %d slots; at least 1, or 0 for the default of %d", slots, defaultSlots)
	case bytesPerSecond != 0 && bytesPerSecond < minBudget:
		return fmt.Errorf("unicast: a budget of %d bytes/s is below %d; 0 means no limit", bytesPerSecond, minBudget)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.limit, s.budget.rate = orDefault(slots, defaultSlots), bytesPerSecond
	return nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

var _ http.Handler = (*Server)(nil)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.stall(w)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if s.config.Logs != nil && r.URL.Path == logsPath {
		s.config.Logs.ServeHTTP(w, r)
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		p := problem{Type: typeUnknown, Title: "no such path", Status: http.StatusNotFound, Detail: "the paths are /v1/content/{digest} and /v1/manifest/{digest}"}
		if strings.HasPrefix(r.URL.Path, "/v1/") && r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			p = problem{Type: "about:blank", Title: "method not allowed", Status: http.StatusMethodNotAllowed, Detail: "content can only be read: use GET or HEAD"}
		}
		s.refuse(w, r, ResultUnknown, p)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// stall gives the connection's next writes their deadline. It is never taken
// away, so that the rest in a buffer can't wait for ever either.
func (s *Server) stall(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.config.WriteStall))
}

// Serve answers HTTPS requests from l (TLS 1.3 only, HTTP/1.1) until ctx ends;
// then transfers get drain to end by themselves. It closes l. The error is nil
// when ctx ended.
func (s *Server) Serve(ctx context.Context, l net.Listener, config *tls.Config, drain time.Duration) error {
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{"http/1.1"} // HTTP/2 would cut our chunks into 16 KiB frames
	config.DynamicRecordSizingDisabled = true
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          s.config.ErrorLog,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(tls.NewListener(l, config)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve unicast: %w", err)
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if server.Shutdown(graceful) != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve unicast: %w", err)
	}
	return nil
}

// serve answers a request for content or its manifest.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, manifest bool) {
	digest, err := crypto.ParseHash(r.PathValue("digest"))
	if err != nil {
		s.refuse(w, r, ResultUnknown, problem{Type: typeUnknown, Title: "not a digest", Status: http.StatusNotFound, Detail: "a digest is 64 hexadecimal digits, as the welcome has it"})
		return
	}
	pkg, lookupErr := s.config.Contents.Lookup(digest)
	token, ok := bearer(r)
	var grant Grant
	if ok {
		grant, err = s.config.Grants.Grant(token)
		ok = err == nil
	}
	switch {
	case ok && grant.Digest == digest:
	case lookupErr == nil && pkg.MulticastOnly:
		s.fail(w, r, ErrMulticastOnly)
		return
	case !ok:
		w.Header().Set("WWW-Authenticate", `Bearer realm="wimcast"`)
		s.refuse(w, r, ResultUnauthorized, problem{Type: typeToken, Title: "no good token", Status: http.StatusUnauthorized, Detail: "send the unicast token of a running session; join the session (again) to get one"})
		return
	default:
		s.refuse(w, r, ResultForbidden, problem{Type: typeOtherContent, Title: "the token is for other content", Status: http.StatusForbidden, Detail: "join a session of this package to get a token for it"})
		return
	}
	if lookupErr != nil {
		s.fail(w, r, lookupErr)
		return
	}
	s.transfer(w, r, request{digest: digest, pkg: pkg.Name, token: token, grant: grant, manifest: manifest})
}

// bearer returns the token of a request (RFC 6750, section 2.1).
func bearer(r *http.Request) (token Token, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return token, false
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return token, false
	}
	b, err := hex.DecodeString(strings.TrimSpace(value))
	if err != nil || len(b) != len(token) {
		return token, false
	}
	return Token(b), true
}

// fail answers with what an error of contents means.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, ErrMulticastOnly):
		s.refuse(w, r, ResultMulticastOnly, problem{Type: typeMulticastOnly, Title: "the package is multicast-only", Status: http.StatusForbidden, Detail: "this package is never sent by unicast; if the group can't be heard, look for the switch's IGMP querier and at the firewall, or on the server: wimcast image set NAME --no-multicast-only"})
	case errors.Is(err, ErrUnknown):
		s.refuse(w, r, ResultUnknown, problem{Type: typeUnknown, Title: "no such content", Status: http.StatusNotFound, Detail: "the package was removed or replaced; join again to get what it holds now"})
	case errors.Is(err, ErrOutOfService):
		s.refuse(w, r, ResultOutOfService, problem{Type: typeOutOfService, Title: "the package is out of service", Status: http.StatusServiceUnavailable, Detail: "its file on the server is damaged; on the server: wimcast image verify"})
	default:
		s.refuse(w, r, ResultFailed, problem{Type: typeInternal, Title: "the content can't be opened", Status: http.StatusInternalServerError, Detail: "look into the server's log"})
	}
}

// refuse answers with a problem and counts it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, result Result, p problem) {
	s.count(result)
	p.write(w, r.Method != http.MethodHead)
}

// Release gives back what a token holds and ends its transfer, as when its client
// is done or evicted. Without it a slot is free again after SlotIdle.
func (s *Server) Release(token [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.release(token)
	if t := s.running[token]; t != nil {
		t.end(errReleased)
	}
}
