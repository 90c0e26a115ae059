package release

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of assignments.
const (
	AssignmentsType  = "application/vnd.wimcast.assignments.v1"
	MediaAssignments = "application/vnd.wimcast.assignments.document.v1+json"
	mediaEmpty       = "application/vnd.oci.empty.v1+json"
)

// MaxAssignments bounds a document of assignments, in bytes.
const MaxAssignments = 4 << 20

// Priority says which of several pulls goes first, and which hours are open to it.
type Priority string

// The priorities, as administrators know them from Configuration Manager.
const (
	High   Priority = "high"
	Medium Priority = "medium" // when none is named
	Low    Priority = "low"
)

// ParsePriority reads one; "" is Medium.
func ParsePriority(s string) (Priority, error) {
	switch p := Priority(s); p {
	case High, Medium, Low:
		return p, nil
	case "":
		return Medium, nil
	}
	return "", fmt.Errorf("priority %.40q: not one of high, medium, low", s)
}

// Assignments say what a point shall have. There is one document for each point; a newer one replaces it.
type Assignments struct {
	Format    int        `json:"format"` // 1
	Point     string     `json:"point"`
	Serial    int64      `json:"serial"`    // rises with each document; a point takes none that is older than what it had
	Made      time.Time  `json:"made"`      // by the site's clock; for people
	Multicast bool       `json:"multicast"` // whether the point casts, or serves by unicast only
	Packages  []Assigned `json:"packages"`
	// Revoked are the serials of certificates that the site took back.
	Revoked []string `json:"revoked,omitempty"`
}

// Assigned is one version of a package that a point shall have.
type Assigned struct {
	Reference string        `json:"reference"` // name@version
	Current   bool          `json:"current"`   // it is what the name alone means
	Revision  int64         `json:"revision"`
	Manifest  digest.Digest `json:"manifest"` // of the release
	Size      int64         `json:"size"`     // of that manifest, in bytes
	Priority  Priority      `json:"priority"`
}

// AssignmentsTag is the tag of a point's assignments.
func AssignmentsTag(point string) string { return "point-" + point }

// Seal makes the document and its OCI manifest. It fills in Format.
func (a *Assignments) Seal(key ed25519.PrivateKey) (document, manifest []byte, err error) {
	a.Format = documentFormat
	document, err = json.Marshal(a)
	if err == nil && len(document) > MaxAssignments {
		err = fmt.Errorf("%d bytes, at most %d are taken", len(document), MaxAssignments)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("assignments of %s: %w", a.Point, err)
	}
	manifest, err = json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: AssignmentsType,
		Config:      v1.Descriptor{MediaType: MediaAssignments, Digest: digest.FromBytes(document), Size: int64(len(document))},
		Layers:      []v1.Descriptor{Empty()}, // the specification wants one
		Annotations: map[string]string{keySignature: sign(key, signsAssignments, document)},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("assignments of %s: %w", a.Point, err)
	}
	return document, manifest, nil
}

// Empty is the descriptor of the empty blob, "{}", which a manifest without layers names (OCI image specification 1.1).
func Empty() v1.Descriptor {
	return v1.Descriptor{MediaType: mediaEmpty, Digest: v1.DescriptorEmptyJSON.Digest, Size: v1.DescriptorEmptyJSON.Size}
}

// ParseAssignments reads the OCI manifest of assignments. OpenAssignments proves it.
func ParseAssignments(b []byte) (*Manifest, error) {
	m, err := parseManifest(b, AssignmentsType, MediaAssignments, MaxAssignments)
	if err != nil {
		return nil, fmt.Errorf("parse assignments: %w", err)
	}
	return m, nil
}

// OpenAssignments proves the assignments of a point. Whether they are newer than what the point had is the caller's to see.
func (m *Manifest) OpenAssignments(document []byte, site ed25519.PublicKey, point string) (*Assignments, error) {
	a, err := m.openAssignments(document, site, point)
	if err != nil {
		return nil, fmt.Errorf("open assignments of %s: %w", point, err)
	}
	return a, nil
}

func (m *Manifest) openAssignments(document []byte, site ed25519.PublicKey, point string) (*Assignments, error) {
	if digest.FromBytes(document) != m.Document.Digest {
		return nil, errors.New("the document doesn't match its digest")
	}
	if err := verify(site, signsAssignments, document, m.Signature); err != nil {
		return nil, err
	}
	a := &Assignments{}
	if err := json.Unmarshal(document, a); err != nil {
		return nil, fmt.Errorf("the document doesn't parse: %w", err)
	}
	if a.Format != documentFormat {
		return nil, fmt.Errorf("its format is %d, this program reads %d; next: install a newer wimcastd", a.Format, documentFormat)
	}
	if a.Point != point {
		return nil, fmt.Errorf("they are of %.80q", a.Point)
	}
	for i := range a.Packages {
		p := &a.Packages[i]
		if err := p.Manifest.Validate(); err != nil || p.Manifest.Algorithm() != digest.SHA256 || p.Size < 1 || p.Size > MaxManifest || p.Reference == "" {
			return nil, fmt.Errorf("package %.80q: manifest %.100q of %d bytes", p.Reference, p.Manifest, p.Size)
		}
		var err error
		if p.Priority, err = ParsePriority(string(p.Priority)); err != nil {
			return nil, fmt.Errorf("package %.80q: %w", p.Reference, err)
		}
	}
	return a, nil
}
