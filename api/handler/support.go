package handler

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/api/support"
	"wimcast/session"
)

// supportSince is how far back a support bundle goes unless told otherwise.
const supportSince = 24 * time.Hour

// Support is what cmd adds to a support bundle.
type Support struct {
	// Parts are those of the daemon that no route tells: its configuration, its log, its machine; nil: none.
	Parts func(api.SupportRequest) []support.Part
	// Secrets are values that mustn't be in a bundle, wherever somebody wrote them; nil: none are known.
	Secrets func() []string
}

// bundling lets one support bundle be made at a time: a few of its parts cost something.
type bundling struct{ sync.Mutex }

// supportBundle makes a support bundle out of what the other routes answer and what cmd knows.
func (s *server) supportBundle(r *http.Request) (any, error) {
	var q api.SupportRequest
	if err := read(r, &q); err != nil {
		return nil, err
	}
	if q.Since.IsZero() {
		q.Since = time.Now().Add(-supportSince)
	}
	if q.Session != "" {
		running, ended := s.Sessions.Sessions()
		known := slices.ContainsFunc(slices.Concat(running, ended), func(info session.SessionInfo) bool { return info.ID == q.Session })
		if !known && s.History != nil {
			_, err := s.History.Session(r.Context(), q.Session)
			known = err == nil
		}
		if !known {
			return nil, &statusError{http.StatusNotFound, fmt.Errorf("no session %.40q; list them: wimcast session list, wimcast history", q.Session)}
		}
	}
	s.did(r, "support bundle made", zap.Time("since", q.Since), zap.String("session", q.Session))
	return supportAnswer{s, q}, nil
}

// supportAnswer is a bundle that is made while it is written.
type supportAnswer struct {
	server *server
	q      api.SupportRequest
}

// write implements selfMade. What goes wrong on the way breaks the connection off.
func (a supportAnswer) write(w http.ResponseWriter, r *http.Request) {
	a.server.bundles.Lock()
	defer a.server.bundles.Unlock()
	var scrubber support.Scrubber
	if a.server.Support.Secrets != nil {
		for _, secret := range a.server.Support.Secrets() {
			scrubber.Know(secret)
		}
	}
	parts := a.server.ownParts(r, &a.q)
	if a.server.Support.Parts != nil {
		parts = append(parts, a.server.Support.Parts(a.q)...)
	}
	w.Header().Set("Content-Type", "application/x-tar")
	control := http.NewResponseController(w)
	// Parts take their time before the first byte goes out.
	_ = control.SetWriteDeadline(time.Now().Add(2 * time.Minute))
	_ = control.SetReadDeadline(time.Time{})
	if err := support.Stream(r.Context(), &patientWriter{w, control}, parts, &scrubber, time.Now()); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// ownParts are what routes answer, each under its name.
func (s *server) ownParts(r *http.Request, q *api.SupportRequest) []support.Part {
	since := url.Values{"since": {q.Since.UTC().Format(time.RFC3339)}, "limit": {fmt.Sprint(supportRecords)}}.Encode()
	sessions := s.listSessions
	if q.Session != "" {
		sessions = func(r *http.Request) (any, error) {
			all, err := s.listSessions(r)
			if err != nil {
				return nil, err
			}
			only := []api.Session{}
			for _, one := range all.([]api.Session) {
				if one.ID == q.Session {
					only = append(only, one)
				}
			}
			return only, nil
		}
	}
	parts := []support.Part{}
	for _, p := range []struct {
		name, about, query string
		handle             func(*http.Request) (any, error)
	}{
		{"status.json", "version, addresses, ceiling, free space", "", s.status},
		{"doctor.json", "what the doctor finds on the server", "", s.doctor},
		{"sessions.json", "running sessions and those that ended lately, with their clients", "", sessions},
		{"queue.json", "clients that wait for a place", "", s.queue},
		{"images.json", "packages with flags and state", "", s.listImages},
		{"deployments.json", "who may have which image, and when its casts start", "", s.listDeployments},
		{"point.json", "what this daemon has as a point of a site", "", s.ownPoint},
		{"points.json", "the points of this site", "", s.listPoints},
		{"fleet.json", "how the points are, as they say themselves", "", s.fleet},
		{"updates.json", "the catalogue of updates and overlays", "", s.listUpdates},
		{"schedules.json", "servicing: schedules and their runs", "", s.listSchedules},
		{"bundles.json", "certificates that were issued: names, serial numbers, ends; not the bundles", "", s.listBundles},
		{"pins.json", "rooms that want a PIN, and tries; not the PINs", "", s.listPINs},
		{"client-logs.json", "which logs machines sent of themselves; not the logs (wimcast client log)", "", s.listLogs},
		{"history/sessions.json", "recorded sessions", since, s.historySessions},
		{"history/clients.json", "recorded clients", since, s.historyClients},
		{"history/actions.json", "what operators did, with the ids of their requests", since, s.historyActions},
	} {
		parts = append(parts, support.JSON(p.name, p.about, func(ctx context.Context) (any, error) {
			ask := r.Clone(ctx)
			ask.Method, ask.Body, ask.URL = http.MethodGet, http.NoBody, &url.URL{RawQuery: p.query}
			return p.handle(ask)
		}))
	}
	if q.Session != "" {
		parts = append(parts, support.JSON("history/"+strings.Map(plain, q.Session)+".json", "the record of the session, with its clients and actions", func(ctx context.Context) (any, error) {
			h, err := s.history()
			if err != nil {
				return nil, err
			}
			return h.Session(ctx, q.Session)
		}))
	}
	return append(parts, support.Part{Name: "events.jsonl", About: "the latest events, as wimcast events shows them", Make: func(_ context.Context, w io.Writer) error {
		return s.Events.writeAll(w)
	}})
}

// supportRecords is how many records of each kind a support bundle has at most.
const supportRecords = 2000

// plain keeps of a name what a file may be called.
func plain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
		return r
	}
	return '_'
}
