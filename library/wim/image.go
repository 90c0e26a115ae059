package wim

import (
	"fmt"
	"time"
)

// Image is one image inside a WIM, as its XML describes it. Texts come from the
// file: whoever shows them must expect anything.
type Image struct {
	Index              int          `json:"index"` // from 1
	Name               string       `json:"name"`
	Description        string       `json:"description,omitempty"`
	DisplayName        string       `json:"displayName,omitempty"`
	DisplayDescription string       `json:"displayDescription,omitempty"`
	Flags              string       `json:"flags,omitempty"` // edition, as media say it
	EditionID          string       `json:"editionID,omitempty"`
	InstallationType   string       `json:"installationType,omitempty"`
	ProductName        string       `json:"productName,omitempty"`
	ProductType        string       `json:"productType,omitempty"` // WinNT, ServerNT
	ProductSuite       string       `json:"productSuite,omitempty"`
	HAL                string       `json:"hal,omitempty"`
	SystemRoot         string       `json:"systemRoot,omitempty"`
	Architecture       Architecture `json:"architecture"`
	HasArchitecture    bool         `json:"hasArchitecture,omitempty"`
	Version            Version      `json:"version,omitzero"`
	Languages          []string     `json:"languages,omitempty"`
	DefaultLanguage    string       `json:"defaultLanguage,omitempty"`
	TotalBytes         uint64       `json:"totalBytes"` // unpacked
	HardLinkBytes      uint64       `json:"hardLinkBytes,omitempty"`
	Directories        uint64       `json:"directories,omitempty"`
	Files              uint64       `json:"files,omitempty"`
	Created            time.Time    `json:"created,omitzero"` // UTC; zero where the file doesn't say
	Modified           time.Time    `json:"modified,omitzero"`
	Serviced           Serviced     `json:"serviced,omitzero"` // zero where nothing was changed here
}

// Serviced is what the XML says under WIMCAST: what a distribution point put into the image.
type Serviced struct {
	// Updates are words of the form ID/executor/date, such as KB5031455/stage/2026-11-26, in the order of their applying.
	Updates []string `json:"updates,omitempty"`
	Parent  string   `json:"parent,omitempty"` // digest of the content that it was made from
	Run     string   `json:"run,omitempty"`    // which run made it
}

// IsZero reports whether nothing was changed here.
func (s Serviced) IsZero() bool { return len(s.Updates) == 0 && s.Parent == "" && s.Run == "" }

// cluster is how much of a volume the last part of a file takes in vain on average, in bytes: half of the 4 KiB that
// NTFS and ext4 give out by default.
const cluster = 2 << 10

// maxRoom bounds Room: more than any volume has.
const maxRoom = 1 << 60

// Room returns how many bytes the image takes on a volume once it is applied: each file once, whatever links it has, and what files take
// by being many. It believes the XML.
func (i *Image) Room() int64 {
	n := min(i.TotalBytes, maxRoom)
	if i.HardLinkBytes < n {
		n -= i.HardLinkBytes
	}
	return int64(n + cluster*(min(i.Files, maxRoom/cluster/2)+min(i.Directories, maxRoom/cluster/2)))
}

// Edition returns EDITIONID, or what FLAGS says in its place.
func (i *Image) Edition() string {
	if i.EditionID != "" {
		return i.EditionID
	}
	return i.Flags
}

// Architecture is PROCESSOR_ARCHITECTURE of the Windows API.
type Architecture uint16

// String returns the name that people use.
func (a Architecture) String() string {
	switch a {
	case 0:
		return "x86"
	case 5:
		return "arm"
	case 6:
		return "ia64"
	case 9:
		return "x64"
	case 12:
		return "arm64"
	}
	return fmt.Sprintf("arch(%d)", uint16(a))
}

// Version is a Windows version: 10.0.22631.4317.
type Version struct {
	Major            uint32 `json:"major"`
	Minor            uint32 `json:"minor"`
	Build            uint32 `json:"build"`
	ServicePackBuild uint32 `json:"servicePackBuild"`
	ServicePackLevel uint32 `json:"servicePackLevel"`
}

// String returns the version as Windows writes it, or "" for none.
func (v Version) String() string {
	if v == (Version{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d", v.Major, v.Minor, v.Build, v.ServicePackBuild)
}
