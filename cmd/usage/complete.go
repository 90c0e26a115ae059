package usage

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Candidate is what a word may become.
type Candidate struct{ Word, Help string }

// Complete returns what the last of words, which may be empty, may become; words are
// those behind the program's name, as bash splits them too (--kind, =, os). None means
// that nothing is known of it: a file, a name, a number.
func Complete(root *kong.Node, words []string) []Candidate {
	last := ""
	if len(words) > 0 {
		words, last = words[:len(words)-1], words[len(words)-1]
	}
	if last == "=" { // bash: right behind it
		last = ""
	}
	w := walk{node: root}
	for _, word := range words {
		w.pass(word)
	}
	name, value, assigned := strings.Cut(last, "=")
	switch {
	case w.wants != nil:
		return matching(values(w.wants.Value, ""), last)
	case !w.literal && strings.HasPrefix(last, "--") && assigned:
		if flag := w.flag(name); flag != nil {
			return matching(values(flag.Value, name+"="), name+"="+value)
		}
		return nil
	case !w.literal && strings.HasPrefix(last, "-"):
		return matching(w.flags(), last)
	case len(w.node.Children) > 0:
		return matching(commands(w.node), last)
	case w.position < len(w.node.Positional):
		return matching(values(w.node.Positional[w.position], ""), last)
	}
	return nil
}

// walk is where the words before the last lead to.
type walk struct {
	node     *kong.Node
	wants    *kong.Flag // takes the next word
	position int        // of the next argument
	literal  bool       // behind --
}

func (w *walk) pass(word string) {
	switch {
	case w.wants != nil:
		if word != "=" {
			w.wants = nil
		}
	case !w.literal && word == "--":
		w.literal = true
	case !w.literal && strings.HasPrefix(word, "-") && word != "-":
		if flag := w.flag(word); flag != nil && !flag.IsBool() && !strings.Contains(word, "=") {
			w.wants = flag
		}
	case len(w.node.Children) > 0:
		for _, child := range w.node.Children {
			if child.Name == word || slices.Contains(child.Aliases, word) {
				w.node = child
				return
			}
		}
	default:
		if p := w.node.Positional; w.position < len(p) && !p[w.position].IsCumulative() {
			w.position++
		}
	}
}

// flag finds one by its word, at the command or before it.
func (w *walk) flag(word string) *kong.Flag {
	for _, group := range w.node.AllFlags(false) {
		for _, f := range group {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return f
			}
		}
	}
	return nil
}

func (w *walk) flags() []Candidate {
	var out []Candidate
	for _, group := range w.node.AllFlags(true) {
		for _, f := range group {
			out = append(out, Candidate{"--" + f.Name, f.Help})
			if f.Tag.Negatable != "" {
				out = append(out, Candidate{"--no-" + f.Name, f.Help})
			}
		}
	}
	return out
}

func commands(node *kong.Node) []Candidate {
	var out []Candidate
	for _, child := range node.Children {
		if !child.Hidden {
			out = append(out, Candidate{child.Name, child.Help})
		}
	}
	return out
}

// values are those of a closed list.
func values(v *kong.Value, before string) []Candidate {
	if v.Enum == "" {
		return nil
	}
	var out []Candidate
	for _, word := range v.EnumSlice() {
		if word != "" {
			out = append(out, Candidate{before + word, ""})
		}
	}
	return out
}

func matching(all []Candidate, prefix string) []Candidate {
	return slices.DeleteFunc(all, func(c Candidate) bool { return !strings.HasPrefix(c.Word, prefix) })
}
