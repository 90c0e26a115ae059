package handler

import (
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// renewPoint gives a point new credentials before those that it has end, in its own name alone.
func (s *server) renewPoint(r *http.Request) (any, error) {
	name := r.PathValue("name")
	who, _ := api.CallerOf(r.Context())
	if who.Name != name || who.Role != string(keyex.Point) {
		return nil, &statusError{http.StatusForbidden, fmt.Errorf("credentials of point %.80q: this certificate is that of %.80q, and a point renews its own alone", name, who.Name)}
	}
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	authority, err := s.authority()
	if err != nil {
		return nil, err
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	if _, err := site.Point(name); err != nil {
		return nil, err
	}
	p, err := authority.RenewPoint(who.Serial, s.AdminServers)
	switch {
	case errors.Is(err, keyex.ErrTooEarly):
		return nil, &statusError{http.StatusConflict, err}
	case errors.Is(err, keyex.ErrUnknownCredential):
		return nil, &statusError{http.StatusNotFound, err}
	case err != nil:
		return nil, err
	}
	bundle, err := p.Client.Marshal()
	if err != nil {
		return nil, err
	}
	s.did(r, "a point's credentials were renewed", zap.String("point", name), zap.Time("until", p.Client.Identity().NotAfter))
	return api.PointRenewed{Expires: p.Client.Identity().NotAfter, Server: string(p.Server), Bundle: string(bundle)}, nil
}
