// Package handler answers the admin API out of the daemon's parts. What goes over the
// socket is package api's; this one is apart from it so that the command line, which runs
// on Windows too, needs none of the daemon.
package handler

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/session"
)

// Config is what the API gives access to. All fields are required.
type Config struct {
	Library   *library.Library
	Sessions  *session.Server
	Authority *keyex.Authority // nil where an organisation's own PKI is used: bundles are then not ours to make
	Status    func() api.Status
	// Recheck ends control channels whose credentials aren't good any more.
	Recheck func() int
	// Servers are the addresses that bundles name unless told otherwise.
	Servers []string
	Log     *zap.Logger
}

// server holds what the handlers need.
type server struct {
	Config
}

// maxJSON bounds a request's JSON.
const maxJSON = 1 << 20

// New returns the API. Who may use it is decided by who may open the socket.
func New(cfg Config) http.Handler {
	s := &server{cfg}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET /v1/status":                s.status,
		"POST /v1/images":               s.addImage,
		"GET /v1/images":                s.listImages,
		"GET /v1/images/{ref}":          s.showImage,
		"PATCH /v1/images/{ref}":        s.changeImage,
		"DELETE /v1/images/{ref}":       s.removeImage,
		"POST /v1/images/{ref}/verify":  s.verifyImage,
		"GET /v1/sessions":              s.listSessions,
		"POST /v1/sessions/{id}/stop":   s.stopSession,
		"POST /v1/clients/{name}/evict": s.evict,
		"GET /v1/bundles":               s.listBundles,
		"POST /v1/bundles":              s.issueBundle,
		"DELETE /v1/bundles/{which}":    s.revokeBundle,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := handle(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	return mux
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
	}
	s.Log.Info("admin request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Type: kind, Title: http.StatusText(status), Status: status, Detail: err.Error()})
}

// read reads a request's JSON strictly.
func read(r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxJSON))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return bad("read request: %w", err)
	}
	return nil
}

func (s *server) status(*http.Request) (any, error) { return s.Status(), nil }

func (s *server) listSessions(*http.Request) (any, error) {
	running, ended := s.Sessions.Sessions()
	list := []api.Session{}
	for _, info := range slices.Concat(running, ended) {
		list = append(list, sessionOf(&info))
	}
	return list, nil
}

func sessionOf(info *session.SessionInfo) api.Session {
	out := api.Session{
		ID: info.ID, Package: info.Package, Digest: info.Digest.String(), Mode: info.Mode.String(), State: info.State.String(),
		Group: info.Group.String(), Started: info.Started, Ended: info.Ended, Reason: info.Reason, Size: info.ImageSize, Blocks: info.Blocks,
		Rate: info.Rate, Ceiling: info.Ceiling, RateReason: string(info.RateReason), GRTT: info.GRTT.Seconds(), Epoch: info.Epoch, Pass: info.Pass,
		Sent: api.Sent{
			SourcePackets: info.Sent.SourcePackets, ParityPackets: info.Sent.ParityPackets, ManifestPackets: info.Sent.ManifestPackets,
			ControlPackets: info.Sent.ControlPackets, Errors: info.Sent.Errors,
			Bytes: info.Sent.SourceBytes + info.Sent.ParityBytes + info.Sent.ManifestBytes + info.Sent.ControlBytes,
		},
		NACKs:   api.NACKs{Served: info.NACKs.Served, Merged: info.NACKs.Merged, Limited: info.NACKs.Limited},
		Clients: []api.Member{},
	}
	var progress []float64
	for i := range info.Clients {
		c := &info.Clients[i]
		if c.Number == info.Limiting {
			out.Limiting = c.Name
		}
		if c.State == session.ClientReceiving || c.State == session.ClientUnicast || c.State == session.ClientProven {
			progress = append(progress, c.Progress)
		}
		out.Clients = append(out.Clients, memberOf(c))
	}
	if len(progress) > 0 {
		slices.Sort(progress)
		out.Progress, out.Median, out.Most = progress[0], progress[len(progress)/2], progress[len(progress)-1]
	}
	return out
}

func memberOf(c *session.ClientInfo) api.Member {
	network := c.Lost
	if network > c.KernelDrops {
		network -= c.KernelDrops
	} else {
		network = 0
	}
	return api.Member{
		Number: c.Number, Name: c.Name, Address: c.Peer.Addr.String(), Certificate: c.Peer.Name, Role: c.Peer.Role, State: string(c.State),
		Reason: c.Reason, Joined: c.Joined, Ended: c.Ended, Progress: c.Progress, Rate: c.Rate, Loss: c.Loss, RTT: c.RTT.Seconds(),
		LostNetwork: network, LostBuffer: c.KernelDrops, LostDisk: c.DiskDrops, Rejected: c.Rejected, NACKs: c.NACKs, Muted: c.Muted,
		MulticastBytes: c.Multicast, UnicastBytes: c.Unicast, HeldBytes: c.Held,
	}
}

func (s *server) stopSession(r *http.Request) (any, error) {
	if err := s.Sessions.Stop(r.PathValue("id"), "stopped by the operator"); err != nil {
		return nil, &statusError{http.StatusConflict, err}
	}
	s.Log.Info("session stopped by the operator", zap.String("session", r.PathValue("id")))
	return struct{}{}, nil
}

// evict takes a client out of the sessions that it is in.
func (s *server) evict(r *http.Request) (any, error) {
	name, only := r.PathValue("name"), r.URL.Query().Get("session")
	running, _ := s.Sessions.Sessions()
	from := []string{}
	var errs []error
	for i := range running {
		if only != "" && running[i].ID != only {
			continue
		}
		for _, c := range running[i].Clients {
			if c.Name != name && fmt.Sprint(c.Number) != name {
				continue
			}
			if err := s.Sessions.Evict(running[i].ID, c.Number); err != nil {
				errs = append(errs, err)
				continue
			}
			from = append(from, running[i].ID)
		}
	}
	if len(from) == 0 {
		if err := errors.Join(errs...); err != nil {
			return nil, &statusError{http.StatusConflict, err}
		}
		return nil, &statusError{http.StatusNotFound, fmt.Errorf("no client %s in a running session; list them: wimcast session show", name)}
	}
	s.Log.Info("client evicted by the operator", zap.String("client", name), zap.Strings("sessions", from))
	return from, nil
}

func (s *server) authority() (*keyex.Authority, error) {
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
		list = append(list, api.Bundle{Name: i.Name, Role: string(i.Role), Serial: i.Serial, Expires: i.NotAfter, Revoked: !i.Revoked.IsZero()})
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
	servers := request.Servers
	if len(servers) == 0 {
		servers = s.Servers
	}
	bundle, err := a.Issue(keyex.Request{
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
	s.Log.Info("bundle issued", zap.String("name", identity.Name), zap.String("role", string(identity.Role)), zap.String("serial", identity.Serial))
	return api.BundleIssued{
		Bundle: api.Bundle{Name: identity.Name, Role: string(identity.Role), Serial: identity.Serial, Expires: identity.NotAfter},
		Text:   string(text),
	}, nil
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
		out.Evicted = append(out.Evicted, s.evictHolders(credential.Serial)...)
	}
	s.Recheck()
	s.Log.Info("bundle revoked", zap.String("which", which), zap.Int("credentials", out.Credentials), zap.Strings("evicted", out.Evicted))
	return out, nil
}

// evictHolders takes everybody who holds a credential out of the running sessions.
func (s *server) evictHolders(serial string) []string {
	var evicted []string
	running, _ := s.Sessions.Sessions()
	for i := range running {
		for _, c := range running[i].Clients {
			if c.Peer.Serial != serial || !c.Ended.IsZero() {
				continue
			}
			// One that ended meanwhile has nothing to lose.
			if s.Sessions.Evict(running[i].ID, c.Number) == nil {
				evicted = append(evicted, c.Name)
			}
		}
	}
	return evicted
}
