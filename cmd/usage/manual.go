package usage

import (
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Manual is what a manual page has beyond the model.
type Manual struct {
	Section     int
	Description []string       // paragraphs
	Exit        [][2]string    // codes and their meaning
	Files       [][2]string    // paths and what is there
	Signals     [][2]string    // names and what happens
	See         map[string]int // other pages and their sections
}

// Page is the manual page of a program, in mdoc(7).
func Page(app *kong.Application, m Manual, date time.Time) string {
	d := &document{}
	d.head(date, app.Name, m.Section, app.Help)
	d.macro("Sh", "SYNOPSIS")
	d.macro("Nm", word(app.Name))
	d.macro("Op", "Ar", "flags")
	if len(app.Children) > 0 {
		d.macro("Ar", "command")
		d.macro("Op", "Ar", "...")
	}
	d.macro("Sh", "DESCRIPTION")
	for i, paragraph := range m.Description {
		if i > 0 {
			d.macro("Pp")
		}
		d.text(paragraph)
	}
	d.macro("Sh", "OPTIONS")
	if len(app.Children) > 0 {
		d.text("These may stand before or behind every command.")
	}
	d.flags(app.Flags)
	if len(app.Children) > 0 {
		d.macro("Sh", "COMMANDS")
		for _, leaf := range app.Leaves(true) {
			d.command(leaf)
		}
	}
	d.environment(app.Node)
	d.table("FILES", "Pa", m.Files)
	d.table("SIGNALS", "Dv", m.Signals)
	d.table("EXIT STATUS", "Sy", m.Exit)
	if len(m.See) > 0 {
		d.macro("Sh", "SEE ALSO")
		var pages []string
		for name := range m.See {
			pages = append(pages, name)
		}
		slices.SortFunc(pages, func(a, b string) int {
			if m.See[a] != m.See[b] {
				return m.See[a] - m.See[b]
			}
			return strings.Compare(a, b)
		})
		for i, name := range pages {
			args := []string{"Xr", name, string(rune('0' + m.See[name]))}
			if i < len(pages)-1 {
				args = append(args, ",")
			}
			d.macro(args...)
		}
	}
	return d.String()
}

// command writes the section of a command that does something.
func (d *document) command(node *kong.Node) {
	title := []string{node.Path()}
	for _, p := range node.Positional {
		title = append(title, p.Summary())
	}
	d.macro("Ss", word(strings.Join(title, " "))+`\&`) // it may end in punctuation
	d.text(node.Help)
	if node.Detail != "" {
		d.macro("Pp")
		d.text(node.Detail)
	}
	if len(node.Positional) > 0 {
		d.macro("Bl", "-tag", "-width", "Ds")
		for _, p := range node.Positional {
			d.macro("It", "Ar", word(p.Name))
			d.text(p.Help)
			d.choices(p)
		}
		d.macro("El")
	}
	var flags []*kong.Flag
	for n := node; n != nil && n.Type == kong.CommandNode; n = n.Parent {
		flags = append(flags, n.Flags...)
	}
	d.flags(flags)
}

func (d *document) flags(flags []*kong.Flag) {
	shown := slices.DeleteFunc(slices.Clone(flags), func(f *kong.Flag) bool { return f.Hidden || f.Name == "help" && f.Short == 'h' && f.Help == "" })
	if len(shown) == 0 {
		return
	}
	d.macro("Bl", "-tag", "-width", "Ds")
	for _, f := range shown {
		item := []string{"It"}
		if f.Short != 0 {
			item = append(item, "Fl", string(f.Short), ",")
		}
		name := f.Name
		if f.Tag.Negatable != "" {
			name = "[no-]" + name
		}
		item = append(item, "Fl", word("-"+name))
		if !f.IsBool() && !f.IsCounter() {
			item = append(item, "Ns", word("="), "Ns", "Ar", word(f.FormatPlaceHolder()))
		}
		d.macro(item...)
		d.text(f.Help)
		d.choices(f.Value)
		if len(f.Envs) > 0 {
			d.macro("Pq", "Ev", strings.Join(f.Envs, " , Ev "))
		}
	}
	d.macro("El")
}

// choices tells a closed list.
func (d *document) choices(v *kong.Value) {
	if v.Enum != "" {
		words := slices.DeleteFunc(v.EnumSlice(), func(s string) bool { return s == "" })
		d.text("One of: " + strings.Join(words, ", ") + ".")
	}
}

// environment collects the variables that flags are taken from.
func (d *document) environment(root *kong.Node) {
	var rows [][2]string
	seen := map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			for _, env := range f.Envs {
				if !f.Hidden && !seen[env] {
					seen[env] = true
					rows = append(rows, [2]string{env, "Stands for --" + f.Name + "."})
				}
			}
		}
		for _, child := range n.Children {
			if !child.Hidden {
				visit(child)
			}
		}
	}
	visit(root)
	d.table("ENVIRONMENT", "Ev", rows)
}

// table writes a section of things and what they are.
func (d *document) table(section, macro string, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	d.macro("Sh", section)
	d.macro("Bl", "-tag", "-width", "Ds")
	for _, row := range rows {
		d.macro("It", macro, word(row[0]))
		d.text(row[1])
	}
	d.macro("El")
}
