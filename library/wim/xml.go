package wim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
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

// The XML as it stands in files. Numbers are texts: media write them in several ways.
type (
	xmlFile struct {
		XMLName xml.Name   `xml:"WIM"`
		Images  []xmlImage `xml:"IMAGE"`
	}
	xmlImage struct {
		Index              string     `xml:"INDEX,attr"`
		Name               string     `xml:"NAME"`
		Description        string     `xml:"DESCRIPTION"`
		DisplayName        string     `xml:"DISPLAYNAME"`
		DisplayDescription string     `xml:"DISPLAYDESCRIPTION"`
		Flags              string     `xml:"FLAGS"`
		Directories        string     `xml:"DIRCOUNT"`
		Files              string     `xml:"FILECOUNT"`
		TotalBytes         string     `xml:"TOTALBYTES"`
		HardLinkBytes      string     `xml:"HARDLINKBYTES"`
		Created            xmlTime    `xml:"CREATIONTIME"`
		Modified           xmlTime    `xml:"LASTMODIFICATIONTIME"`
		Windows            xmlWindows `xml:"WINDOWS"`
	}
	xmlTime struct {
		High string `xml:"HIGHPART"`
		Low  string `xml:"LOWPART"`
	}
	xmlWindows struct {
		Arch             string `xml:"ARCH"`
		ProductName      string `xml:"PRODUCTNAME"`
		EditionID        string `xml:"EDITIONID"`
		InstallationType string `xml:"INSTALLATIONTYPE"`
		Languages        struct {
			Language []string `xml:"LANGUAGE"`
			Default  string   `xml:"DEFAULT"`
		} `xml:"LANGUAGES"`
		Major   string `xml:"VERSION>MAJOR"`
		Minor   string `xml:"VERSION>MINOR"`
		Build   string `xml:"VERSION>BUILD"`
		SPBuild string `xml:"VERSION>SPBUILD"`
		SPLevel string `xml:"VERSION>SPLEVEL"`
	}
)

// readXML reads the XML into f.Images.
func (f *File) readXML() error {
	table := f.Header.XML
	switch {
	case table.Size == 0:
		return fmt.Errorf("%w: it has no XML", ErrDamaged)
	case table.Flags&Compressed != 0 || table.Size != table.OriginalSize:
		return fmt.Errorf("%w: its XML is compressed", ErrDamaged)
	case table.Size > maxXML:
		return fmt.Errorf("%w: %d bytes of XML, more than %d", ErrDamaged, table.Size, maxXML)
	}
	b := make([]byte, table.Size)
	if err := readFull(f.r, b, int64(table.Offset)); err != nil {
		return err
	}
	text, err := decodeUTF16(b)
	if err != nil {
		return err
	}
	var parsed xmlFile
	decoder := xml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&parsed); err != nil {
		return fmt.Errorf("%w: its XML doesn't parse: %w", ErrDamaged, err)
	}
	if len(parsed.Images) != int(f.ImageCount) {
		return fmt.Errorf("%w: its header says %d images, its XML %d", ErrDamaged, f.ImageCount, len(parsed.Images))
	}
	for i := range parsed.Images {
		image := parsed.Images[i].image()
		if image.Index != i+1 {
			return fmt.Errorf("%w: image %d of its XML says index %q", ErrDamaged, i+1, parsed.Images[i].Index)
		}
		f.Images = append(f.Images, image)
	}
	return nil
}

// decodeUTF16 turns little-endian UTF-16 with a byte order mark into UTF-8.
func decodeUTF16(b []byte) ([]byte, error) {
	if len(b) < 2 || len(b)%2 != 0 || b[0] != 0xff || b[1] != 0xfe {
		return nil, fmt.Errorf("%w: its XML isn't UTF-16 with a byte order mark", ErrDamaged)
	}
	units := make([]uint16, 0, len(b)/2-1)
	for i := 2; i < len(b); i += 2 {
		units = append(units, uint16(b[i])|uint16(b[i+1])<<8)
	}
	return []byte(string(utf16.Decode(units))), nil
}

func (x *xmlImage) image() Image {
	w := &x.Windows
	image := Image{
		Index: int(number(x.Index)), Name: x.Name, Description: x.Description, DisplayName: x.DisplayName, DisplayDescription: x.DisplayDescription,
		Flags: x.Flags, EditionID: w.EditionID, InstallationType: w.InstallationType, ProductName: w.ProductName,
		Architecture: Architecture(number(w.Arch)), HasArchitecture: w.Arch != "",
		Version: Version{
			Major: uint32(number(w.Major)), Minor: uint32(number(w.Minor)), Build: uint32(number(w.Build)),
			ServicePackBuild: uint32(number(w.SPBuild)), ServicePackLevel: uint32(number(w.SPLevel)),
		},
		Languages: w.Languages.Language, DefaultLanguage: w.Languages.Default,
		TotalBytes: number(x.TotalBytes), HardLinkBytes: number(x.HardLinkBytes), Directories: number(x.Directories), Files: number(x.Files),
		Created: x.Created.time(), Modified: x.Modified.time(),
	}
	return image
}

// number reads a decimal or 0x number; what isn't one is 0.
func number(s string) uint64 {
	v, err := strconv.ParseUint(strings.TrimSpace(s), 0, 64)
	if err != nil {
		return 0
	}
	return v
}

// time reads a FILETIME: units of 100 ns since 1601.
func (t xmlTime) time() time.Time {
	high, low := number(t.High), number(t.Low)
	if high == 0 && low == 0 || high > 1<<31-1 || low > 1<<32-1 {
		return time.Time{}
	}
	units := int64(high<<32 | low)
	const toUnix = 11_644_473_600 // s between 1601 and 1970
	return time.Unix(units/10_000_000-toUnix, units%10_000_000*100).UTC()
}
