// Package handler answers the admin API out of the daemon's parts: on the unix socket to
// whoever can open it, over HTTPS to holders of certificates of role operator, viewer, worker or point.
// What goes over the wire is package api's; this one is apart from it so that the command
// line, which runs on Windows too, needs none of the daemon.
//
// The API is one table (routes.go); api/openapi.json describes it, and a test holds both
// and what is really answered against each other.
package handler

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/api/history"
	"wimcast/api/live"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
	"wimcast/crypto/pin"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/library/fleet"
	"wimcast/library/servicing"
	"wimcast/session"
	"wimcast/unicast/clientlog"
)

// Config is what the API gives access to. All fields are required that don't say otherwise.
type Config struct {
	Library     *library.Library
	Deployments *deployment.Store
	Sessions    *session.Server
	Authority   *keyex.Authority // nil where an organisation's own PKI is used: bundles are then not ours to make
	// Trust judges those who come over HTTPS, again at each request.
	Trust  *keyex.Trust
	Events *Events
	// Live has the streams of sessions.
	Live *live.Book
	// History is where actions are recorded, and what is asked for the record; nil
	// where none is kept.
	History *history.Store
	Status  func() api.Status
	// Doctor looks at the daemon and its machine.
	Doctor func(context.Context) api.Doctor
	// Updates is the catalogue of updates and overlays, Servicing what applies them; nil where no route of theirs is asked.
	Updates   *servicing.Catalogue
	Servicing *servicing.Service
	// Support is what cmd adds to support bundles.
	Support Support
	// Prestage carries packages to points in files.
	Prestage Prestage
	// PINs opens rooms. Required.
	PINs *pin.Book
	// Logs are what machines sent of themselves; nil where they can't be kept.
	Logs *clientlog.Store
	// Reports are what points say of themselves; nil where there are none.
	Reports *reports.Book
	// MayBeMulticastOnly refuses a package that the configuration lets use unicast, by a rule of its own; may be nil.
	MayBeMulticastOnly func(name, version string) error
	// CheckRules refuses a deployment whose rules contradict themselves, the configuration, or the package; may be nil.
	CheckRules func(deployment.Deployment, library.Package) error
	// Added is called when a package was added; may be nil.
	Added func()
	// Deployed is called when deployments have changed; may be nil.
	Deployed func()
	// Recheck ends control channels whose credentials aren't good any more.
	Recheck func() int
	// Servers are the addresses that bundles name unless told otherwise: of the control
	// channel, and of this API over HTTPS for those who administer.
	Servers, AdminServers []string
	// PointStatus is what this daemon has and does as a point; nil where it is none.
	PointStatus func() api.OwnPoint
	// Points is the table of points that bundles of those who join bear unless told otherwise; nil: there is none.
	Points func() []keyex.PointAt
	// Point is the name that this daemon has as a point of a site; "" where it isn't one. A point has no authority: bundles are the
	// site's to make.
	Point string
	Log   *zap.Logger
	// ErrorLog takes what net/http says of connections; nil for the log of the program.
	ErrorLog *log.Logger
	// Site are the points that this daemon is the site of; nil where it has no registry.
	Site *fleet.Site
	// PageLink makes a link to the web page; nil where it is off.
	PageLink func(by api.Caller) (api.PageLink, error)
	// PointAdmin are the addresses of this API over HTTPS that points are given; none where it isn't served so.
	PointAdmin []string
}

// server holds what the handlers need.
type server struct {
	Config
	bundles bundling
	edits   sync.Mutex // of packages and deployments: what one is held against mustn't change before it is stored
}

// API is the admin API. Safe for concurrent use.
type API struct {
	server  *server
	mux     *http.ServeMux
	foreign *http.CrossOriginProtection
}

var _ http.Handler = (*API)(nil)

// New returns the API. It starts nothing.
func New(cfg Config) *API {
	a := &API{server: &server{Config: cfg}, mux: http.NewServeMux(), foreign: http.NewCrossOriginProtection()}
	for _, r := range routes() {
		a.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, request *http.Request) { a.server.serve(r, w, request) })
	}
	return a
}

// Bounds of a connection.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
)

// Serve answers what comes in on l until ctx ends, then closes l and cuts off whoever is
// still there. Without a TLS configuration l is a unix socket, and who can open it is
// an operator; with one, keyex.ServerTLS made it.
func (a *API) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	s := &http.Server{
		Handler: a, TLSConfig: secure, ErrorLog: a.server.ErrorLog,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	if secure == nil {
		s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return api.WithCaller(ctx, socketCaller(c)) }
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var err error
	if secure == nil {
		err = s.Serve(l)
	} else {
		err = s.ServeTLS(l, "", "")
	}
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the admin API: %w", err)
}

// ServeHTTP implements http.Handler. A request that came neither over the socket of
// Serve nor with a certificate is refused.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	r = begun(w, r)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(readStall + writeStall)) // until the route knows better
	who, err := a.caller(r)
	if err != nil {
		w.Header().Set("Connection", "close")
		a.server.fail(w, r, &statusError{http.StatusForbidden, err})
		return
	}
	r = r.WithContext(api.WithCaller(r.Context(), who))
	// A page of somebody else's mustn't act with a certificate that a browser holds.
	if err := a.foreign.Check(r); err != nil {
		a.server.fail(w, r, &statusError{http.StatusForbidden, fmt.Errorf("request from a web page elsewhere: %w", err)})
		return
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.unknown(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// unknown says what is wrong with a request that no route fits.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, to := range routes() {
		probe := r.Clone(r.Context())
		probe.Method = to.method
		if _, pattern := a.mux.Handler(probe); pattern == to.method+" "+to.path && !slices.Contains(allowed, to.method) {
			allowed = append(allowed, to.method)
		}
	}
	if len(allowed) == 0 {
		a.server.fail(w, r, &statusError{http.StatusNotFound, errors.New("no such path; GET /v1/openapi.json lists what there is")})
		return
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	a.server.fail(w, r, &statusError{http.StatusMethodNotAllowed, fmt.Errorf("%s isn't for this path, only %s", r.Method, strings.Join(allowed, ", "))})
}

// caller finds out who made a request. A certificate is judged at each request, as a
// connection may outlive it.
func (a *API) caller(r *http.Request) (api.Caller, error) {
	if r.TLS == nil {
		if who, ok := api.CallerOf(r.Context()); ok {
			return who, nil
		}
		return api.Caller{UID: -1}, errors.New("request came neither over the admin socket nor with a certificate")
	}
	holder, err := a.server.Trust.Judge(r.TLS, AdminRoles()...)
	if err != nil {
		return api.Caller{UID: -1}, err
	}
	if holder.Marks.PIN { // an organisation's: ours are for machines alone
		return api.Caller{UID: -1}, errors.New("this certificate wants a PIN, and none can be shown here; next: issue one without the name wimcast:pin")
	}
	return api.Caller{Name: holder.Name, Role: string(holder.Role), Serial: holder.Serial, Address: r.RemoteAddr, UID: -1}, nil
}

// AdminRoles are the roles that the API admits over HTTPS.
func AdminRoles() []keyex.Role {
	return []keyex.Role{keyex.Operator, keyex.Viewer, keyex.Worker, keyex.Point}
}

func (s *server) status(*http.Request) (any, error) { return s.Status(), nil }

func (s *server) doctor(r *http.Request) (any, error) { return s.Doctor(r.Context()), nil }

func (s *server) document(*http.Request) (any, error) {
	return text{"application/json", api.OpenAPI()}, nil
}
