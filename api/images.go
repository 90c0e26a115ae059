package api

import (
	"net/http"

	"go.uber.org/zap"

	"wimcast/library"
)

func imageOf(p library.Package) Image {
	out := Image{
		Name: p.Name, Version: p.Version, Comment: p.Comment, Digest: p.Digest.String(), Size: p.Size, Added: p.Added,
		AllowMulticast: p.Flags.AllowMulticast, Encrypt: p.Flags.Encrypt, MulticastOnly: p.Flags.MulticastOnly, OutOfService: p.OutOfService,
		Images: []ImageInfo{},
	}
	for i := range p.Images {
		w := &p.Images[i]
		out.Images = append(out.Images, ImageInfo{
			Index: w.Index, Name: w.Name, Description: w.Description, Edition: w.EditionID, Architecture: w.Arch.String(), Version: w.Version.String(),
			Languages: w.Languages, TotalBytes: int64(w.TotalBytes), Created: w.Created, Modified: w.Modified,
		})
	}
	return out
}

func (s *server) addImage(r *http.Request) (any, error) {
	q := r.URL.Query()
	p, err := s.Library.Add(r.Context(), r.Body, library.AddOptions{
		Name: q.Get("name"), Version: q.Get("version"), Comment: q.Get("comment"), FileStem: q.Get("stem"), Size: r.ContentLength,
	})
	if err != nil {
		return nil, err
	}
	s.Log.Info("image added", zap.String("package", p.Name+"@"+p.Version), zap.Int64("bytes", p.Size), zap.Stringer("digest", p.Digest))
	return imageOf(p), nil
}

func (s *server) listImages(*http.Request) (any, error) {
	list := []Image{}
	for _, p := range s.Library.List() {
		list = append(list, imageOf(p))
	}
	return list, nil
}

func (s *server) showImage(r *http.Request) (any, error) {
	p, err := s.Library.Get(r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return imageOf(p), nil
}

func (s *server) changeImage(r *http.Request) (any, error) {
	var change ImageChange
	if err := read(r, &change); err != nil {
		return nil, err
	}
	ref := r.PathValue("ref")
	p, err := s.Library.Get(ref)
	if err != nil {
		return nil, err
	}
	_ = p
	return imageOf(p), nil
}

func (s *server) removeImage(r *http.Request) (any, error) {
	return struct{}{}, s.Library.Remove(r.PathValue("ref"))
}

func (s *server) verifyImage(r *http.Request) (any, error) {
	ref := r.PathValue("ref")
	if err := s.Library.Verify(r.Context(), ref, nil); err != nil {
		return nil, err
	}
	p, err := s.Library.Get(ref)
	return imageOf(p), err
}

var _ http.Handler = (*http.ServeMux)(nil)
