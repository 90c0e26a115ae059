package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"wimcast/api"
)

// kindText is what kind of file a package is, in one word.
func kindText(i *api.Image) string {
	switch {
	case i.Pipable:
		return "pipable"
	case i.Solid:
		return "ESD"
	}
	return "WIM"
}

// fields writes lines of a name and a value; those without a value are left out.
func fields(w io.Writer, indent string, pairs ...string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(t, "%s%s\t%s\n", indent, pairs[i], pairs[i+1])
		}
	}
	_ = t.Flush()
}

// showImage writes all that is known of a package.
func showImage(w io.Writer, p *api.Image) {
	state := "in service"
	if p.OutOfService != "" {
		state = "OUT OF SERVICE: " + printable(p.OutOfService)
	}
	kind := kindText(p) + ", " + p.Compression
	if note := appliesNote(p); note != "" {
		kind += "; " + note
	}
	source := printable(p.Source)
	if p.SourceIndex > 0 {
		source += fmt.Sprintf(", image %d of it alone", p.SourceIndex)
	}
	integrity := "it had none"
	if p.IntegrityChecked {
		integrity = "it held when it was added"
	}
	fields(w, "", "name", printable(p.Name), "version", printable(p.Version), "comment", printable(p.Comment), "size", fmt.Sprintf("%s (%d bytes)", bytesText(float64(p.Size)), p.Size),
		"kind", kind, "flags", flagsText(p), "state", state, "added", p.Added.Local().Format(time.DateTime), "validated", shown(p.Validated, time.DateTime, true),
		"source", source, "refilled from", printable(p.SourceAgain), "integrity table", integrity, "digest", p.Digest, "SHA-256", p.SHA256)
	for i := range p.Images {
		showInside(w, &p.Images[i])
	}
}

// showInside writes all that the XML knows of an image.
func showInside(w io.Writer, i *api.ImageInfo) {
	_, _ = fmt.Fprintf(w, "\nimage %d: %s\n", i.Index, printable(i.Name))
	languages := strings.Join(i.Languages, " ")
	if i.DefaultLanguage != "" {
		languages += " (default " + i.DefaultLanguage + ")"
	}
	flags := i.Flags
	if flags == i.Edition {
		flags = ""
	}
	servicing := ""
	if i.ServicePackBuild > 0 || i.ServicePackLevel > 0 {
		servicing = fmt.Sprintf("%d, level %d", i.ServicePackBuild, i.ServicePackLevel)
	}
	build := ""
	if i.Build > 0 {
		build = fmt.Sprint(i.Build)
	}
	hard, inside := "", ""
	if i.HardLinkBytes > 0 {
		hard = bytesText(float64(i.HardLinkBytes)) + " of it by hard links"
	}
	if i.Directories+i.Files > 0 {
		inside = fmt.Sprintf("%d directories, %d files", i.Directories, i.Files)
	}
	fields(w, "  ", "description", printable(i.Description), "shown as", printable(i.DisplayName), "", printable(i.DisplayDescription),
		"edition", printable(i.Edition), "flags", printable(flags), "installation type", printable(i.InstallationType),
		"product", printable(i.ProductName), "product type", printable(i.ProductType), "product suite", printable(i.ProductSuite), "HAL", printable(i.HAL), "system root", printable(i.SystemRoot),
		"architecture", i.Architecture, "version", i.Version, "build", build, "service pack build", servicing, "languages", printable(languages),
		"unpacked", strings.TrimSuffix(bytesText(float64(i.TotalBytes))+", "+hard, ", "), "holds", inside,
		"created", shown(i.Created, time.DateTime, false), "modified", shown(i.Modified, time.DateTime, false))
}

// shown writes a time, in local time or UTC; "" where there is none.
func shown(t time.Time, layout string, local bool) string {
	switch {
	case t.IsZero():
		return ""
	case local:
		return t.Local().Format(layout)
	}
	return t.UTC().Format(layout) + " UTC"
}
