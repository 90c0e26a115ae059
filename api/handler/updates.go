package handler

import (
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library/servicing"
)

// servicingStatus gives errors of servicing their HTTP status; 0 for all others.
func servicingStatus(err error) int {
	switch {
	case errors.Is(err, servicing.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, servicing.ErrInUse), errors.Is(err, servicing.ErrEnded), errors.Is(err, servicing.ErrNotYours):
		return http.StatusConflict
	}
	return 0
}

func updateOf(u *servicing.Update) api.Update {
	out := api.Update{
		Reference: u.Reference(), ID: u.ID, Kind: string(u.Kind), Title: u.Title, Architecture: u.Architecture, Build: u.BuildText(),
		Editions: u.Editions, Languages: u.Languages, SupersededBy: u.SupersededBy, Requires: u.Requires,
		File: u.File, SHA256: u.SHA256, Size: u.Size, Added: u.Added, Read: u.Read, Told: u.Told,
	}
	if i := u.Identity; i != nil {
		out.Identity = &api.UpdateIdentity{Name: i.Name, Version: i.Version, Architecture: i.Architecture, PublicKeyToken: i.PublicKeyToken, Language: i.Language}
	}
	return out
}

func (s *server) addUpdate(r *http.Request) (any, error) {
	q := r.URL.Query()
	u, alreadyThere, err := s.Updates.Add(r.Context(), r.Body, q.Get("file"), max(r.ContentLength, 0), q.Get("overlay") == "true", servicing.Description{
		ID: q.Get("id"), Title: q.Get("title"), Architecture: q.Get("architecture"), Build: q.Get("build"),
		Editions: q["edition"], Languages: q["language"], SupersededBy: q["superseded_by"], Requires: q["requires"],
	})
	if err != nil {
		return nil, err
	}
	s.did(r, "update added", zap.String("kind", string(u.Kind)), zap.String("update", u.Reference()), zap.Int64("bytes", u.Size), zap.String("sha256", u.SHA256))
	out := updateOf(&u)
	out.AlreadyThere = alreadyThere
	return out, nil
}

func (s *server) listUpdates(*http.Request) (any, error) {
	list := []api.Update{}
	for _, u := range s.Updates.List() {
		list = append(list, updateOf(&u))
	}
	return list, nil
}

func (s *server) showUpdate(r *http.Request) (any, error) {
	u, err := s.Updates.Get(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return updateOf(&u), nil
}

func (s *server) removeUpdate(r *http.Request) (any, error) {
	u, err := s.Servicing.RemoveUpdate(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	s.did(r, "update removed", zap.String("kind", string(u.Kind)), zap.String("update", u.Reference()))
	return struct{}{}, nil
}

func (s *server) imageUpdates(r *http.Request) (any, error) {
	index := 0
	if text := r.URL.Query().Get("index"); text != "" {
		var err error
		if index, err = strconv.Atoi(text); err != nil || index < 0 {
			return nil, bad("index %.40q: want the number of an image in the package", text)
		}
	}
	image, facts, judged, err := s.Servicing.Judge(r.Context(), r.PathValue("ref"), index)
	if err != nil {
		return nil, err
	}
	out := []api.ImageUpdates{}
	for _, f := range facts {
		one := api.ImageUpdates{
			Package: image.Reference, Index: f.Index, Architecture: f.Architecture, Build: int64(f.Build), Edition: f.Edition, Languages: f.Languages,
			Installed: []api.InstalledPackage{}, Applied: []api.AppliedUpdate{}, Updates: []api.JudgedUpdate{},
		}
		for i := range image.Images {
			if image.Images[i].Index == f.Index {
				one.Name = image.Images[i].Name
			}
		}
		for _, p := range f.Installed {
			one.Installed = append(one.Installed, api.InstalledPackage{ID: p.ID, Name: p.Name, Version: p.Version})
		}
		for _, a := range f.Applied {
			one.Applied = append(one.Applied, api.AppliedUpdate{ID: a.ID, Executor: a.Executor, Date: a.Date})
		}
		for _, j := range judged {
			if j.Index == f.Index {
				one.Updates = append(one.Updates, api.JudgedUpdate{Update: j.Update.Reference(), Title: j.Update.Title, Verdict: string(j.Verdict), Text: j.Text})
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (s *server) rollback(r *http.Request) (any, error) {
	var request api.RollbackRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	from, to, err := s.Library.Rollback(r.PathValue("ref"), request.Version)
	if err != nil {
		return nil, err
	}
	s.pokeFleet()
	s.did(r, "image rolled back", zap.String("from", from.Reference()), zap.String("package", to.Reference()))
	return api.RolledBack{From: from.Reference(), To: to.Reference()}, nil
}
