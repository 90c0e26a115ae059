// Package docs reads what a reader of the pages would type: README.md and docs/*.md,
// block by block. It knows Markdown as far as these pages use it, and runs nothing.
//
// A block is commands if it is indented by four columns or more, or fenced as sh.
// Every line of it is a command, but that
//
//   - a line which is indented further than the block belongs to the command above it, as does one behind a backslash;
//   - where a line begins with a prompt, "$ " or "name$ ", only lines with one are commands, and the rest is what they print.
//
// "# " before a command is root's prompt, "name$ " says on which machine it is typed.
// Blocks fenced as bat or powershell are commands of Windows. What is fenced as anything
// else is no command: files, screens, byte layouts.
//
// A comment of its own line just above a block, <!-- ... -->, is the block's note.
package docs

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Block is an indented or fenced block of a page.
type Block struct {
	Line int    // of its first line of text, from 1 on
	Lang string // sh for an indented one, else the word behind the fence
	Note string // of the comment above it, without its marks
	Text string // its lines without their common indentation
}

// Command is something to type.
type Command struct {
	Line  int    // in the page, from 1 on
	Place string // the word before the prompt, "" where there is none
	Root  bool   // the prompt is root's
	Text  string // without prompt; several lines where it has them
}

var (
	prompt  = regexp.MustCompile(`^([a-z][a-z0-9-]*)?(\$)\s+(.*)$`)
	note    = regexp.MustCompile(`^\s*<!--\s*(.*?)\s*-->\s*$`)
	fence   = regexp.MustCompile("^( *)(```+)\\s*([A-Za-z0-9]*)\\s*$")
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	span    = regexp.MustCompile("`[^`]*`")
)

// indented is how many columns make a line code.
const indented = 4

// Blocks returns the blocks of a page in their order. An unclosed fence is an error.
func Blocks(page string) ([]Block, error) {
	var found []Block
	lines := strings.Split(page, "\n")
	above := "" // the note that stands directly above
	for i := 0; i < len(lines); {
		line := lines[i]
		if m := note.FindStringSubmatch(line); m != nil {
			above = m[1]
			i++
			continue
		}
		if m := fence.FindStringSubmatch(line); m != nil {
			end := i + 1
			for end < len(lines) && strings.TrimSpace(lines[end]) != m[2] {
				end++
			}
			if end == len(lines) {
				return nil, fmt.Errorf("line %d: a fence that nothing closes", i+1)
			}
			found = append(found, Block{Line: i + 2, Lang: m[3], Note: above, Text: flush(lines[i+1 : end])})
			above, i = "", end+1
			continue
		}
		if columns(line) >= indented && (i == 0 || strings.TrimSpace(lines[i-1]) == "" || note.MatchString(lines[i-1])) {
			end := i
			for j := i; j < len(lines) && (columns(lines[j]) >= indented || strings.TrimSpace(lines[j]) == ""); j++ {
				if strings.TrimSpace(lines[j]) != "" {
					end = j + 1 // blank lines at the end are none of it
				}
			}
			found = append(found, Block{Line: i + 1, Lang: "sh", Note: above, Text: flush(lines[i:end])})
			above, i = "", end
			continue
		}
		if strings.TrimSpace(line) != "" {
			above = ""
		}
		i++
	}
	return found, nil
}

// Commands returns what of the block is typed, nil where it is no commands.
func (b Block) Commands() []Command {
	switch b.Lang {
	case "sh", "bat", "powershell":
	default:
		return nil
	}
	lines := strings.Split(b.Text, "\n")
	prompts := false
	for _, line := range lines {
		prompts = prompts || prompt.MatchString(line)
	}
	var typed []Command
	open := false // what comes next belongs to the command above
	for i, line := range lines {
		at := b.Line + i
		if strings.TrimSpace(line) == "" {
			open = false
			continue
		}
		if last := len(typed) - 1; last >= 0 && open && (columns(line) > 0 || b.Lang == "sh" && strings.HasSuffix(typed[last].Text, `\`)) {
			typed[last].Text += "\n" + line
			continue
		}
		if m := prompt.FindStringSubmatch(line); m != nil {
			typed = append(typed, Command{Line: at, Place: m[1], Text: m[3]})
			open = strings.HasSuffix(line, `\`)
			continue
		}
		if prompts {
			open = false
			continue // printed
		}
		text, root := strings.CutPrefix(line, "# ")
		typed = append(typed, Command{Line: at, Root: root, Text: text})
		open = true
	}
	return typed
}

// Anchors returns the names under which a page's headings can be linked to, as GitHub makes them.
func Anchors(page string) map[string]bool {
	anchors := map[string]bool{}
	for _, line := range prose(page) {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127 && unicode.IsLetter(r):
				b.WriteRune(r)
			}
		}
		name := b.String()
		for n := 1; anchors[name]; n++ {
			name = fmt.Sprintf("%s-%d", b.String(), n)
		}
		anchors[name] = true
	}
	return anchors
}

// Links returns the targets of a page's links, those in blocks and code spans left out.
func Links(page string) []string {
	var targets []string
	for _, line := range prose(page) {
		for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(line, ""), -1) {
			targets = append(targets, m[1])
		}
	}
	return targets
}

// prose returns the lines outside of fenced blocks.
func prose(page string) []string {
	var lines []string
	closing := ""
	for line := range strings.SplitSeq(page, "\n") {
		if closing != "" {
			if strings.TrimSpace(line) == closing {
				closing = ""
			}
			continue
		}
		if m := fence.FindStringSubmatch(line); m != nil {
			closing = m[2]
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// columns returns how far a line is indented.
func columns(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// flush takes the common indentation off.
func flush(lines []string) string {
	least := -1
	for _, line := range lines {
		if strings.TrimSpace(line) != "" && (least < 0 || columns(line) < least) {
			least = columns(line)
		}
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		if strings.TrimSpace(line) != "" {
			out[i] = strings.TrimRight(line[least:], " ")
		}
	}
	return strings.Join(out, "\n")
}
