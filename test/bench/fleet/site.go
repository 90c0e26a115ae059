//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wimcast/library"
	"wimcast/library/fleet"
	"wimcast/library/registry"
	"wimcast/library/release"
	"wimcast/test/noise"
	server "wimcast/test/registry"
)

const repositoryName = "wimcast"

// site is one with a library and a registry.
type site struct {
	dir     string
	server  *server.Server
	library *library.Library
	fleet   *fleet.Site
	changes chan fleet.Change
	stop    context.CancelFunc
	running sync.WaitGroup
}

func newSite(ctx context.Context, dir string) (_ *site, err error) {
	s := &site{dir: dir, changes: make(chan fleet.Change, 1000)}
	if s.server, err = server.Start(ctx, filepath.Join(dir, "registry"), server.Options{}); err != nil {
		return nil, err
	}
	if s.library, err = library.Open(filepath.Join(dir, "library")); err != nil {
		return nil, err
	}
	repository, err := registry.Open(registry.Config{Repository: s.server.Repository(repositoryName), PlainHTTP: true})
	if err != nil {
		return nil, err
	}
	s.fleet, err = fleet.New(fleet.Config{
		Dir: filepath.Join(dir, "fleet"), Library: s.library, Repository: repository, Busy: func() bool { return false },
		Revoked: func() []string { return nil }, Changed: func(c fleet.Change) { s.changes <- c },
	})
	if err != nil {
		return nil, err
	}
	var running context.Context
	running, s.stop = context.WithCancel(ctx)
	s.running.Go(func() { s.fleet.Run(running) })
	return s, nil
}

func (s *site) close() {
	s.stop()
	s.running.Wait()
	_ = s.fleet.Close()
	_ = s.library.Close()
	s.server.Stop()
}

// point makes a point, and returns its file. What is about certificates in it isn't needed here.
func (s *site) point(name string) (string, error) {
	_, file, _, err := s.fleet.Add(fleet.Point{Name: name, Multicast: true})
	if err != nil {
		return "", err
	}
	file.Bundle, file.Server = "-", "-"
	text, err := file.Marshal()
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, name+".point")
	return path, os.WriteFile(path, text, 0o600)
}

// add adds a file as a package.
func (s *site) add(ctx context.Context, file, name, version string) (library.Package, error) {
	f, err := os.Open(file)
	if err != nil {
		return library.Package{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return library.Package{}, err
	}
	p, _, err := s.library.Add(ctx, f, library.AddOptions{Name: name, Version: version, Size: info.Size()})
	return p, err
}

// distribute has a package go to a point, and waits until the point finds it in the registry. It returns the release's tag.
func (s *site) distribute(ctx context.Context, p library.Package, point string) (string, error) {
	if _, err := s.fleet.Distribute(fleet.Order{Package: p, To: []string{point}}); err != nil {
		return "", err
	}
	for {
		select {
		case c := <-s.changes:
			if c.Err != nil {
				return "", c.Err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(time.Second):
		}
		state, err := s.fleet.Point(point)
		if err != nil {
			return "", err
		}
		for _, a := range state.Packages {
			if a.Reference == p.Reference() && a.State == fleet.Success && state.Serial > 0 && a.Revision > 0 {
				return release.Tag(a.Reference, a.Revision), nil
			}
		}
	}
}

// release makes an image of noise and releases it to a point of its own. It returns the point's file and the release's tag.
func (s *site) release(ctx context.Context, name string, size int64, seed byte) (file, tag string, err error) {
	say("an image of %d MiB into the registry", size>>20)
	wim := filepath.Join(s.dir, name+".wim")
	if err := noise.WriteFile(wim, size, uint64(seed)); err != nil {
		return "", "", err
	}
	p, err := s.add(ctx, wim, name, "1")
	if err = errors.Join(err, os.Remove(wim)); err != nil {
		return "", "", err
	}
	if file, err = s.point(name); err != nil {
		return "", "", err
	}
	tag, err = s.distribute(ctx, p, name)
	return file, tag, err
}

// pull releases an image of noise and pulls it once.
func (s *site) pull(ctx context.Context, name string, size int64) (pulled, error) {
	file, _, err := s.release(ctx, name, size, byte(size>>20))
	if err != nil {
		return pulled{}, err
	}
	var p pulled
	return p, s.process(ctx, &p, "point", file, name+"@1")
}

// updateFiles is how many files an update replaces at most, updateShare how many bytes of files by bytes of the image.
const (
	updateFiles = 400
	updateShare = 0.08
)

// serviced has a point pull an image and then what was made of it by servicing.
func serviced(ctx context.Context, s *site, o options) ([]moved, error) {
	say("capturing %s", o.folder)
	wim := filepath.Join(s.dir, "serviced.wim")
	if err := capture(ctx, o.folder, wim); err != nil {
		return nil, err
	}
	var sources []string
	var size int64
	info, err := os.Stat(wim)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(o.folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		one, err := d.Info()
		if err != nil {
			return err
		}
		const least, most = 32 << 10, 8 << 20 // as programs and libraries are
		if one.Size() < least || one.Size() > most || len(sources) >= updateFiles || float64(size+one.Size()) > updateShare*float64(info.Size()) {
			return nil
		}
		sources, size = append(sources, name), size+one.Size()
		return nil
	})
	if err != nil {
		return nil, err
	}
	file, err := s.point("serviced")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "serviced-point") // it keeps what it has
	var out []moved
	for version, what := range []string{"", fmt.Sprintf("an update of %d files", len(sources))} {
		var files int64
		if version > 0 {
			say("servicing it")
			if files, err = service(ctx, wim, s.dir, sources); err != nil {
				return nil, err
			}
		}
		p, err := s.add(ctx, wim, "serviced", fmt.Sprint(version+1))
		if err != nil {
			return nil, err
		}
		if _, err := s.distribute(ctx, p, "serviced"); err != nil {
			return nil, err
		}
		var got pulled
		if err := s.processIn(ctx, dir, &got, "point", file, p.Reference()); err != nil {
			return nil, err
		}
		if version > 0 {
			out = append(out, moved{what, p.Size, files, got.Bytes, float64(got.Bytes) / float64(p.Size)})
		}
	}
	return out, nil
}
