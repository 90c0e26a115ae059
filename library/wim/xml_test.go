package wim

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// mediaXML has the elements of Microsoft's media, in their order and spelling.
const mediaXML = `<WIM>` +
	`<TOTALBYTES>4684297351</TOTALBYTES>` +
	`<IMAGE INDEX="1">` +
	`<DIRCOUNT>22519</DIRCOUNT><FILECOUNT>104418</FILECOUNT><TOTALBYTES>18446744073709551615</TOTALBYTES><HARDLINKBYTES>7561289218</HARDLINKBYTES>` +
	`<CREATIONTIME><HIGHPART>0x01DA5A7B</HIGHPART><LOWPART>0x9E27F7D0</LOWPART></CREATIONTIME>` +
	`<LASTMODIFICATIONTIME><HIGHPART>0x019DB1DE</HIGHPART><LOWPART>0xd53e8000</LOWPART></LASTMODIFICATIONTIME>` +
	`<WIMBOOT>0</WIMBOOT>` +
	`<WINDOWS><ARCH>9</ARCH><PRODUCTNAME>Microsoft® Windows® Operating System</PRODUCTNAME><EDITIONID>Education</EDITIONID>` +
	`<INSTALLATIONTYPE>Client</INSTALLATIONTYPE><SERVICINGDATA><GDRDUREVISION>0</GDRDUREVISION><PKEYCONFIGVERSION>10.0.22631.2861;2016-01-01T00:00:00Z</PKEYCONFIGVERSION>` +
	`<IMAGESTATE>IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE</IMAGESTATE></SERVICINGDATA><PRODUCTTYPE>WinNT</PRODUCTTYPE><PRODUCTSUITE>Terminal Server</PRODUCTSUITE><HAL>acpiapic</HAL>` +
	`<LANGUAGES><LANGUAGE>de-DE</LANGUAGE><FALLBACK LANGUAGE="de-DE">en-US</FALLBACK><LANGUAGE>en-US</LANGUAGE><LANGUAGE>fr-FR</LANGUAGE><DEFAULT>de-DE</DEFAULT></LANGUAGES>` +
	`<VERSION><MAJOR>10</MAJOR><MINOR>1</MINOR><BUILD>22631</BUILD><SPBUILD>2861</SPBUILD><SPLEVEL>3</SPLEVEL><BRANCH>ni_release</BRANCH></VERSION>` +
	`<SYSTEMROOT>WINDOWS</SYSTEMROOT></WINDOWS>` +
	`<NAME>Windows 11 Education</NAME><DESCRIPTION>Windows 11 Education, beschrieben</DESCRIPTION><FLAGS>EducationFlag</FLAGS>` +
	`<DISPLAYNAME>Windows 11 für Schulen 🎓</DISPLAYNAME><DISPLAYDESCRIPTION>A &amp; B &lt;c&gt; &#x263A;</DISPLAYDESCRIPTION>` +
	`<WIMCAST><UPDATES> KB5031455/stage/2026-11-26` + "\n" + ` drivers/overlay/2026-11-27</UPDATES><PARENT>ab12</PARENT><RUN>R1</RUN></WIMCAST>` +
	`</IMAGE>` +
	`<IMAGE INDEX="2"><NAME>Files</NAME></IMAGE>` +
	`</WIM>`

func TestMediaXML(t *testing.T) {
	b, _ := sample{images: 2, xml: mediaXML}.build()
	want := []Image{
		{
			Index: 1, Name: "Windows 11 Education", Description: "Windows 11 Education, beschrieben",
			DisplayName: "Windows 11 für Schulen 🎓", DisplayDescription: "A & B <c> ☺",
			Flags: "EducationFlag", EditionID: "Education", InstallationType: "Client",
			ProductName: "Microsoft® Windows® Operating System", ProductType: "WinNT", ProductSuite: "Terminal Server", HAL: "acpiapic", SystemRoot: "WINDOWS",
			Architecture: 9, HasArchitecture: true,
			Version:   Version{10, 1, 22631, 2861, 3},
			Languages: []string{"de-DE", "en-US", "fr-FR"}, DefaultLanguage: "de-DE",
			TotalBytes: 1<<64 - 1, HardLinkBytes: 7_561_289_218, Directories: 22_519, Files: 104_418,
			Created:  time.Date(2024, 2, 8, 10, 43, 14, 174_766_400, time.UTC),
			Modified: time.Unix(0, 0).UTC(),
			Serviced: Serviced{Updates: []string{"KB5031455/stage/2026-11-26", "drivers/overlay/2026-11-27"}, Parent: "ab12", Run: "R1"},
		},
		{Index: 2, Name: "Files"},
	}
	if got := mustOpen(t, b).Images; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	// No field of Image is left out above.
	v := reflect.ValueOf(want[0])
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s isn't tested", v.Type().Field(i).Name)
		}
	}
	if got := want[0].Version.String(); got != "10.1.22631.2861" {
		t.Error(got)
	}
	if got := want[1].Version.String(); got != "" {
		t.Error(got)
	}
}

func TestEdition(t *testing.T) {
	for _, c := range []struct {
		image Image
		want  string
	}{
		{Image{}, ""},
		{Image{Flags: "9"}, "9"},
		{Image{EditionID: "Education"}, "Education"},
		{Image{EditionID: "Education", Flags: "Professional"}, "Education"},
	} {
		if got := c.image.Edition(); got != c.want {
			t.Errorf("%+v: %q", c.image, got)
		}
	}
}

func TestArchitecture(t *testing.T) {
	for a, want := range map[Architecture]string{0: "x86", 5: "arm", 6: "ia64", 9: "x64", 12: "arm64", 1: "arch(1)", 65535: "arch(65535)"} {
		if got := a.String(); got != want {
			t.Errorf("%d: %s, want %s", a, got, want)
		}
	}
}

// one returns the only image of a file whose XML has the elements in it.
func one(t *testing.T, elements string) Image {
	t.Helper()
	b, _ := sample{images: 1, xml: `<WIM><IMAGE INDEX="1">` + elements + `</IMAGE></WIM>`}.build()
	return mustOpen(t, b).Images[0]
}

func TestNumbers(t *testing.T) {
	for s, want := range map[string]uint64{
		"": 0, "0": 0, "7": 7, "007": 7, "0022631": 22631, "\n 12\t": 12, "0x10": 16, "0X1f": 31, "18446744073709551615": 1<<64 - 1,
		"18446744073709551616": 0, "-1": 0, "+1": 0, "1_000": 0, "0b11": 0, "0o17": 0, "1e3": 0, "0x": 0, "0x-1": 0, "ten": 0, "１２": 0, "1<!-- -->2": 12,
	} {
		if got := one(t, "<TOTALBYTES>"+s+"</TOTALBYTES>").TotalBytes; got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
	// What doesn't fit isn't cut to what does.
	for s, want := range map[string]uint32{"4294967295": 1<<32 - 1, "4294967296": 0, "4294967306": 0} {
		if got := one(t, "<WINDOWS><VERSION><MAJOR>"+s+"</MAJOR></VERSION></WINDOWS>").Version.Major; got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
	for s, want := range map[string]struct {
		arch Architecture
		has  bool
	}{"0": {0, true}, "12": {12, true}, "65535": {65535, true}, "65545": {0, false}, "": {0, false}, "amd64": {0, false}} {
		if got := one(t, "<WINDOWS><ARCH>"+s+"</ARCH></WINDOWS>"); got.Architecture != want.arch || got.HasArchitecture != want.has {
			t.Errorf("%q: %s, %t", s, got.Architecture, got.HasArchitecture)
		}
	}
}

func TestFileTime(t *testing.T) {
	for _, c := range []struct{ high, low, want string }{
		{"0x019DB1DE", "0xD53E8000", "1970-01-01T00:00:00Z"},
		{"0x019DB1DE", "0xD53E8001", "1970-01-01T00:00:00.0000001Z"},
		{"0x019DB1DE", "0xD53E7FFF", "1969-12-31T23:59:59.9999999Z"},
		{"27111902", "3577643008", "1970-01-01T00:00:00Z"}, // the same in decimal
		{"0x01BF53EB", "0x256D4000", "2000-01-01T00:00:00Z"},
		{"0", "1", "1601-01-01T00:00:00.0000001Z"},
		{"1", "0", "1601-01-01T00:07:09.4967296Z"},
		{"0x24C85A5E", "0xD1C03FFF", "9999-12-31T23:59:59.9999999Z"},
		{"0x24C85A5E", "0xD1C04000", ""}, // year 10000
		{"0x7fffffff", "0xffffffff", ""},
		{"0x80000000", "0", ""}, // negative
		{"0xffffffff", "0xffffffff", ""},
		{"0x100000000", "0", ""},
		{"1", "0x100000000", ""},
		{"0", "0", ""},
		{"0x019DB1DE", "", ""},
		{"", "0xD53E8000", ""},
		{"yesterday", "0xD53E8000", ""},
		{"0x019DB1DE", "late", ""},
	} {
		image := one(t, "<CREATIONTIME><LOWPART>"+c.low+"</LOWPART><HIGHPART>"+c.high+"</HIGHPART></CREATIONTIME>")
		var want time.Time
		if c.want != "" {
			want, _ = time.Parse(time.RFC3339Nano, c.want)
		}
		if !image.Created.Equal(want) || image.Created.Location() != time.UTC || !image.Modified.IsZero() {
			t.Errorf("%s %s: %v, want %q", c.high, c.low, image.Created, c.want)
		}
		if _, err := json.Marshal(image); err != nil {
			t.Errorf("%s %s: %v", c.high, c.low, err)
		}
	}
}

// TestXMLVariants has what is odd and all right, or wrong.
func TestXMLVariants(t *testing.T) {
	const image1 = `<IMAGE INDEX="1"><NAME>a</NAME></IMAGE>`
	for name, c := range map[string]struct {
		xml   string
		count int
		names string // "" for refused
	}{
		"plain":                 {"<WIM>" + image1 + "</WIM>", 1, "a"},
		"no image":              {"<WIM/>", 0, "none"},
		"declaration":           {`<?xml version="1.0" encoding="UTF-16"?>` + "<WIM>" + image1 + "</WIM>", 1, "a"},
		"comment, blanks":       {"\r\n<!-- by hand --> <WIM>\r\n\t" + image1 + "<!-- --></WIM>\r\n", 1, "a"},
		"NUL at the end":        {"<WIM>" + image1 + "</WIM>\x00\x00", 1, "a"},
		"attributes":            {`<WIM xmlns="x" a="b">` + image1 + "</WIM>", 1, "a"},
		"any order":             {`<WIM><IMAGE INDEX="2"><NAME>b</NAME></IMAGE>` + image1 + "</WIM>", 2, "a b"},
		"image deeper":          {"<WIM>" + image1 + "<ESD>" + image1 + "</ESD></WIM>", 1, "a"},
		"CDATA":                 {`<WIM><IMAGE INDEX="1"><NAME><![CDATA[<&>]]></NAME></IMAGE></WIM>`, 1, "<&>"},
		"surrogates":            {`<WIM><IMAGE INDEX="1"><NAME>` + "\U0001F5A5" + `</NAME></IMAGE></WIM>`, 1, "\U0001F5A5"},
		"blank":                 {"  ", 0, ""},
		"text":                  {"Windows", 0, ""},
		"other root":            {"<IMG>" + image1 + "</IMG>", 1, ""},
		"end missing":           {"<WIM>" + image1, 1, ""},
		"ends in a tag":         {"<WIM>" + image1 + "</WI", 1, ""},
		"wrong end":             {"<WIM>" + image1 + "</IMAGE>", 1, ""},
		"NUL inside":            {"<WIM>" + image1 + "\x00</WIM>", 1, ""},
		"control character":     {"<WIM>\x01" + image1 + "</WIM>", 1, ""},
		"index missing":         {"<WIM><IMAGE/></WIM>", 1, ""},
		"index 0":               {`<WIM><IMAGE INDEX="0"/></WIM>`, 1, ""},
		"index 2":               {`<WIM><IMAGE INDEX="2"/></WIM>`, 1, ""},
		"index negative":        {`<WIM><IMAGE INDEX="-1"/></WIM>`, 1, ""},
		"index wide":            {`<WIM><IMAGE INDEX="4294967297"/></WIM>`, 1, ""},
		"index 2^64+1":          {`<WIM><IMAGE INDEX="18446744073709551617"/></WIM>`, 1, ""},
		"index twice":           {"<WIM>" + image1 + image1 + "</WIM>", 2, ""},
		"one more":              {"<WIM>" + image1 + `<IMAGE INDEX="2"/></WIM>`, 1, ""},
		"one less":              {"<WIM>" + image1 + "</WIM>", 2, ""},
		"entity of its own":     {`<!DOCTYPE WIM [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><WIM><IMAGE INDEX="1"><NAME>&b;</NAME></IMAGE></WIM>`, 1, ""},
		"external entity":       {`<!DOCTYPE WIM [<!ENTITY x SYSTEM "file:///etc/passwd">]><WIM><IMAGE INDEX="1"><NAME>&x;</NAME></IMAGE></WIM>`, 1, ""},
		"deep":                  {"<WIM>" + strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth) + "</WIM>", 0, ""},
		"as deep as may be":     {"<WIM>" + strings.Repeat("<a>", maxDepth-1) + strings.Repeat("</a>", maxDepth-1) + "</WIM>", 0, "none"},
		"deep in an image":      {`<WIM><IMAGE INDEX="1">` + strings.Repeat("<a>", maxDepth) + strings.Repeat("</a>", maxDepth) + "</IMAGE></WIM>", 1, ""},
		"many attributes":       {"<WIM" + strings.Repeat(` a=""`, maxAttributes+1) + "/>", 0, ""},
		"attributes at a bound": {"<WIM" + strings.Repeat(` a=""`, maxAttributes) + "/>", 0, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := sample{images: c.count, xml: c.xml}.build()
			f, err := open(b)
			if c.names == "" {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%v, want %v", err, ErrDamaged)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for i, image := range f.Images {
				if image.Index != i+1 {
					t.Errorf("image %d has the index %d", i+1, image.Index)
				}
				names = append(names, image.Name)
			}
			if got := strings.Join(names, " "); got != strings.TrimPrefix(c.names, "none") {
				t.Errorf("images %q, want %q", got, c.names)
			}
		})
	}
}

// TestUTF16 holds the decoding of what isn't UTF-16, unit by unit.
func TestUTF16(t *testing.T) {
	for name, c := range map[string]struct {
		b    string
		want string
		ok   bool
	}{
		"nothing":             {"", "", false},
		"half a mark":         {"\xff", "", false},
		"mark alone":          {"\xff\xfe", "", true},
		"big endian":          {"\xfe\xff\x00a", "", false},
		"no mark":             {"a\x00", "", false},
		"odd":                 {"\xff\xfea", "", false},
		"letter":              {"\xff\xfea\x00", "a", true},
		"second mark":         {"\xff\xfe\xff\xfe", "\ufeff", true},
		"pair":                {"\xff\xfe\x3d\xd8\xa5\xdd", "\U0001F5A5", true},
		"high alone":          {"\xff\xfe\x3d\xd8", "\ufffd", true},
		"high and letter":     {"\xff\xfe\x3d\xd8a\x00", "\ufffda", true},
		"low alone":           {"\xff\xfe\xa5\xdda\x00", "\ufffda", true},
		"wrong way round":     {"\xff\xfe\xa5\xdd\x3d\xd8", "\ufffd\ufffd", true},
		"high, high and low":  {"\xff\xfe\x3d\xd8\x3d\xd8\xa5\xdd", "\ufffd\U0001F5A5", true},
		"largest of one unit": {"\xff\xfe\xff\xff", "\uffff", true},
	} {
		got, err := decodeUTF16([]byte(c.b))
		if string(got) != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestXMLBombs has as much XML as may be, of what costs most.
func TestXMLBombs(t *testing.T) {
	full := func(begin, piece, end string) string {
		return begin + strings.Repeat(piece, (maxXML/2-1-len(begin)-len(end))/len(piece)) + end
	}
	for name, xml := range map[string]string{
		"images":     full("<WIM>", "<IMAGE/>", "</WIM>"),
		"depth":      full("<WIM>", "<a>", ""),
		"attributes": full("<WIM", ` a=""`, "/>"),
		"languages":  full(`<WIM><IMAGE INDEX="1"><WINDOWS><LANGUAGES>`, "<LANGUAGE/>", "</LANGUAGES></WINDOWS></IMAGE></WIM>"),
		"names":      full(`<WIM><IMAGE INDEX="1">`, "<NAME/>", "</IMAGE></WIM>"),
		"long name":  full("<", "a", "></b>"),
		"long index": full(`<WIM><IMAGE INDEX="`, "1", `"/></WIM>`),
		"entity":     full("<WIM>&", "a", ";</WIM>"),
		"text":       full(`<WIM><IMAGE INDEX="1"><NAME>`, "ａ", "</NAME></IMAGE></WIM>"),
		"comment":    full("<!--", "a", "--><WIM/>"),
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := sample{images: 1, xml: xml}.build()
			took := allocated(func() {
				_, err := open(b)
				known(t, err)
			})
			if took > 256<<20 {
				t.Errorf("took %d MiB", took>>20)
			}
			t.Logf("took %d MiB", took>>20)
		})
	}
	b, _ := sample{images: 1, xml: strings.Repeat(" ", maxXML/2) + "<WIM/>"}.build()
	if _, err := open(b); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}
