package puller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"

	"wimcast/library/release"
	"wimcast/statefile"
)

const (
	keptFile = "assignments.json"
	dirMode  = 0o700
	fileMode = 0o600
	// maxKept bounds the file: both documents as base64.
	maxKept = 2 * (release.MaxAssignments + release.MaxManifest)
)

// kept is what is known of the assignments that hold.
type kept struct {
	digest      digest.Digest // of the manifest
	assignments *release.Assignments
}

// keptForm is keptFile: both as they came, so that they are proven each time.
type keptForm struct {
	Manifest []byte `json:"manifest"`
	Document []byte `json:"document"`
}

// openDisk reads what was kept. What isn't this site's for this point is left alone: it counts for nothing.
func (p *Puller) openDisk() (err error) {
	if err := os.MkdirAll(p.cfg.Dir, dirMode); err != nil {
		return fmt.Errorf("point: %w", err)
	}
	if p.disk, err = os.OpenRoot(p.cfg.Dir); err != nil {
		return fmt.Errorf("point: %w", err)
	}
	text, err := statefile.Read(p.disk, keptFile, maxKept)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var form keptForm
	if err == nil {
		err = json.Unmarshal(text, &form)
	}
	if err == nil {
		p.kept, err = p.prove(form.Manifest, form.Document)
	}
	if err != nil {
		p.cfg.Log.Warn("the assignments that were kept can't be used; the next ones count", zap.String("file", keptFile), zap.Error(err))
	}
	return nil
}

// prove proves assignments, whatever their serial is.
func (p *Puller) prove(manifest, document []byte) (kept, error) {
	m, err := release.ParseAssignments(manifest)
	if err != nil {
		return kept{}, err
	}
	a, err := m.OpenAssignments(document, p.cfg.Site, p.cfg.Point)
	if err != nil {
		return kept{}, err
	}
	return kept{digest.FromBytes(manifest), a}, nil
}

// keep writes assignments down so that they last.
func (p *Puller) keep(manifest, document []byte) error {
	text, err := json.Marshal(keptForm{manifest, document})
	if err != nil {
		return err
	}
	if err := statefile.Replace(p.disk, keptFile, fileMode, text); err != nil {
		return fmt.Errorf("keep assignments: %w", err)
	}
	return nil
}
