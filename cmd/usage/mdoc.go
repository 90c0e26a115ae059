package usage

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// document is a manual page in mdoc(7), which groff and mandoc read.
type document struct{ strings.Builder }

func (d *document) head(date time.Time, name string, section int, brief string) {
	d.macro("Dd", date.Format("January 2, 2006"))
	d.macro("Dt", strings.ToUpper(name), fmt.Sprint(section))
	d.macro("Os")
	d.macro("Sh", "NAME")
	d.macro("Nm", word(name))
	d.macro("Nd", word(strings.TrimSuffix(brief, ".")))
}

// macro writes one; its arguments are macros, or text that went through word.
func (d *document) macro(args ...string) { d.WriteString("." + strings.Join(args, " ") + "\n") }

// text writes a paragraph. A sentence begins on a line of its own: what formats the
// page puts the space between them.
func (d *document) text(paragraph string) {
	paragraph = strings.Join(strings.Fields(paragraph), " ")
	for sentence := range strings.SplitSeq(sentenceEnd.ReplaceAllString(paragraph, "$1\n"), "\n") {
		line := ""
		for word := range strings.FieldsSeq(escape(sentence)) {
			if line != "" && len(line)+1+len(word) > widest {
				d.line(line)
				line = ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		if line != "" {
			d.line(line)
		}
	}
}

// widest is the longest line of text in the source of a page, in bytes, as mandoc's
// lint wants it, less one for a mark.
const widest = 78

// line writes one of text, which isn't taken for a macro.
func (d *document) line(line string) {
	if line == "" || strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	d.WriteString(line + "\n")
}

// verbatim writes lines as they are.
func (d *document) verbatim(lines []string) {
	d.macro("Bd", "-literal", "-offset", "indent", "-compact")
	for _, line := range lines {
		d.line(escape(line))
	}
	d.macro("Ed")
}

// sentenceEnd is where the one ends and the next may begin.
var sentenceEnd = regexp.MustCompile(`([.!?][)"']*) `)

// escape has text taken as it is: hyphens stay hyphens when they are copied.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `…`, `...`, `–`, `\(en`, `→`, `\(->`, `×`, `\(mu`, `≥`, `\(>=`, `≤`, `\(<=`).Replace(text)
}

// word makes one argument of a macro of any text.
func word(text string) string {
	return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"`
}
