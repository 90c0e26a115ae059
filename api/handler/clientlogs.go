package handler

import (
	"errors"
	"net/http"
	"path"
	"strings"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/unicast/clientlog"
)

func (s *server) logs() (*clientlog.Store, error) {
	if s.Logs == nil {
		return nil, &statusError{http.StatusConflict, errors.New("no logs of clients are kept here: their directory couldn't be opened; the daemon's log says why")}
	}
	return s.Logs, nil
}

func (s *server) listLogs(r *http.Request) (any, error) {
	store, err := s.logs()
	if err != nil {
		return nil, err
	}
	client := flat(r.URL.Query().Get("client"))
	if _, err := path.Match(client, ""); err != nil {
		return nil, bad("client %q: %w", client, err)
	}
	list := []api.ClientLog{}
	for _, e := range store.List() {
		if fits, _ := path.Match(client, flat(e.Report.Machine)); client != "" && !fits && client != flat(e.ID) {
			continue
		}
		out := api.ClientLog{
			ID: e.ID, Received: e.Received, Address: e.Address, Certificate: e.Certificate, Role: e.Role, Serial: e.CertSerial,
			Machine: api.ClientMachine{Name: e.Report.Machine, UUID: e.Report.UUID, Serial: e.Report.Serial, MACs: e.Report.MACs},
			Version: e.Report.Version, System: e.Report.System, Package: e.Report.Package, ExitCode: e.Report.ExitCode, Error: e.Report.Error,
			Files: []api.ClientLogFile{},
		}
		for _, f := range e.Files {
			out.Files = append(out.Files, api.ClientLogFile{Name: f.Name, Size: f.Size})
		}
		list = append(list, out)
	}
	return list, nil
}

// flat is a name as it is compared: in any case, and without the slashes that * and ? would stop at.
func flat(name string) string { return strings.ReplaceAll(strings.ToLower(name), "/", "\x00") }

func (s *server) logFile(r *http.Request) (any, error) {
	store, err := s.logs()
	if err != nil {
		return nil, err
	}
	content, err := store.File(r.PathValue("id"), r.PathValue("file"))
	if err != nil {
		return nil, noLog(err)
	}
	return text{"application/octet-stream", content}, nil
}

func (s *server) removeLog(r *http.Request) (any, error) {
	store, err := s.logs()
	if err != nil {
		return nil, err
	}
	if err := store.Remove(r.PathValue("id")); err != nil {
		return nil, noLog(err)
	}
	s.did(r, "client log removed", zap.String("log", r.PathValue("id")))
	return struct{}{}, nil
}

func noLog(err error) error {
	if errors.Is(err, clientlog.ErrUnknown) {
		return &statusError{http.StatusNotFound, err}
	}
	return err
}
