package handler

import (
	"encoding/hex"
	"net/http"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
)

func imageOf(p *library.Package) api.Image {
	out := api.Image{
		Name: p.Name, Version: p.Version, Comment: p.Comment, Digest: p.Digest.String(), SHA256: hex.EncodeToString(p.SHA256[:]),
		Size: p.Size, Added: p.Added, AllowMulticast: p.Flags.AllowMulticast, Encrypt: p.Flags.Encrypt, MulticastOnly: p.Flags.MulticastOnly,
		OutOfService: p.OutOfService, IntegrityChecked: p.IntegrityChecked, Compression: string(p.Compression), Pipable: p.Pipable, Solid: p.Solid,
		Images: []api.ImageInfo{},
	}
	for i := range p.Images {
		w := &p.Images[i]
		info := api.ImageInfo{
			Index: w.Index, Name: w.Name, Description: w.Description, Edition: w.Edition(), Version: w.Version.String(),
			Languages: w.Languages, TotalBytes: int64(w.TotalBytes), Created: w.Created, Modified: w.Modified,
		}
		if w.HasArchitecture {
			info.Architecture = w.Architecture.String()
		}
		out.Images = append(out.Images, info)
	}
	return out
}

func (s *server) addImage(r *http.Request) (any, error) {
	q := r.URL.Query()
	p, alreadyThere, err := s.Library.Add(r.Context(), r.Body, library.AddOptions{
		Name: q.Get("name"), Version: q.Get("version"), Comment: q.Get("comment"), FileStem: q.Get("stem"), Size: max(r.ContentLength, 0),
	})
	if err != nil {
		return nil, err
	}
	if !alreadyThere {
		if s.Servicing != nil {
			s.Servicing.Poke() // it reads what is installed in it
		}
		s.Log.Info("image added", zap.String("package", p.Reference()), zap.Int64("bytes", p.Size), zap.Stringer("digest", p.Digest))
	}
	image := imageOf(&p)
	image.AlreadyThere = alreadyThere
	return image, nil
}

func (s *server) listImages(*http.Request) (any, error) {
	list := []api.Image{}
	for _, p := range s.Library.List() {
		list = append(list, imageOf(&p))
	}
	return list, nil
}

func (s *server) showImage(r *http.Request) (any, error) {
	p, err := s.Library.Get(r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return imageOf(&p), nil
}

func (s *server) changeImage(r *http.Request) (any, error) {
	var change api.ImageChange
	if err := read(r, &change); err != nil {
		return nil, err
	}
	if err := s.mayChange(r.PathValue("ref"), change); err != nil {
		return nil, err
	}
	p, err := s.Library.Change(r.PathValue("ref"), library.Change{
		Name: change.Name, Comment: change.Comment, AllowMulticast: change.AllowMulticast, Encrypt: change.Encrypt, MulticastOnly: change.MulticastOnly,
	})
	if err != nil {
		return nil, err
	}
	s.Log.Info("image changed", zap.String("package", p.Reference()), zap.Any("flags", p.Flags), zap.String("comment", p.Comment))
	return imageOf(&p), nil
}

// mayChange refuses a change that contradicts the configuration.
func (s *server) mayChange(ref string, change api.ImageChange) error {
	if s.MayBeMulticastOnly == nil {
		return nil
	}
	p, err := s.Library.Get(ref)
	if err != nil {
		return err
	}
	name, only := p.Name, p.Flags.MulticastOnly
	if change.Name != nil {
		name = *change.Name
	}
	if change.MulticastOnly != nil {
		only = *change.MulticastOnly
	}
	if !only {
		return nil
	}
	return s.MayBeMulticastOnly(name, p.Version)
}

func (s *server) removeImage(r *http.Request) (any, error) {
	ref := r.PathValue("ref")
	if err := s.Library.Remove(ref); err != nil {
		return nil, err
	}
	s.Log.Info("image removed", zap.String("package", ref))
	return struct{}{}, nil
}

func (s *server) verifyImage(r *http.Request) (any, error) {
	p, err := s.Library.Verify(r.Context(), r.PathValue("ref"), nil)
	if err != nil {
		return nil, err
	}
	return imageOf(&p), nil
}
