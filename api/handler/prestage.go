package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/fleet"
	"wimcast/library/prestage"
)

// Prestage is how packages are carried to points in files. Of a daemon that is no site Export is nil, of one that is no point Import.
type Prestage struct {
	// Export makes a package's file for points and groups, or for all; for none it is the file of those that it is distributed to. Done ends it.
	Export func(ctx context.Context, ref string, to []string, all bool) (file *prestage.Release, done func() error, err error)
	// Import takes a file, and tells whether all of it was there already.
	Import func(ctx context.Context, r io.Reader) (p library.Package, already bool, err error)
}

// export is a file of a package as it goes out.
type export struct {
	file   *prestage.Release
	done   func() error
	size   int64
	server *server
}

var _ selfMade = export{}

func (s *server) exportImage(r *http.Request) (any, error) {
	if s.Prestage.Export == nil {
		return nil, &statusError{http.StatusConflict, errors.New("export: this daemon distributes to no points; next: set [registry], then wimcast point add")}
	}
	var who api.ImageExport
	if err := read(r, &who); err != nil {
		return nil, err
	}
	// All of a package may have to be read before the first byte of the answer.
	if body, ok := r.Body.(*patientBody); ok {
		_ = body.control.SetWriteDeadline(time.Time{})
	}
	file, done, err := s.Prestage.Export(r.Context(), r.PathValue("ref"), who.For, who.All)
	if errors.Is(err, fleet.ErrNotFound) {
		return nil, &statusError{http.StatusNotFound, err}
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(err, done())
	}
	s.did(r, "image exported", zap.String("package", r.PathValue("ref")), zap.String("tag", file.Tag), zap.Strings("for", who.For), zap.Bool("all", who.All), zap.Int64("bytes", size))
	return export{file, done, size, s}, nil
}

// write implements selfMade. What goes wrong on the way breaks the connection off, so that nobody takes the file for whole.
func (e export) write(w http.ResponseWriter, r *http.Request) {
	defer func() { _ = e.done() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(e.size, 10))
	w.Header().Set(api.ExportTag, e.file.Tag)
	if err := e.file.Write(r.Context(), &patientWriter{w, http.NewResponseController(w)}); err != nil {
		e.server.log(r, zapcore.WarnLevel, "export broke off", zap.String("tag", e.file.Tag), zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}

func (s *server) importImage(r *http.Request) (any, error) {
	if s.Prestage.Import == nil {
		return nil, &statusError{http.StatusConflict, fmt.Errorf("import: this daemon is no point of a site; next: at a point, wimcast image import FILE.tar; here, wimcast image add FILE.wim")}
	}
	p, already, err := s.Prestage.Import(r.Context(), r.Body)
	if err == nil {
		// What wasn't needed of it: who is still sending doesn't hear an answer.
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return nil, err
	}
	if !already {
		if s.Added != nil {
			s.Added()
		}
		s.change(r, "import image", &p, "", nil)
		s.did(r, "image imported", zap.String("package", p.Reference()), zap.Int64("bytes", p.Size), zap.Stringer("digest", p.Digest))
	}
	image := imageOf(&p)
	image.AlreadyThere = already
	return image, nil
}
