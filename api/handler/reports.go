package handler

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"wimcast/api"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
)

// errNoPoints is the answer where the daemon distributes to nobody.
func errNoPoints() error {
	return &statusError{http.StatusConflict, errors.New("this daemon has no points: it is no site; next: set registry.repository in its configuration")}
}

// reportPoint takes what a point says of itself, in its own name alone.
func (s *server) reportPoint(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if who, _ := api.CallerOf(r.Context()); who.Name != name || who.Role != string(keyex.Point) {
		return nil, &statusError{http.StatusForbidden, fmt.Errorf("status of point %.80q: this certificate is that of %.80q, and a point speaks for itself alone", name, who.Name)}
	}
	if s.Reports == nil {
		return nil, errNoPoints()
	}
	var status api.PointStatus
	if err := readNewer(r, &status); err != nil {
		return nil, err
	}
	if err := s.Reports.Put(name, status); errors.Is(err, reports.ErrUnknown) {
		return nil, &statusError{http.StatusNotFound, err}
	} else if err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// fleet shows every point.
func (s *server) fleet(*http.Request) (any, error) {
	if s.Reports == nil {
		return nil, errNoPoints()
	}
	return s.Reports.View(), nil
}

// PackageAtPoint puts in that a revision of a package came into service at a point, or failed there; text is for people.
func (e *Events) PackageAtPoint(kind api.EventKind, point, pkg, text string) {
	e.ring.put(api.Event{Kind: kind, Time: time.Now(), Point: point, Package: pkg, Text: text})
}
