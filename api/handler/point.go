package handler

import (
	"errors"
	"net/http"
)

func (s *server) ownPoint(*http.Request) (any, error) {
	if s.PointStatus == nil {
		return nil, &statusError{http.StatusConflict, errors.New("this daemon is no point of a site; next: at the site, wimcast point add NAME -o NAME.point, and here point.bundle")}
	}
	return s.PointStatus(), nil
}
