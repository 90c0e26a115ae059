package screen

import "github.com/charmbracelet/x/ansi"

// style is what a text means; how that looks is decided here, from 16 colours. Each is legible without colour too.
type style int

const (
	plain style = iota
	strong
	dim
	goes   // work in progress
	waits  // it waits, or something isn't as it should be
	good   // it is done
	bad    // it has failed
	asking // the person is asked
)

// paint gives a text its style, where the terminal has colours.
func (v *view) paint(text string, s style) string {
	if !v.look.Colour || text == "" {
		return text
	}
	var a ansi.Style
	switch s {
	case plain:
		return text
	case strong:
		a = a.Bold()
	case dim:
		a = a.ForegroundColor(ansi.White)
	case goes:
		a = a.Bold().ForegroundColor(ansi.BrightCyan)
	case waits:
		a = a.Bold().ForegroundColor(ansi.BrightYellow)
	case good:
		a = a.Bold().ForegroundColor(ansi.BrightGreen)
	case bad:
		a = a.Bold().ForegroundColor(ansi.BrightRed)
	case asking:
		a = a.Reverse()
	}
	return a.Styled(text)
}
