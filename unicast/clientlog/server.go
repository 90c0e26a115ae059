package clientlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"wimcast/crypto/keyex"
)

// Result says how a request to take a report ended. It is a closed set, fit for a label.
type Result string

// The results.
const (
	ResultStored    Result = "stored"
	ResultRefused   Result = "refused"   // the certificate isn't good, or of a role that may not join
	ResultLimited   Result = "limited"   // too many from one address, or at a time
	ResultTooLarge  Result = "too_large" // a file, or all of it
	ResultMalformed Result = "malformed"
	ResultBroken    Result = "broken" // the client went away half-way, or was too slow
	ResultFull      Result = "full"   // the disk
	ResultOff       Result = "off"    // none are kept here
	ResultFailed    Result = "failed" // the store couldn't write
)

// Results returns the closed list, in a fixed order.
func Results() []Result {
	return []Result{ResultStored, ResultRefused, ResultLimited, ResultTooLarge, ResultMalformed, ResultBroken, ResultFull, ResultOff, ResultFailed}
}

// Bounds of what is under way.
const (
	underWay     = 8                // reports at a time
	perAddress   = 2                // of them from one address: one machine can't take all the places
	bodyTimeout  = 30 * time.Second // for a whole report; clients give up after SendTimeout
	retrySeconds = 1                // told to who comes while all places are taken
	lingerTime   = 2 * time.Second  // for the rest of what is refused
)

// judge says who stands at the other end of a connection.
type judge func(r *http.Request) (keyex.Identity, error)

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	Store *Store // required
	// Judge judges who sends, at each request, and refuses roles that may not join. Required.
	Judge judge
	// Stored and Refused hear of what came of each request, from its goroutine; may be nil.
	Stored  func(Entry)
	Refused func(from string, result Result, err error)
}

// Server takes reports: an http.Handler for Path. Safe for concurrent use.
type Server struct {
	config ServerConfig

	mu      sync.Mutex // guards what follows
	limits  limiter
	busy    map[netip.Addr]int
	all     int
	results map[Result]uint64
}

var _ http.Handler = (*Server)(nil)

// NewServer returns a server that starts nothing.
func NewServer(config ServerConfig) *Server {
	if config.Store == nil || config.Judge == nil {
		panic("clientlog: NewServer: store and judge are required")
	}
	return &Server{config: config, busy: map[netip.Addr]int{}, results: map[Result]uint64{}}
}

// Counts returns how many requests ended in each result. The caller owns it.
func (s *Server) Counts() map[Result]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := maps.Clone(s.results)
	for _, r := range Results() {
		out[r] += 0
	}
	return out
}

// refusal is an answer that says no.
type refusal struct {
	result Result
	status int
	retry  int // seconds, where not 0
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(result Result, status int, format string, args ...any) *refusal {
	return &refusal{result: result, status: status, err: fmt.Errorf(format, args...)}
}

// ServeHTTP takes one report.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	deadline := time.Now().Add(bodyTimeout)
	_ = control.SetReadDeadline(deadline)
	_ = control.SetWriteDeadline(deadline.Add(time.Second))
	entry, err := s.take(w, r)
	no := s.count(err)
	if no == nil {
		if s.config.Stored != nil {
			s.config.Stored(entry)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(answer{ID: entry.ID})
		return
	}
	if s.config.Refused != nil {
		cause := no.err
		if h, ok := errors.AsType[*hidden](cause); ok {
			cause = h.cause
		}
		s.config.Refused(r.RemoteAddr, no.result, cause)
	}
	if no.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(no.retry))
	}
	// Whoever is still sending reads no answer: a connection that is closed at once breaks in its hands (RFC 9112, section 9.6).
	_ = control.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(no.status)
	_ = json.NewEncoder(w).Encode(problem{Type: "about:blank", Title: http.StatusText(no.status), Status: no.status, Detail: no.err.Error()})
}

// answer tells the client under which name its report is kept.
type answer struct {
	ID string `json:"id"`
}

// problem is an error (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// count counts what came of a request, and returns what is to be answered; nil for good.
func (s *Server) count(err error) *refusal {
	no, ok := errors.AsType[*refusal](err)
	switch {
	case err == nil || ok:
	case errors.Is(err, ErrOff):
		no = refuse(ResultOff, http.StatusForbidden, "%w; next, on the server: set max in [logs] of its configuration", err)
	case errors.Is(err, errTooLarge):
		no = refuse(ResultTooLarge, http.StatusRequestEntityTooLarge, "the log isn't taken: %w", err)
	case errors.Is(err, ErrDiskFull):
		no = refuse(ResultFull, http.StatusInsufficientStorage, "the log isn't stored: %w", ErrDiskFull)
	case errors.Is(err, errMalformed):
		no = refuse(ResultMalformed, http.StatusBadRequest, "the log isn't taken: %w", err)
	default:
		no = refuse(ResultFailed, http.StatusInternalServerError, "the log isn't stored; the server's log says why")
		no.err = &hidden{no.err, err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if no == nil {
		s.results[ResultStored]++
		return nil
	}
	s.results[no.result]++
	return no
}

// hidden is an error whose cause isn't the client's to know; who unwraps it finds that.
type hidden struct{ shown, cause error }

// Error returns what the client is told.
func (h *hidden) Error() string { return h.shown.Error() }
func (h *hidden) Unwrap() error { return h.cause }

// take judges a request, the cheapest first, and stores what it brings.
func (s *Server) take(w http.ResponseWriter, r *http.Request) (Entry, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return Entry{}, refuse(ResultMalformed, http.StatusMethodNotAllowed, "a log is sent by POST, and read over the admin API")
	}
	who, err := s.config.Judge(r)
	if err != nil {
		return Entry{}, refuse(ResultRefused, http.StatusForbidden, "the log isn't taken: %w", err)
	}
	from := addressOf(r)
	if no := s.begin(time.Now(), from); no != nil {
		return Entry{}, no
	}
	defer s.end(from)
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || kind != "multipart/form-data" || parameters["boundary"] == "":
		return Entry{}, fmt.Errorf("%w: its type isn't multipart/form-data", errMalformed)
	case r.ContentLength < 0:
		return Entry{}, refuse(ResultMalformed, http.StatusLengthRequired, "say how long the log is")
	case r.ContentLength > maxBody:
		return Entry{}, fmt.Errorf("%w: %d bytes, %d are taken", errTooLarge, r.ContentLength, maxBody)
	}
	body := &watched{r: r.Body}
	entry := Entry{Address: from.String(), Certificate: who.Name, Role: string(who.Role), CertSerial: who.Serial}
	entry, err = s.config.Store.Add(time.Now(), entry, r.ContentLength+(MaxExtras+3)*diskBlock, func(e *Entry, create func(string, io.Reader) error) error {
		return decode(body, parameters["boundary"], &e.Report, create)
	})
	if err != nil && body.err != nil {
		err = refuse(ResultBroken, http.StatusBadRequest, "the log broke off half-way; nothing of it is kept: %w", body.err)
	}
	return entry, err
}

// watched remembers that reading failed for another reason than the end.
type watched struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// addressOf is where a request comes from; the zero Addr where nobody knows.
func addressOf(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap().WithZone("")
}

// begin takes a place among those under way.
func (s *Server) begin(now time.Time, from netip.Addr) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= underWay || s.busy[from] >= perAddress {
		no := refuse(ResultLimited, http.StatusServiceUnavailable, "others send their logs just now; try again in %d s", retrySeconds)
		no.retry = retrySeconds
		return no
	}
	if wait := s.limits.allow(now, from); wait > 0 {
		no := refuse(ResultLimited, http.StatusTooManyRequests, "%v has sent %d logs in a short time; the next one is taken in %v", from, burst, wait.Round(time.Second))
		no.retry = int((wait + time.Second - 1) / time.Second)
		return no
	}
	s.all++
	s.busy[from]++
	return nil
}

func (s *Server) end(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.busy[from]--; s.busy[from] == 0 {
		delete(s.busy, from)
	}
}
