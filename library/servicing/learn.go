package servicing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"wimcast/library/wimlib"
)

// known is what is kept of a content: the updates in each of its images, by index.
type known struct {
	Installed map[int][]InstalledPackage `json:"installed"`
}

// Facts returns what is known of the images in a package, in the order of their indexes. What is installed in them is read
// with wimlib, once for each content.
func (s *Service) Facts(ctx context.Context, image *Image) ([]Facts, error) {
	k, err := s.installed(ctx, image)
	if err != nil {
		return nil, fmt.Errorf("read the installed updates of %s: %w", image.Reference, err)
	}
	facts := make([]Facts, len(image.Images))
	for i := range image.Images {
		facts[i] = factsOf(&image.Images[i], k.Installed[image.Images[i].Index])
	}
	return facts, nil
}

// installed returns what is kept of a content, or reads it.
func (s *Service) installed(ctx context.Context, image *Image) (known, error) {
	s.learning.Lock()
	defer s.learning.Unlock()
	var k known
	file := path.Join(factsDir, image.Digest+".json")
	if err := readJSON(s.root, file, &k); err == nil && len(k.Installed) == len(image.Images) {
		return k, nil
	}
	content, err := s.cfg.Images.Open(*image)
	if err != nil {
		return k, err
	}
	defer func() { _ = content.Close() }()
	k.Installed = make(map[int][]InstalledPackage, len(image.Images))
	for i := range image.Images {
		index := image.Images[i].Index
		paths, err := wimlib.Dir(wimlib.LowPriority(ctx), content.Path(), index, packagesDir)
		if failed, ok := errors.AsType[*wimlib.Error](err); ok && failed.Code == wimlib.CodeNoPath {
			err = nil // not Windows, or none is installed
		}
		if err != nil {
			return known{}, err
		}
		k.Installed[index] = installedIn(paths)
	}
	return k, writeJSON(s.root, file, factsDir, k)
}

// learnAll reads what isn't known yet of the images in the library, and forgets those that are gone. An image that can't be
// read is left alone until somebody asks for it.
func (s *Service) learnAll(ctx context.Context) {
	list := s.cfg.Images.Images()
	s.forget(list)
	for i := range list {
		image := &list[i]
		if ctx.Err() != nil || image.OutOfService != "" || s.unknown[image.Digest] {
			continue
		}
		if _, err := s.installed(ctx, image); err != nil && ctx.Err() == nil {
			s.unknown[image.Digest] = true
		}
	}
}

// forget removes what is known of contents that the library hasn't any more.
func (s *Service) forget(list []Image) {
	s.learning.Lock()
	defer s.learning.Unlock()
	entries, err := fs.ReadDir(s.root.FS(), factsDir)
	if err != nil {
		return // the next round tries again
	}
	for _, e := range entries {
		digest := strings.TrimSuffix(e.Name(), ".json")
		if !slices.ContainsFunc(list, func(i Image) bool { return i.Digest == digest }) {
			_ = s.root.Remove(path.Join(factsDir, e.Name()))
		}
	}
}
