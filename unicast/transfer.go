package unicast

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"wimcast/crypto"
)

// Why a transfer ends before its time. Its client sees a broken connection.
var (
	errSuperseded = errors.New("a newer request came with the same token")
	errReleased   = errors.New("the token was released")
	errRevoked    = errors.New("the token is no longer good")
	errSource     = errors.New("the content can't be read")
)

// request is a request that passed all checks but the slot's.
type request struct {
	digest   crypto.Hash
	pkg      string
	token    Token
	grant    Grant
	manifest bool
}

// transfer sends the body of one response. It stands between http.ServeContent,
// which knows ranges and conditions, and the connection.
type transfer struct {
	http.ResponseWriter

	server *Server
	req    request
	lease  *lease
	ctx    context.Context //nolint:containedctx // of the request, for the length of it
	cancel context.CancelCauseFunc
	head   bool
	failed bool // the status is an error's: the body is a problem, and written
	err    error

	mu    sync.Mutex // guards ended; taken by other goroutines to end this one
	ended bool
}

// transfer takes a slot and sends what was asked for.
func (s *Server) transfer(w http.ResponseWriter, r *http.Request, req request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	t := &transfer{ResponseWriter: w, server: s, req: req, ctx: ctx, cancel: cancel, head: r.Method == http.MethodHead}
	if !t.head { // a HEAD costs nothing
		if position, retry := s.begin(t); position > 0 {
			s.refuse(w, r, ResultQueued, problem{Type: typeQueued, Title: "all slots are taken", Status: http.StatusServiceUnavailable, Position: position, Detail: "listen to the group meanwhile and ask again as Retry-After says; the place in the queue is kept", retryAfter: retry})
			return
		}
		defer s.finish(t)
	}
	content, err := s.config.Contents.Open(req.digest)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer content.Close()
	var body io.ReadSeeker
	if req.manifest {
		body = bytes.NewReader(content.Manifest())
	} else {
		body = io.NewSectionReader(content, 0, content.Size())
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "private")
	h.Set("ETag", `"`+req.digest.String()+`"`)
	http.ServeContent(t, r, "", time.Time{}, body)
	s.count(t.result()) // where the body is short, net/http breaks the connection
}

// begin takes a slot for a transfer, and ends an older one of the same token:
// that is what remains of a connection that its client has given up.
func (s *Server) begin(t *transfer) (position int, retry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.lease, position, retry = s.slots.acquire(time.Now(), t.req.token, t.req.grant)
	if t.lease == nil {
		return position, retry
	}
	if older := s.running[t.req.token]; older != nil {
		older.end(errSuperseded)
	}
	s.running[t.req.token] = t
	return 0, 0
}

func (s *Server) finish(t *transfer) {
	t.mu.Lock()
	t.ended = true // from here on the connection may serve another request
	t.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[t.req.token] == t {
		delete(s.running, t.req.token)
	}
	s.slots.done(time.Now(), t.lease)
}

// end makes a transfer stop at once, also where it waits in a write.
func (t *transfer) end(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	t.cancel(cause)
	_ = http.NewResponseController(t.ResponseWriter).SetWriteDeadline(time.Now())
}

// extend gives the next write its deadline.
func (t *transfer) extend() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return context.Cause(t.ctx)
	}
	t.server.stall(t.ResponseWriter)
	return nil
}

// WriteHeader replaces error bodies of http.ServeContent by problems.
func (t *transfer) WriteHeader(status int) {
	if status < 400 {
		t.ResponseWriter.WriteHeader(status)
		return
	}
	t.failed = true
	p := problem{Type: typeInternal, Title: "the content can't be read", Status: status, Detail: "look into the server's log"}
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		p = problem{Type: typeRange, Title: "no such range", Status: status, Detail: "ask for bytes inside the content; its length stands in Content-Range"}
	case http.StatusPreconditionFailed:
		p = problem{Type: typePrecondition, Title: "the condition isn't met", Status: status, Detail: "the ETag is the digest; ask without a condition"}
	}
	p.write(t.ResponseWriter, !t.head)
}

// Write sends small things, such as the borders of several ranges.
func (t *transfer) Write(p []byte) (int, error) {
	if t.failed {
		return len(p), nil
	}
	n, err := t.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

// ReadFrom sends src in large chunks, each within the budget and under its own deadline,
// as long as the token is good.
func (t *transfer) ReadFrom(src io.Reader) (sent int64, err error) {
	if t.failed {
		return io.Copy(io.Discard, src)
	}
	chunk := t.server.chunks.Get().(*[]byte)
	defer t.server.chunks.Put(chunk)
	for t.err == nil {
		t.server.mu.Lock()
		size := t.server.budget.chunk()
		t.server.mu.Unlock()
		n, err := io.ReadFull(src, (*chunk)[:size])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case err != nil && !last:
			t.err = errors.Join(errSource, err)
		case n > 0:
			t.err = t.send((*chunk)[:n])
			if t.err == nil {
				sent += int64(n)
			}
		}
		if last {
			break
		}
	}
	return sent, t.err
}

// send sends one chunk.
func (t *transfer) send(p []byte) error {
	if grant, err := t.server.config.Grants.Grant(t.req.token); err != nil || grant.Digest != t.req.digest {
		return errRevoked
	}
	t.server.mu.Lock()
	wait := t.server.budget.take(time.Now(), len(p))
	t.server.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
	}
	if err := t.extend(); err != nil {
		return err
	}
	n, err := t.ResponseWriter.Write(p)
	t.server.mu.Lock()
	t.server.sent[t.req.pkg] += int64(n)
	if t.lease != nil {
		t.lease.sent += int64(n)
	}
	t.server.mu.Unlock()
	return err
}

// result says how a transfer went.
func (t *transfer) result() Result {
	cause := context.Cause(t.ctx)
	switch {
	case t.failed:
		return ResultRange
	case t.err == nil:
		return ResultSent
	case errors.Is(t.err, errRevoked), errors.Is(cause, errReleased):
		return ResultRevoked
	case errors.Is(cause, errSuperseded):
		return ResultSuperseded
	case errors.Is(t.err, errSource):
		return ResultFailed
	case errors.Is(t.err, os.ErrDeadlineExceeded):
		return ResultStalled
	}
	return ResultBroken
}
