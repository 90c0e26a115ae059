package screen

import "strings"

// bigRows is how high a big letter is, in lines.
const bigRows = 5

// letters are those that big texts are made of, as dots: percents, times, counts, and the words at the end. A dot is two columns
// wide, as a column is about half as wide as a line is high.
var letters = map[rune][bigRows]string{
	'0': {"###", "# #", "# #", "# #", "###"},
	'1': {" # ", "## ", " # ", " # ", "###"},
	'2': {"###", "  #", "###", "#  ", "###"},
	'3': {"###", "  #", "###", "  #", "###"},
	'4': {"# #", "# #", "###", "  #", "  #"},
	'5': {"###", "#  ", "###", "  #", "###"},
	'6': {"###", "#  ", "###", "# #", "###"},
	'7': {"###", "  #", "  #", "  #", "  #"},
	'8': {"###", "# #", "###", "# #", "###"},
	'9': {"###", "# #", "###", "  #", "###"},
	'%': {"# #", "  #", " # ", "#  ", "# #"},
	'/': {"  #", "  #", " # ", "#  ", "#  "},
	':': {" ", "#", " ", "#", " "},
	'A': {"###", "# #", "###", "# #", "# #"},
	'D': {"## ", "# #", "# #", "# #", "## "},
	'E': {"###", "#  ", "## ", "#  ", "###"},
	'F': {"###", "#  ", "## ", "#  ", "#  "},
	'I': {"#", "#", "#", "#", "#"},
	'L': {"#  ", "#  ", "#  ", "#  ", "###"},
	'N': {"#  #", "## #", "# ##", "#  #", "#  #"},
	'O': {"###", "# #", "# #", "# #", "###"},
	'P': {"###", "# #", "###", "#  ", "#  "},
	'S': {"###", "#  ", "###", "  #", "###"},
	'T': {"###", " # ", " # ", " # ", " # "},
}

// big writes a text in big letters of a glyph: bigRows lines of one width. What has no big letter is left out.
func big(text string, glyph string) []string {
	rows := make([]string, bigRows)
	for _, r := range text {
		letter, ok := letters[r]
		if !ok {
			continue
		}
		for i, dots := range letter {
			if rows[i] != "" {
				rows[i] += "  "
			}
			rows[i] += strings.NewReplacer("#", glyph+glyph, " ", "  ").Replace(dots)
		}
	}
	return rows
}
