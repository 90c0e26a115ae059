package handler

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/api/history"
)

// record keeps what an operator did, or was refused.
func (s *server) record(r *http.Request, a api.HistoryAction, err error) {
	if s.History == nil {
		return
	}
	who, _ := api.CallerOf(r.Context())
	a.Who, a.Request = who.String(), requestOf(r).id
	if err != nil {
		a.Error = err.Error()
	}
	s.History.Action(a)
}

func (s *server) history() (*history.Store, error) {
	if s.History == nil {
		return nil, &statusError{http.StatusConflict, errors.New("this distribution point keeps no history: [history] record is false in its config, or its log says why the file can't be opened")}
	}
	return s.History, nil
}

// found gives what isn't in the record its status.
func found(answer any, err error) (any, error) {
	if errors.Is(err, history.ErrNotFound) {
		return nil, &statusError{http.StatusNotFound, err}
	}
	return answer, err
}

// historyQuery reads the parameters of a question to the record.
func historyQuery(v url.Values) (q api.HistoryQuery, err error) {
	q.Clients, q.Bundle, q.Package, q.State = v["client"], v.Get("bundle"), v.Get("package"), v.Get("state")
	if len(q.Clients) > api.HistoryNames {
		return q, bad("client: %d of them; at most %d", len(q.Clients), api.HistoryNames)
	}
	for key, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := v.Get(key); text != "" {
			if *to, err = time.Parse(time.RFC3339, text); err != nil {
				return q, bad("%s: %q is not a time such as 2026-11-23T14:00:00Z", key, text)
			}
		}
	}
	if text := v.Get("changes"); text != "" {
		if q.Changes, err = strconv.ParseBool(text); err != nil {
			return q, bad("changes: %q is neither true nor false", text)
		}
	}
	if text := v.Get("before"); text != "" {
		if q.Before, err = strconv.ParseInt(text, 10, 64); err != nil || q.Before < 1 {
			return q, bad("before: %q is not an id", text)
		}
	}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > api.HistoryMost {
			return q, bad("limit: %q is not a number from 1 to %d", text, api.HistoryMost)
		}
	}
	return q, nil
}

func (s *server) historySessions(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	q, err := historyQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return h.Sessions(r.Context(), q)
}

func (s *server) historySession(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	return found(h.Session(r.Context(), r.PathValue("id")))
}

func (s *server) historyClients(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	q, err := historyQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return h.Clients(r.Context(), q)
}

func (s *server) historyActions(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	q, err := historyQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if q.Package != "" { // it may have had another name
		if p, err := s.Library.Get(q.Package); err == nil {
			q.Digest = p.Digest.String()
		}
	}
	return h.Actions(r.Context(), q)
}

// historyProof says which machines have an image: that of a package of the library, else
// what was last cast under the name.
func (s *server) historyProof(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	q, err := historyQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if len(q.Clients) == 0 && q.Bundle == "" {
		return nil, bad("name the machines: client=NAME (also with * and ?), or bundle=NAME")
	}
	var digest, name string
	if p, err := s.Library.Get(r.PathValue("ref")); err == nil {
		digest, name = p.Digest.String(), p.Reference()
	} else if digest, name, err = h.Resolve(r.Context(), r.PathValue("ref")); err != nil {
		return found(nil, err)
	}
	proof, err := h.Proof(r.Context(), digest, q)
	proof.Package = name
	return proof, err
}

func (s *server) forget(r *http.Request) (any, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	dryRun := false
	if text := r.URL.Query().Get("dry_run"); text != "" {
		if dryRun, err = strconv.ParseBool(text); err != nil {
			return nil, bad("dry_run: %q is neither true nor false", text)
		}
	}
	gone, err := h.Forget(r.Context(), r.PathValue("name"), dryRun)
	if err == nil && !dryRun { // without the name: who is forgotten isn't to be found here either
		s.did(r, "records of a client removed", zap.Int("records", gone.Records))
	}
	return gone, err
}
