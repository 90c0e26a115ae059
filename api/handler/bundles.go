package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/session"
)

func (s *server) authority() (*keyex.Authority, error) {
	if s.Authority == nil && s.Point != "" {
		return nil, &statusError{http.StatusConflict, fmt.Errorf("this is point %s, and bundles are made and revoked at its site; next: there, wimcast bundle create", s.Point)}
	}
	if s.Authority == nil {
		return nil, &statusError{http.StatusConflict, errors.New("this distribution point uses your organisation's PKI ([pki] in its config): issue and revoke certificates there")}
	}
	return s.Authority, nil
}

func (s *server) listBundles(*http.Request) (any, error) {
	a, err := s.authority()
	if err != nil {
		return nil, err
	}
	list := []api.Bundle{}
	for _, i := range a.Issued() {
		list = append(list, api.Bundle{Name: i.Name, Role: string(i.Role), Serial: i.Serial, Expires: i.NotAfter, Revoked: !i.Revoked.IsZero(), PIN: i.PIN, Alone: i.Alone})
	}
	return list, nil
}

func (s *server) issueBundle(r *http.Request) (any, error) {
	a, err := s.authority()
	if err != nil {
		return nil, err
	}
	var request api.BundleRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if keyex.Role(request.Role) == keyex.Point {
		return nil, bad("role point: a point is given a file with all that it needs; next: wimcast point add %q", request.Name)
	}
	servers := request.Servers
	if len(servers) == 0 {
		if servers = s.Servers; slices.Contains(AdminRoles(), keyex.Role(request.Role)) {
			servers = s.AdminServers
		}
	}
	marks := keyex.Marks{PIN: request.PIN, Alone: request.Alone}
	if request.UUID != "" {
		if marks.Machine, err = keyex.ParseUUID(request.UUID); err != nil || !request.Alone {
			return nil, bad("uuid: %w", errors.Join(err, onlyAlone(request.Alone)))
		}
	}
	points, err := s.table(&request)
	if err != nil {
		return nil, bad("%w", err)
	}
	bundle, err := a.Issue(keyex.Request{
		Marks: marks, Points: points,
		Name: request.Name, Role: keyex.Role(request.Role), Lifetime: time.Duration(request.Lifetime * float64(time.Second)), Servers: servers,
	})
	if err != nil {
		return nil, bad("%w", err)
	}
	text, err := bundle.Marshal()
	if err != nil {
		return nil, err
	}
	identity := bundle.Identity()
	s.did(r, "bundle issued", zap.String("name", identity.Name), zap.String("role", string(identity.Role)), zap.String("serial", identity.Serial))
	return api.BundleIssued{
		Bundle: api.Bundle{Name: identity.Name, Role: string(identity.Role), Serial: identity.Serial, Expires: identity.NotAfter, PIN: identity.Marks.PIN, Alone: identity.Marks.Alone},
		Text:   string(text),
	}, nil
}

// table is the table of points that a bundle gets: the one that was asked for, else what the site knows.
func (s *server) table(request *api.BundleRequest) ([]keyex.PointAt, error) {
	if len(request.Points) == 0 {
		if s.Points == nil || !slices.Contains([]keyex.Role{keyex.WinPE, keyex.Client, keyex.Operator}, keyex.Role(request.Role)) {
			return nil, nil
		}
		return s.Points(), nil
	}
	var out []keyex.PointAt
	for _, p := range request.Points {
		row, err := keyex.ParsePointAt(p.Prefix + " " + p.Server)
		if err != nil {
			return nil, fmt.Errorf("points: %w", err)
		}
		out = append(out, row)
	}
	return out, nil
}

func onlyAlone(alone bool) error {
	if alone {
		return nil
	}
	return errors.New("a bundle for one UUID is one machine's: ask for machine too")
}

func (s *server) revokeBundle(r *http.Request) (any, error) {
	a, err := s.authority()
	if err != nil {
		return nil, err
	}
	which := strings.TrimSpace(r.PathValue("which"))
	revoked, err := a.Revoke(which)
	if err != nil {
		if errors.Is(err, keyex.ErrUnknownCredential) {
			err = &statusError{http.StatusNotFound, err}
		}
		return nil, err
	}
	out := api.BundleRevoked{Credentials: len(revoked), Evicted: []string{}}
	for _, credential := range revoked {
		out.Evicted = append(out.Evicted, s.evictHolders(r, credential.Serial)...)
	}
	s.Recheck()
	s.pokeFleet() // points are told
	s.did(r, "bundle revoked", zap.String("which", which), zap.Int("credentials", out.Credentials), zap.Strings("evicted", out.Evicted))
	return out, nil
}

// evictHolders takes everybody who holds a credential out of the running sessions.
func (s *server) evictHolders(r *http.Request, serial string) []string {
	var evicted []string
	for _, gone := range s.Sessions.EvictAll(func(c *session.ClientInfo) bool { return c.Peer.Serial == serial }) {
		s.record(r, api.HistoryAction{Action: "evict", Session: gone.Session, Client: gone.Name, Detail: "its bundle was revoked"}, nil)
		evicted = append(evicted, gone.Name)
	}
	return evicted
}
