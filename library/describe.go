package library

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Description says what is in the content, as releases carry it (release.Release.Content).
func (p *Package) Description() ([]byte, error) {
	b, err := json.Marshal(config{
		Digest: p.Digest.String(), SHA256: hex.EncodeToString(p.SHA256[:]), Size: p.Size, Compression: p.Compression, Pipable: p.Pipable, Solid: p.Solid,
		IntegrityChecked: p.IntegrityChecked, Images: p.Images,
	})
	if err != nil {
		return nil, fmt.Errorf("describe package %s: %w", p.Reference(), err)
	}
	return b, nil
}
