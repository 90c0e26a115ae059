package reports

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"wimcast/statefile"
)

// The file's form and bounds.
const (
	fileVersion = 1
	fileMode    = 0o600
	maxFile     = 256 << 20 // bytes: a thousand points with a thousand packages each
)

// file is what the file has.
type file struct {
	Version int               `json:"version"`
	Points  map[string]report `json:"points"`
}

// load reads the file, which needn't exist.
func (b *Book) load() error {
	text, err := statefile.ReadPath(b.cfg.File, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var from file
	if err := json.Unmarshal(text, &from); err != nil {
		return fmt.Errorf("read %s: %w", b.cfg.File, err)
	}
	if from.Version != fileVersion {
		return fmt.Errorf("read %s: its version is %d, this program reads %d", b.cfg.File, from.Version, fileVersion)
	}
	for name, r := range from.Points {
		if err := check(&r.Status); err != nil {
			return fmt.Errorf("read %s: point %s: %w", b.cfg.File, name, err)
		}
		b.reports[name] = r
	}
	return nil
}

// text is the file with the reports of points that there are; it forgets the others. The caller holds mu.
func (b *Book) text() ([]byte, error) {
	points := b.cfg.Points()
	for name := range b.reports {
		if _, known := points[name]; !known {
			delete(b.reports, name)
		}
	}
	return json.Marshal(file{fileVersion, b.reports})
}
