package handler

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/wim"
)

func imageOf(p *library.Package) api.Image {
	out := api.Image{
		Name: p.Name, Version: p.Version, Comment: p.Comment, Digest: p.Digest.String(), SHA256: hex.EncodeToString(p.SHA256[:]),
		Size: p.Size, Added: p.Added, AllowMulticast: p.Flags.AllowMulticast, Encrypt: p.Flags.Encrypt, MulticastOnly: p.Flags.MulticastOnly,
		OutOfService: p.OutOfService, IntegrityChecked: p.IntegrityChecked, Compression: string(p.Compression), Pipable: p.Pipable, Solid: p.Solid,
		AppliesWith: appliesWith(p), Source: p.Source, SourceAgain: p.Again, SourceIndex: p.Index, Validated: p.Validated,
		Images: []api.ImageInfo{},
	}
	for i := range p.Images {
		w := &p.Images[i]
		info := api.ImageInfo{
			Index: w.Index, Name: w.Name, Description: w.Description, DisplayName: w.DisplayName, DisplayDescription: w.DisplayDescription,
			Edition: w.Edition(), Flags: w.Flags, InstallationType: w.InstallationType,
			ProductName: w.ProductName, ProductType: w.ProductType, ProductSuite: w.ProductSuite, HAL: w.HAL, SystemRoot: w.SystemRoot,
			Version: w.Version.String(), Build: w.Version.Build, ServicePackBuild: w.Version.ServicePackBuild, ServicePackLevel: w.Version.ServicePackLevel,
			Languages: w.Languages, DefaultLanguage: w.DefaultLanguage,
			TotalBytes: count63(w.TotalBytes), HardLinkBytes: count63(w.HardLinkBytes), Directories: count63(w.Directories), Files: count63(w.Files),
			Created: w.Created, Modified: w.Modified,
		}
		if w.HasArchitecture {
			info.Architecture = w.Architecture.String()
		}
		out.Images = append(out.Images, info)
	}
	return out
}

// count63 keeps a number that a file claims within what the API's readers can hold.
func count63(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// appliesWith says what can apply a package's images.
func appliesWith(p *library.Package) []string {
	switch {
	case p.Pipable:
		return []string{api.AppliesWimlib, api.AppliesStream}
	case p.Solid:
		return []string{api.AppliesExport, api.AppliesWimlib}
	case p.Compression == wim.LZMS:
		return []string{api.AppliesDISM81, api.AppliesWimlib}
	case p.Compression == wim.Unknown:
		return []string{api.AppliesWimlib}
	}
	return []string{api.AppliesDISM, api.AppliesWimlib}
}

// addOptions reads what an add says of its body.
func addOptions(r *http.Request) (o library.AddOptions, err error) {
	q := r.URL.Query()
	o = library.AddOptions{
		Name: q.Get("name"), Version: q.Get("version"), Comment: q.Get("comment"), FileStem: q.Get("stem"), Size: max(r.ContentLength, 0),
		Source: q.Get("source"), Again: q.Get("again"),
	}
	if text := q.Get("index"); text != "" {
		if o.Index, err = strconv.Atoi(text); err != nil || o.Index < 1 {
			return o, bad("index: %q is not a number from 1", text)
		}
	}
	if text := q.Get("sha256"); text != "" {
		if o.SHA256, err = hex.DecodeString(text); err != nil || len(o.SHA256) != sha256.Size {
			return o, bad("sha256: %q is not 64 hexadecimal digits", text)
		}
	}
	if o.Again == "" {
		return o, nil
	}
	u, err := url.Parse(o.Again)
	switch {
	case err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "":
	case r.TLS != nil: // whoever is elsewhere has no business with this machine's files
		return o, bad("again: only an https:// address without user and query; paths are for those who are on the server")
	case !filepath.IsAbs(o.Again):
		return o, bad("again: neither an https:// address without user and query, nor an absolute path")
	}
	return o, nil
}

func (s *server) addImage(r *http.Request) (any, error) {
	o, err := addOptions(r)
	if err != nil {
		return nil, err
	}
	p, alreadyThere, err := s.Library.Add(r.Context(), r.Body, o)
	if err != nil {
		return nil, err
	}
	if !alreadyThere {
		if s.Added != nil {
			s.Added()
		}
		detail := "from " + p.Source
		if p.Source == "" {
			detail = ""
		} else if p.Index > 0 {
			detail += fmt.Sprintf(", image %d of it alone", p.Index)
		}
		s.change(r, "add image", &p, detail, nil)
		s.did(r, "image added", zap.String("package", p.Reference()), zap.Int64("bytes", p.Size), zap.Stringer("digest", p.Digest))
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
	s.edits.Lock()
	defer s.edits.Unlock()
	if err := s.mayChange(r.PathValue("ref"), &change); err != nil {
		return nil, err
	}
	before, _ := s.Library.Get(r.PathValue("ref"))
	p, err := s.Library.Change(r.PathValue("ref"), library.Change{
		Name: change.Name, Comment: change.Comment, AllowMulticast: change.AllowMulticast, Encrypt: change.Encrypt, MulticastOnly: change.MulticastOnly,
	})
	if err != nil {
		if before.Name != "" {
			s.change(r, "set image", &before, changeText(change), err)
		}
		return nil, err
	}
	if change.Name != nil {
		s.change(r, "rename image", &p, "was "+before.Reference(), nil)
	}
	if text := changeText(change); text != "" {
		s.change(r, "set image", &p, text, nil)
	}
	s.pokeFleet()
	s.did(r, "image changed", zap.String("package", p.Reference()), zap.Any("flags", p.Flags), zap.String("comment", p.Comment))
	return imageOf(&p), nil
}

func (s *server) removeImage(r *http.Request) (any, error) {
	ref, withdraw := r.PathValue("ref"), false
	if text := r.URL.Query().Get("withdraw"); text != "" {
		var err error
		if withdraw, err = strconv.ParseBool(text); err != nil {
			return nil, bad("withdraw: %q is neither true nor false", text)
		}
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	if err := s.mayRemove(ref); err != nil {
		return nil, err
	}
	before, _ := s.Library.Get(ref)
	if err := s.mayLeave(ref, withdraw); err != nil {
		return nil, err
	}
	if err := s.Library.Remove(ref); err != nil {
		return nil, err
	}
	s.change(r, "remove image", &before, "", nil)
	s.did(r, "image removed", zap.String("package", ref))
	return struct{}{}, nil
}

func (s *server) verifyImage(r *http.Request) (any, error) {
	p, err := s.Library.Verify(r.Context(), r.PathValue("ref"), nil)
	if p.Name != "" && r.Context().Err() == nil {
		s.change(r, "validate image", &p, "", err)
	}
	if err != nil {
		return nil, err
	}
	s.did(r, "image verified", zap.String("package", p.Reference()))
	return imageOf(&p), nil
}

// change records what became of a package, or what was refused.
func (s *server) change(r *http.Request, action string, p *library.Package, detail string, err error) {
	s.record(r, api.HistoryAction{Action: action, Package: p.Reference(), Digest: p.Digest.String(), Detail: detail}, err)
}

// changeText says what a change sets, but for the name.
func changeText(c api.ImageChange) string {
	var parts []string
	if c.Comment != nil {
		parts = append(parts, fmt.Sprintf("comment %q", *c.Comment))
	}
	for name, flag := range map[string]*bool{"multicast": c.AllowMulticast, "encrypt": c.Encrypt, "multicast-only": c.MulticastOnly} {
		if flag != nil {
			parts = append(parts, fmt.Sprintf("%s %v", name, *flag))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
