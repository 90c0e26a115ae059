package fleet

import (
	"fmt"
	"io"
	"path"

	"github.com/opencontainers/go-digest"

	"wimcast/library/release"
)

// Endings of the files of a release.
const (
	manifestEnding = ".manifest"
	documentEnding = ".document"
)

func releasePath(m *Made, ending string) string {
	return path.Join(releasesDir, m.Manifest.Encoded()+ending)
}

// store keeps manifest and document of a release, so that another document can be made over the same layers.
func (s *Site) store(m *Made, manifest, document []byte) error {
	if err := s.replace(releasePath(m, documentEnding), document); err != nil {
		return err
	}
	return s.replace(releasePath(m, manifestEnding), manifest)
}

// stored reads what store kept; the manifest is held against its digest, the document by whoever opens it.
func (s *Site) stored(m *Made) (*release.Manifest, []byte, error) {
	manifest, document, err := s.storedBytes(m)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := release.ParseManifest(manifest)
	return parsed, document, err
}

func (s *Site) storedBytes(m *Made) (manifest, document []byte, err error) {
	if manifest, err = s.readSmall(releasePath(m, manifestEnding), release.MaxManifest); err != nil {
		return nil, nil, err
	}
	if digest.FromBytes(manifest) != m.Manifest {
		return nil, nil, fmt.Errorf("release %s: %s was changed on disk", m.reference(), releasePath(m, manifestEnding))
	}
	document, err = s.readSmall(releasePath(m, documentEnding), release.MaxDocument)
	return manifest, document, err
}

func (s *Site) readSmall(name string, limit int64) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, limit))
}

// forget removes the files of a release that isn't in use. What stays is swept at the next start.
func (s *Site) forget(m *Made) {
	_ = s.root.Remove(releasePath(m, manifestEnding))
	_ = s.root.Remove(releasePath(m, documentEnding))
}
