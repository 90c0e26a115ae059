package wim

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of the XML. Real media have tens of kilobytes, four levels deep.
const (
	maxXML        = 4 << 20
	maxDepth      = 32
	maxAttributes = 16 // of one element
)

// Elements that the reader looks for itself.
const (
	rootElement  = "WIM"
	imageElement = "IMAGE"
)

// The XML as it stands in files. Numbers are texts: media write them in several ways.
type (
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
		Wimcast            xmlWimcast `xml:"WIMCAST"`
	}
	xmlTime struct {
		High string `xml:"HIGHPART"`
		Low  string `xml:"LOWPART"`
	}
	// xmlWimcast is ours: what became of the image here. Nobody else reads it.
	xmlWimcast struct {
		Updates string `xml:"UPDATES"`
		Parent  string `xml:"PARENT"`
		Run     string `xml:"RUN"`
	}
	xmlWindows struct {
		Arch             string `xml:"ARCH"`
		ProductName      string `xml:"PRODUCTNAME"`
		ProductType      string `xml:"PRODUCTTYPE"`
		ProductSuite     string `xml:"PRODUCTSUITE"`
		HAL              string `xml:"HAL"`
		SystemRoot       string `xml:"SYSTEMROOT"`
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
	if table.Size == 0 {
		return fmt.Errorf("%w: it has no XML", ErrDamaged)
	}
	if err := checkTable("XML", table, maxXML); err != nil {
		return err
	}
	b := make([]byte, table.Size)
	if err := readFull(f.r, b, int64(table.Offset)); err != nil {
		return err
	}
	text, err := decodeUTF16(b)
	if err != nil {
		return err
	}
	images, err := parseXML(text, int(f.ImageCount))
	if err != nil {
		// What the decoder says may quote as much of the file as that likes.
		return fmt.Errorf("%w: its XML: %.200q", ErrDamaged, err.Error())
	}
	f.Images = images
	return nil
}

// decodeUTF16 turns little-endian UTF-16 with a byte order mark into UTF-8. What isn't
// a character becomes U+FFFD.
func decodeUTF16(b []byte) ([]byte, error) {
	if len(b)%2 != 0 || !bytes.HasPrefix(b, []byte{0xff, 0xfe}) {
		return nil, fmt.Errorf("%w: its XML isn't UTF-16 with a byte order mark", ErrDamaged)
	}
	text := make([]byte, 0, len(b)/2)
	for i := 2; i < len(b); i += 2 {
		r := rune(b[i]) | rune(b[i+1])<<8
		if utf16.IsSurrogate(r) && i+3 < len(b) {
			if pair := utf16.DecodeRune(r, rune(b[i+2])|rune(b[i+3])<<8); pair != utf8.RuneError {
				r = pair
				i += 2
			}
		}
		text = utf8.AppendRune(text, r) // a surrogate on its own becomes U+FFFD
	}
	return text, nil
}

// parseXML returns the images, by their index, of which there must be count. What follows
// the root element isn't read: some writers end with a NUL.
func parseXML(text []byte, count int) ([]Image, error) {
	inner := xml.NewDecoder(bytes.NewReader(text))
	// An XML declaration names the encoding that the text had.
	inner.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	d := xml.NewTokenDecoder(&boundedTokens{inner: inner})
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != rootElement {
				return nil, fmt.Errorf("it begins with the element %s, not %s", start.Name.Local, rootElement)
			}
			break
		}
	}
	images, found := make([]Image, count), 0
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local != imageElement {
				if err := d.Skip(); err != nil {
					return nil, err
				}
				continue
			}
			if found++; found > count {
				return nil, fmt.Errorf("it has more images than the %d of the header", count)
			}
			var x xmlImage
			if err := d.DecodeElement(&x, &t); err != nil {
				return nil, err
			}
			index, ok := number(x.Index, 31)
			if !ok || index == 0 || int(index) > count || images[index-1].Index != 0 {
				return nil, fmt.Errorf("image %d of %d has the index %s", found, count, x.Index)
			}
			images[index-1] = x.image(int(index))
		case xml.EndElement:
			if found != count {
				return nil, fmt.Errorf("it has %d images, the header %d", found, count)
			}
			return images, nil
		}
	}
}

// boundedTokens hands tokens on, and refuses what would make the decoder above it take
// memory out of proportion.
type boundedTokens struct {
	inner *xml.Decoder
	depth int
}

// Token implements xml.TokenReader.
func (b *boundedTokens) Token() (xml.Token, error) {
	token, err := b.inner.RawToken()
	switch t := token.(type) {
	case xml.StartElement:
		if b.depth++; b.depth > maxDepth {
			return nil, fmt.Errorf("elements deeper than %d", maxDepth)
		}
		if len(t.Attr) > maxAttributes {
			return nil, fmt.Errorf("an element with more than %d attributes", maxAttributes)
		}
	case xml.EndElement:
		b.depth--
	}
	return token, err
}

func (x *xmlWimcast) serviced() Serviced {
	s := Serviced{Parent: x.Parent, Run: x.Run}
	if updates := strings.Fields(x.Updates); len(updates) > 0 {
		s.Updates = updates
	}
	return s
}

func (x *xmlImage) image(index int) Image {
	w := &x.Windows
	arch, hasArch := number(w.Arch, 16)
	return Image{
		Index: index, Name: x.Name, Description: x.Description, DisplayName: x.DisplayName, DisplayDescription: x.DisplayDescription,
		Flags: x.Flags, EditionID: w.EditionID, InstallationType: w.InstallationType, ProductName: w.ProductName,
		ProductType: w.ProductType, ProductSuite: w.ProductSuite, HAL: w.HAL, SystemRoot: w.SystemRoot,
		Architecture: Architecture(arch), HasArchitecture: hasArch,
		Version: Version{
			Major: number32(w.Major), Minor: number32(w.Minor), Build: number32(w.Build),
			ServicePackBuild: number32(w.SPBuild), ServicePackLevel: number32(w.SPLevel),
		},
		Languages: w.Languages.Language, DefaultLanguage: w.Languages.Default,
		TotalBytes: number64(x.TotalBytes), HardLinkBytes: number64(x.HardLinkBytes), Directories: number64(x.Directories), Files: number64(x.Files),
		Created: x.Created.time(), Modified: x.Modified.time(),
		Serviced: x.Wimcast.serviced(),
	}
}

// number reads a decimal number, or a hexadecimal one after 0x, below 2^bits.
func number(s string, bits int) (v uint64, ok bool) {
	s, base := strings.TrimSpace(s), 10
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		s, base = s[2:], 16
	}
	v, err := strconv.ParseUint(s, base, bits)
	if err != nil {
		return 0, false
	}
	return v, true
}

// number64 and number32 return 0 for what is no number, or too large.
func number64(s string) uint64 {
	v, _ := number(s, 64)
	return v
}

func number32(s string) uint32 {
	v, _ := number(s, 32)
	return uint32(v)
}

// time reads a FILETIME: units of 100 ns since 1601. It returns the zero time for none, for
// what is no number, and for years beyond 9999, which other formats can't write.
func (t xmlTime) time() time.Time {
	high, ok := number(t.High, 31)
	low, okLow := number(t.Low, 32)
	if !ok || !okLow || high == 0 && low == 0 {
		return time.Time{}
	}
	units := int64(high<<32 | low)
	const toUnix = 11_644_473_600 // s between 1601 and 1970
	v := time.Unix(units/10_000_000-toUnix, units%10_000_000*100).UTC()
	if v.Year() > 9999 {
		return time.Time{}
	}
	return v
}
