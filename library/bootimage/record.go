package bootimage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// recordFormat names the form of inject.json.
const recordFormat = "wimcast-inject-1"

// record says what was done to an image. It lies in the image.
type record struct {
	Format string `json:"format"`
	Kind   Kind   `json:"kind"`
	// Start is the path of the start file that was changed, "" where none was.
	Start string `json:"start,omitempty"`
	// Made says that there was no such file.
	Made bool `json:"made,omitempty"`
	// SHA256 is that of the start file as it was written, in hex.
	SHA256 string `json:"sha256,omitempty"`
}

func (r *record) marshal() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	return append(b, '\n'), err
}

// errNotOurs says that a folder has our name and isn't ours.
var errNotOurs = errors.New(`there is a folder \wimcast that wimcast winpe inject didn't make, or that was changed since; next: take it out by hand, or begin again from the untouched image`)

// parseRecord reads inject.json, which anybody may have written.
func parseRecord(b []byte) (*record, error) {
	r := &record{}
	if len(b) > maxRecord || json.Unmarshal(b, r) != nil || r.Format != recordFormat {
		return nil, errNotOurs
	}
	switch start := strings.ToLower(r.Start); {
	case start == "" && r.Kind == ConfigMgr, start == startnet && r.Kind == ADK, start == winpeshl && (r.Kind == Shell || r.Kind == Setup):
		return r, nil
	}
	return nil, fmt.Errorf("%w (%s)", errNotOurs, recordName)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
