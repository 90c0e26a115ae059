package handler

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"wimcast/api/live"
)

// watching is the answer to one who watches a session.
type watching struct {
	viewer *live.Viewer
	good   func() error // whether they still may
}

// live opens the stream of a session.
func (s *server) live(r *http.Request) (any, error) {
	viewer, err := s.Live.Open(r.PathValue("id"))
	switch {
	case errors.Is(err, live.ErrUnknown):
		return nil, &statusError{http.StatusNotFound, err}
	case errors.Is(err, live.ErrFull):
		return nil, &statusError{http.StatusServiceUnavailable, err}
	case err != nil:
		return nil, err
	}
	return &watching{viewer, s.still(r)}, nil
}

// still returns what tells whether whoever made a request may still read the answer.
func (s *server) still(r *http.Request) func() error {
	if r.TLS == nil {
		return func() error { return nil }
	}
	return func() error {
		_, err := s.Trust.Judge(r.TLS, AdminRoles()...)
		return err
	}
}

// write implements selfMade: it goes on until the session has ended, or the reader goes, takes nothing, or mayn't any more.
func (s *watching) write(w http.ResponseWriter, r *http.Request) {
	defer s.viewer.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // nothing more is to be read; the reader's going shows all the same
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	out, last := fmt.Appendf(nil, "retry: %d\n\n", retryAfter.Milliseconds()), false
	for {
		if len(out) > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(writeStall))
			if _, err := w.Write(out); err != nil || control.Flush() != nil {
				return
			}
		}
		if r.Method == http.MethodHead || last {
			return
		}
		out = out[:0]
		frame, more := s.viewer.Next()
		if frame.Data != nil {
			out = append(out, "event: "+frame.Kind+"\ndata: "...)
			out = append(append(out, frame.Data...), "\n\n"...)
			last = frame.Last
			continue
		}
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			if s.good() != nil {
				return
			}
			out = append(out, ": here\n\n"...)
		case <-more:
		}
	}
}
