package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library"
)

// maxJSON bounds a request's JSON, in bytes.
const maxJSON = 1 << 20

// Who doesn't send or take anything for so long is cut off.
const (
	readStall  = time.Minute
	writeStall = 30 * time.Second
)

// selfMade is an answer that isn't JSON: it writes itself.
type selfMade interface {
	write(w http.ResponseWriter, r *http.Request)
}

// text is an answer that is there as it goes out.
type text struct {
	mediaType string
	body      []byte
}

func (t text) write(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", t.mediaType)
	_, _ = w.Write(t.body)
}

// serve answers one request to a route: who may, what happens, and a line in the log
// for whatever changes or fails.
func (s *server) serve(to route, w http.ResponseWriter, r *http.Request) {
	who, _ := api.CallerOf(r.Context())
	if err := may(to, keyex.Role(who.Role)); err != nil {
		s.fail(w, r, &statusError{http.StatusForbidden, err})
		return
	}
	control := http.NewResponseController(w)
	r.Body = &patientBody{ReadCloser: r.Body, control: control}
	answer, err := to.handle(s, r)
	// What the handler left of the body is read by net/http before it answers; not for ever.
	_ = control.SetReadDeadline(time.Now().Add(readStall))
	_ = control.SetWriteDeadline(time.Now().Add(readStall + writeStall))
	if err != nil {
		s.refuse(w, r, err, control)
		return
	}
	if to.role == keyex.Operator && !requestOf(r).logged {
		s.did(r, "admin request", zap.String("method", r.Method), zap.String("path", r.URL.Path))
	}
	if own, ok := answer.(selfMade); ok {
		own.write(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// Of a body that was refused so much is still taken, while the sender reads why.
const (
	smallBody  = 256 << 10 // net/http reads what is left of these by itself
	lingerTime = 2 * time.Second
)

// refuse answers with a problem. Whoever is still sending a large body is given time to read the answer: a connection that is closed at once
// breaks in the sender's hands, and the answer is lost with it (RFC 9112, section 9.6). net/http waits so too, but not for those who
// asked with "Expect: 100-continue".
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error, control *http.ResponseController) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		s.fail(w, r, err)
		return
	}
	body := r.Body.(*patientBody)
	asked := body.ReadCloser
	if !body.read { // it waits for the word to send, which it isn't given
		s.fail(w, r, err)
		return
	}
	_ = control.EnableFullDuplex()
	w.Header().Set("Connection", "close")
	s.fail(w, r, err)
	if control.Flush() != nil {
		return
	}
	_ = control.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, asked)
}

// patientBody is a request's body that may take long as a whole, but must go on.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	read    bool // somebody began to
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	b.read = true
	_ = b.control.SetReadDeadline(time.Now().Add(readStall))
	n, err := b.ReadCloser.Read(p)
	// Between two reads, and while the request is answered, the time is ours.
	_ = b.control.SetReadDeadline(time.Time{})
	return n, err
}

// statusError gives an error its HTTP status.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func bad(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// fail answers with a problem.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind, status := api.TypeOther, http.StatusUnprocessableEntity
	if e, ok := errors.AsType[*statusError](err); ok {
		status = e.status
	} else if errors.Is(err, library.ErrNotFound) {
		status = http.StatusNotFound
	} else if _, ok := errors.AsType[*library.DamagedError](err); ok {
		kind = api.TypeDamaged
	} else if known := servicingStatus(err); known != 0 {
		status = known
	} else if known := fleetStatus(err); known != 0 {
		status = known
	}
	level := zapcore.InfoLevel
	if status == http.StatusForbidden || status >= http.StatusInternalServerError {
		level = zapcore.WarnLevel
	}
	s.log(r, level, "admin request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Int("status", status), zap.Error(err))
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Type: kind, Title: http.StatusText(status), Status: status, Detail: err.Error()})
}

// read reads a request's JSON strictly.
func read(r *http.Request, into any) error { return decode(r, into, true) }

// readNewer reads the JSON of another daemon, which may be newer than this one and say more.
func readNewer(r *http.Request, into any) error { return decode(r, into, false) }

func decode(r *http.Request, into any, strict bool) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxJSON))
	if strict {
		decoder.DisallowUnknownFields()
	}
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &statusError{http.StatusRequestEntityTooLarge, fmt.Errorf("read request: more than %d bytes of JSON", maxJSON)}
	}
	if err != nil {
		return bad("read request: %w", err)
	}
	return nil
}
