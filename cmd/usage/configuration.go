package usage

import (
	"regexp"
	"strings"
	"time"
)

// Lines of the example: a table, and a key with its default, commented out.
var (
	tableLine = regexp.MustCompile(`^\[([a-z_]+)\]$`)
	keyLine   = regexp.MustCompile(`^#([a-z_]+) = (.*)$`)
)

// Configuration is the manual page wimcastd.toml(5), in mdoc(7), from the text of the
// example configuration: paragraphs of comments, tables, and keys behind what is said
// of them. What is said behind the keys of a table is of the table.
func Configuration(example string, date time.Time) string {
	d := &document{}
	d.head(date, "wimcastd.toml", 5, "configuration of the multicast distribution point daemon")
	d.macro("Sh", "DESCRIPTION")
	first := true
	for paragraph := range strings.SplitSeq(example, "\n\n") {
		lines := strings.Split(strings.Trim(paragraph, "\n"), "\n")
		if table := tableLine.FindStringSubmatch(lines[0]); table != nil {
			d.macro("Sh", word("TABLE ["+table[1]+"]")+`\&`) // it ends in punctuation
			first = true
			continue
		}
		if !first {
			d.macro("Pp")
		}
		first = false
		d.paragraph(lines)
	}
	d.macro("Sh", "FILES")
	d.macro("Bl", "-tag", "-width", "Ds")
	d.macro("It", "Pa", "/etc/wimcast/wimcastd.toml")
	d.text("The configuration.")
	d.macro("El")
	d.macro("Sh", "SEE", "ALSO")
	d.macro("Xr", "wimcast", "1", ",")
	d.macro("Xr", "wimcastd", "8")
	return d.String()
}

// paragraph writes what is said, under the key that it is said of; keys that stand
// together share it. Lines behind "#" alone that look like a table are an example.
func (d *document) paragraph(lines []string) {
	var said, keys, sample []string
	for _, line := range lines {
		if key := keyLine.FindStringSubmatch(line); key != nil {
			keys = append(keys, key[1]+" = "+key[2])
			continue
		}
		line = strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
		if len(sample) > 0 || strings.HasPrefix(line, "[") {
			sample = append(sample, line)
			continue
		}
		said = append(said, line)
	}
	if len(keys) > 0 {
		d.macro("Bl", "-tag", "-width", "Ds", "-compact")
		for _, key := range keys {
			d.macro("It", "Ic", word(key))
		}
	}
	for i, part := range strings.Split(strings.Join(said, "\n"), "\n\n") {
		if i > 0 && strings.TrimSpace(part) != "" {
			d.macro("Pp")
		}
		d.text(part)
	}
	if len(sample) > 0 {
		d.verbatim(sample)
	}
	if len(keys) > 0 {
		d.macro("El")
	}
}
