package screen

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

// sequences are what terminals take for the styles.
var sequences = [...]string{
	plain: "", strong: "\x1b[1m", dim: "\x1b[37m", goes: "\x1b[1;96m", waits: "\x1b[1;93m", good: "\x1b[1;92m", bad: "\x1b[1;91m", asking: "\x1b[7m",
}

// paint gives a text its style, where the terminal has colours.
func (v *view) paint(text string, s style) string {
	if !v.look.Colour || text == "" || s == plain {
		return text
	}
	return sequences[s] + text + "\x1b[m"
}
