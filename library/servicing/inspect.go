package servicing

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// found is what a file says of itself; what it doesn't say is empty.
type found struct {
	kind         Kind
	id, title    string
	architecture string
	build        uint32
	identity     *Identity
	payload      string
}

// learn takes what one source says; two that contradict each other are an error.
func (f *found) learn(source string, id, architecture string) error {
	id = canonicalID(id)
	if f.id != "" && id != "" && f.id != id {
		return fmt.Errorf("it says %s, and its %s says %s; next: download it again", f.id, source, id)
	}
	if f.architecture != "" && architecture != "" && f.architecture != architecture {
		return fmt.Errorf("it says %s, and its %s says %s; next: download it again", f.architecture, source, architecture)
	}
	if f.id == "" {
		f.id = id
	}
	if f.architecture == "" {
		f.architecture = architecture
	}
	return nil
}

// Magic numbers of what packages come in.
const (
	wimMagic = "MSWIM\x00\x00\x00"
	maxMagic = 8
)

// inspect reads what a file says of itself. name is what it was called.
func inspect(ctx context.Context, file, name string, overlay bool) (found, error) {
	if overlay {
		return found{kind: Overlay}, inspectTree(file)
	}
	f, err := os.Open(file)
	if err != nil {
		return found{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return found{}, err
	}
	magic := make([]byte, maxMagic)
	n, _ := f.ReadAt(magic, 0)
	var out found
	switch {
	case bytes.HasPrefix(magic[:n], []byte(cabMagic)):
		out, err = inspectCab(ctx, f, info.Size(), file)
	case bytes.Equal(magic[:n], []byte(wimMagic)):
		out, err = inspectWIM(ctx, f, info.Size(), file)
	default:
		return found{}, errors.New("neither an .msu nor a .cab: it begins with other bytes; a folder of files is an overlay: wimcast overlay add FOLDER --id NAME")
	}
	if err != nil {
		return found{}, err
	}
	id, architecture := fromName(name)
	return out, out.learn("name", id, architecture)
}

// Names as Microsoft gives them: windows11.0-kb5031455-x64_6b5e4b6....msu.
var (
	updateName = regexp.MustCompile(`(?i)^windows[0-9.]+-(kb[0-9]{4,10})(?:-v[0-9]+)?-(x64|x86|arm64|ia64)(?:[-_.]|$)`)
	nameSHA1   = regexp.MustCompile(`(?i)_([0-9a-f]{40})\.(?:msu|cab)$`)
	stackName  = regexp.MustCompile(`(?i)^ssu-([0-9]{5})\.[0-9]+-(x64|x86|arm64)\.cab$`)
)

func fromName(name string) (id, architecture string) {
	if m := updateName.FindStringSubmatch(name); m != nil {
		return strings.ToUpper(m[1]), strings.ToLower(m[2])
	}
	return "", ""
}

// sha1InName returns the SHA-1 that Microsoft puts into the name of a download; "" where there is none.
func sha1InName(name string) string {
	if m := nameSHA1.FindStringSubmatch(name); m != nil {
		return strings.ToLower(m[1])
	}
	return ""
}

// inspectWIM reads an .msu of the newer form: the names in it say what it is.
func inspectWIM(ctx context.Context, r io.ReaderAt, size int64, file string) (found, error) {
	w, err := wim.Open(r, size)
	if err != nil {
		return found{}, err
	}
	if len(w.Images) != 1 {
		return found{}, fmt.Errorf("an .msu is a WIM with one image, and this one has %d; an image to cast is added by wimcast image add FILE", len(w.Images))
	}
	paths, err := wimlib.Dir(ctx, file, 1, "/")
	if err != nil {
		return found{}, err
	}
	f := found{kind: MSU, payload: ""}
	packages := 0
	for _, p := range paths {
		base := path.Base(p)
		if m := stackName.FindStringSubmatch(base); m != nil {
			build, _ := strconv.ParseUint(m[1], 10, 32)
			f.build = uint32(build)
			if err := f.learn("servicing stack", "", strings.ToLower(m[2])); err != nil {
				return found{}, err
			}
		}
		id, architecture := fromName(base)
		if id == "" {
			continue
		}
		packages++
		if err := f.learn("content", id, architecture); err != nil {
			return found{}, err
		}
	}
	if packages == 0 {
		return found{}, errors.New("a WIM, but not an .msu: no package of Windows is in it; an image to cast is added by wimcast image add FILE")
	}
	return f, nil
}

// inspectCab reads an .msu of the older form, which is a cabinet with a package, its properties and its servicing
// XML, or the package itself, a cabinet with update.mum.
func inspectCab(ctx context.Context, r io.ReaderAt, size int64, file string) (found, error) {
	names, err := cabNames(r, size)
	if err != nil {
		return found{}, err
	}
	if slices.Contains(names, "update.mum") {
		f := found{kind: CAB}
		return f, f.readManifest(ctx, file, "update.mum")
	}
	f := found{kind: MSU}
	properties, description := "", ""
	for _, name := range names {
		lower := strings.ToLower(name)
		id, architecture := fromName(name)
		switch {
		case strings.HasSuffix(lower, "-pkgproperties.txt"):
			properties = name
		case strings.HasSuffix(lower, ".xml") && id != "":
			description = name
		case strings.HasSuffix(lower, ".cab") && id != "":
			f.payload = name
		}
		if id != "" {
			if err := f.learn("content", id, architecture); err != nil {
				return found{}, err
			}
		}
	}
	if f.payload == "" && properties == "" {
		return found{}, errors.New("a cabinet, but neither an .msu nor a package of Windows: neither a package nor update.mum is in it")
	}
	if properties != "" {
		if err := f.readProperties(ctx, file, properties); err != nil {
			return found{}, err
		}
	}
	if description != "" {
		if err := f.readDescription(ctx, file, description); err != nil {
			return found{}, err
		}
	}
	return f, nil
}

// assemblyIdentity is the XML element.
type assemblyIdentity struct {
	Name           string `xml:"name,attr"`
	Version        string `xml:"version,attr"`
	Architecture   string `xml:"processorArchitecture,attr"`
	PublicKeyToken string `xml:"publicKeyToken,attr"`
	Language       string `xml:"language,attr"`
}

// identityForm is what each part of an identity looks like: it goes on into an answer file.
var identityForm = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,200}$`)

// identity takes an identity as it stands, or nothing where a part of it is missing or odd.
func (f *found) takeIdentity(a assemblyIdentity) error {
	if a.Language == "" {
		a.Language = "neutral"
	}
	for _, part := range []string{a.Name, a.Version, a.Architecture, a.PublicKeyToken, a.Language} {
		if !identityForm.MatchString(part) {
			return fmt.Errorf("its assemblyIdentity has the part %.80q, which can't be", part)
		}
	}
	f.identity = &Identity{Name: a.Name, Version: a.Version, Architecture: a.Architecture, PublicKeyToken: a.PublicKeyToken, Language: a.Language}
	if first, _, _ := strings.Cut(a.Version, "."); a.Name == rollup {
		build, _ := strconv.ParseUint(first, 10, 32)
		f.build = uint32(build)
	}
	return f.learn("identity", strings.ToUpper(kbInName.FindString(a.Name)), architectureOf(a.Architecture))
}

// architectureOf turns servicing's word for an architecture into ours.
func architectureOf(s string) string {
	s = strings.ToLower(s)
	if s == "amd64" {
		return "x64"
	}
	if slices.Contains(architectures, s) {
		return s
	}
	return ""
}

// readManifest reads update.mum: <assembly ...><assemblyIdentity/><package identifier="KB5031455">.
func (f *found) readManifest(ctx context.Context, file, name string) error {
	text, err := readCab(ctx, file, name)
	if errors.Is(err, errNoCabextract) {
		return nil // its name may say enough, or people do
	}
	if err != nil {
		return err
	}
	var m struct {
		DisplayName string           `xml:"displayName,attr"`
		Identity    assemblyIdentity `xml:"assemblyIdentity"`
		Package     struct {
			Identifier string `xml:"identifier,attr"`
		} `xml:"package"`
	}
	if err := decodeXML(text, &m); err != nil {
		return fmt.Errorf("its update.mum: %w", err)
	}
	if err := f.takeIdentity(m.Identity); err != nil {
		return err
	}
	if checkText("title", m.DisplayName, maxTitle) == nil && m.DisplayName != "default" {
		f.title = m.DisplayName
	}
	return f.learn("package element", strings.ToUpper(kbInName.FindString(m.Package.Identifier)), "")
}

// readDescription reads the XML beside the package in an .msu, which is an answer file that installs it.
func (f *found) readDescription(ctx context.Context, file, name string) error {
	text, err := readCab(ctx, file, name)
	if errors.Is(err, errNoCabextract) {
		return nil
	}
	if err != nil {
		return err
	}
	var answers struct {
		Packages []struct {
			Identity assemblyIdentity `xml:"assemblyIdentity"`
		} `xml:"servicing>package"`
	}
	if err := decodeXML(text, &answers); err != nil {
		return fmt.Errorf("its %s: %w", name, err)
	}
	if len(answers.Packages) != 1 {
		return nil // it isn't about this package alone
	}
	return f.takeIdentity(answers.Packages[0].Identity)
}

// property is a line of *-pkgProperties.txt: Processor Architecture="amd64".
var property = regexp.MustCompile(`(?m)^([A-Za-z ]+)="([^"\r\n]*)"`)

// readProperties reads the list of properties in an .msu.
func (f *found) readProperties(ctx context.Context, file, name string) error {
	text, err := readCab(ctx, file, name)
	if errors.Is(err, errNoCabextract) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range property.FindAllSubmatch(text, -1) {
		value := string(m[2])
		switch string(m[1]) {
		case "KB Article Number":
			if err := f.learn("properties", "KB"+strings.TrimPrefix(strings.ToUpper(value), "KB"), ""); err != nil {
				return err
			}
		case "Processor Architecture":
			if err := f.learn("properties", "", architectureOf(value)); err != nil {
				return err
			}
		case "Applies to":
			if checkText("title", value, maxTitle) == nil && value != "" {
				f.title = "for " + value
			}
		}
	}
	return nil
}

// decodeXML reads a small XML text, in whatever encoding it says that it is.
func decodeXML(text []byte, into any) error {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("it doesn't parse: %.200q", err.Error())
	}
	return nil
}

// Bounds of an overlay.
const (
	maxTreeEntries = 200_000
	maxTreePath    = 1024 // bytes
)

// inspectTree holds the archive of an overlay: files and folders only, and no path that leads out of it.
func inspectTree(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	files := 0
	err = walkTree(f, func(h *tar.Header, _ string, r io.Reader) error {
		if h.Typeflag == tar.TypeReg {
			files++
		}
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err == nil && files == 0 {
		err = errors.New("there is no file in it")
	}
	return err
}

// walkTree visits an archive's files and folders. name is a clean relative path.
func walkTree(r io.Reader, visit func(h *tar.Header, name string, r io.Reader) error) error {
	archive := tar.NewReader(r)
	for entries := 0; ; entries++ {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a tar archive, or a damaged one: %w", err)
		}
		name := path.Clean(h.Name)
		switch {
		case entries >= maxTreeEntries:
			return fmt.Errorf("more than %d files and folders", maxTreeEntries)
		case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
			return fmt.Errorf("%.200q is neither a file nor a folder; an overlay has no links and no devices", h.Name)
		case len(name) > maxTreePath || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\"\n\r\x00:*?<>|"):
			return fmt.Errorf("the path %.200q can't stand in an image", h.Name)
		case name == ".":
			continue
		}
		if err := visit(h, name, archive); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}
