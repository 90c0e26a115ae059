package screen

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Look says what a terminal can show.
type Look struct {
	Blocks bool // the line and block glyphs of code page 437 and letters beyond ASCII; else ASCII only
	Colour bool // 16 colours; nothing is told by colour alone
}

// Sizes of the screen, in columns and lines.
const (
	bigWidth    = 60 // from here on there is room for big letters,
	bigHeight   = 18 // and from here on
	roomyHeight = 22 // blank lines make it easier to read
	barWidth    = 8  // a narrower bar says nothing
	most        = 200
)

// row is a line on its way to the screen: texts at its two ends, or one text over all of it.
type row struct {
	left, right           string
	leftStyle, rightStyle style
}

// View draws a state as lines of at most width columns, at most height lines. The last column stays free: old consoles begin a new
// line when it is written. It returns "" when there is no room for anything.
func View(s State, width, height int, look Look) string {
	width = min(width, most) - 1
	if width < 1 || height < 1 {
		return ""
	}
	v := view{State: s, width: width, height: height, look: look}
	return v.draw()
}

type view struct {
	State
	width, height int
	look          Look
}

func (v *view) text(t string) string { return clean(t, v.look.Blocks) }

// draw puts the parts together. What matters most keeps its place when there is little room: what it does and how far, the trouble,
// the question; then the numbers, the room, where it comes from, and what happened last.
func (v *view) draw() string {
	asks := v.asks()
	trouble := v.trouble()
	phase := v.phase()
	numbers, room, head := v.numbers(), v.room(), v.head()
	roomy := v.height >= roomyHeight
	rule := []row{{left: strings.Repeat(v.glyph("─", "-"), v.width), leftStyle: dim}}
	blank := []row{{}}

	left := v.height
	take := func(rows []row) []row {
		if len(rows) > left {
			return nil
		}
		left -= len(rows)
		return rows
	}
	phase, asks = take(phase[:min(len(phase), left)]), take(asks)
	if trouble = take(trouble); trouble == nil {
		trouble = take(v.troubleInOneLine())
	}
	numbers, room, head = take(numbers), take(room), take(head)
	var help, upper, lower, gap []row
	if !v.Phase.over() && len(asks) == 0 {
		help = take([]row{{left: " " + v.help(), leftStyle: dim}})
	}
	if len(head) > 0 {
		upper = take(rule)
	}
	if len(trouble)+len(asks) > 0 {
		lower = take(rule)
	}
	if roomy {
		gap = take(blank)
	}
	middle := take(rule)
	events := v.events(left)
	left -= len(events)

	var rows []row
	for _, part := range [][]row{head, upper, phase, numbers, gap, room, lower, trouble, asks} {
		rows = append(rows, part...)
	}
	if len(events) > 0 {
		rows = append(append(rows, middle...), events...)
	}
	if !v.Phase.over() { // the help stays at the bottom; the last screen ends where it ends
		for len(rows)+len(help) < v.height {
			rows = append(rows, row{})
		}
	}
	rows = append(rows, help...)
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = v.render(r)
	}
	return strings.Join(lines, "\n")
}

// render makes a line of a row.
func (v *view) render(r row) string {
	right := cut(r.right, v.width)
	n := v.width
	if right != "" {
		n = max(v.width-utf8.RuneCountInString(right)-1, 0)
	}
	left := cut(r.left, n)
	gap := ""
	if right != "" {
		gap = strings.Repeat(" ", v.width-utf8.RuneCountInString(left)-utf8.RuneCountInString(right))
	}
	if right == "" {
		left = strings.TrimRight(left, " ")
	}
	right = strings.TrimRight(right, " ")
	return v.paint(left, r.leftStyle) + gap + v.paint(right, r.rightStyle)
}

func (v *view) glyph(block, ascii string) string {
	if v.look.Blocks {
		return block
	}
	return ascii
}

// head says what comes from where.
func (v *view) head() []row {
	what, asked := v.Package, v.Asked
	if what == "" {
		what, asked = asked, ""
	}
	if name, _, _ := strings.Cut(what, "@"); asked == what || asked == name || strings.Contains(asked, ":") || strings.Contains(asked, "@") {
		asked = ""
	}
	if asked != "" {
		asked = "deployment " + asked
	}
	from := ""
	if v.Server != "" {
		from = "from " + v.Server
	}
	return []row{
		{left: " " + v.text(what), leftStyle: strong, right: v.text(asked)},
		{left: " " + v.text(from), right: clock(v.Elapsed)},
	}
}

// phaseWords are what a phase is called, and the style in which that is.
var phaseWords = map[Phase]struct {
	words string
	style style
}{
	Looking:   {"LOOKING FOR THE DISTRIBUTION POINT", waits},
	Waiting:   {"WAITING", waits},
	Receiving: {"RECEIVING", goes},
	Proving:   {"PROVING", goes},
	Writing:   {"WRITING TO DISK", goes},
	Applying:  {"APPLYING", goes},
	Done:      {"DONE", good},
	Failed:    {"FAILED", bad},
	Stopped:   {"STOPPED", waits},
}

// phase says what it does, and how far it is: in big letters where there is room, with the bar below.
func (v *view) phase() []row {
	words, styled := phaseWords[v.Phase].words, phaseWords[v.Phase].style
	detail := v.detail()
	share, hasBar := v.share()
	var rows []row
	if what := v.inBig(); what != "" && v.width >= bigWidth && v.height >= bigHeight {
		if v.height >= roomyHeight {
			rows = append(rows, row{})
		}
		left := append([]string{words, ""}, detail...)
		for i, line := range big(what, v.glyph("█", "#")) {
			r := row{right: line + " ", rightStyle: styled}
			if i < len(left) {
				r.left = " " + left[i]
			}
			if i == 0 {
				r.leftStyle = styled
			}
			rows = append(rows, r)
		}
		if v.height >= roomyHeight {
			rows = append(rows, row{})
		}
		if hasBar {
			rows = append(rows, v.bar(share, styled), v.bar(share, styled))
		}
		return rows
	}
	head := row{left: " " + words, leftStyle: styled, rightStyle: styled}
	if hasBar {
		head.right = fmt.Sprintf("%d%% ", percent(share))
	}
	rows = append(rows, head)
	if hasBar && v.width >= barWidth {
		rows = append(rows, v.bar(share, styled))
	}
	for _, line := range detail {
		rows = append(rows, row{left: " " + line})
	}
	return rows
}

// bar draws a share.
func (v *view) bar(share float64, s style) row {
	n := v.width - 2
	full := min(max(int(share*float64(n)), 0), n)
	if v.look.Blocks {
		return row{left: " " + strings.Repeat("█", full) + strings.Repeat("░", n-full), leftStyle: s}
	}
	n -= 2
	full = min(full, n)
	return row{left: " [" + strings.Repeat("#", full) + strings.Repeat(".", n-full) + "]", leftStyle: s}
}

// inBig is what is worth big letters; "" for nothing.
func (v *view) inBig() string {
	share, hasBar := v.share()
	switch {
	case v.Phase == Done:
		return "DONE"
	case v.Phase == Failed:
		return "FAILED"
	case v.Phase == Stopped:
		return "STOP"
	case v.Phase == Waiting && v.Waiting.Place > 0:
		return fmt.Sprint(v.Waiting.Place)
	case v.Phase == Waiting && v.Waiting.Minimum > 0:
		return fmt.Sprintf("%d/%d", v.Waiting.Clients, v.Waiting.Minimum)
	case v.Phase == Waiting && v.Waiting.Start && v.Waiting.StartIn < 100*time.Hour:
		return clock(v.Waiting.StartIn)
	case hasBar:
		return fmt.Sprintf("%d%%", percent(share))
	}
	return ""
}

// detail is what there is to say beside the phase, in at most three short lines.
func (v *view) detail() []string {
	var lines []string
	if v.Detail != "" {
		lines = append(lines, v.text(v.Detail))
	}
	w := v.Waiting
	switch {
	case v.Phase == Waiting && w.Place > 0:
		lines = append(lines, fmt.Sprintf("for a place; number %d in the queue", w.Place))
	case v.Phase == Waiting && w.Start && w.Minimum > 0:
		lines = append(lines, fmt.Sprintf("for the start: %d of %d are here", w.Clients, w.Minimum), "starts in "+clock(w.StartIn)+" at the latest")
	case v.Phase == Waiting && w.Start:
		lines = append(lines, fmt.Sprintf("for the start: %d are here", w.Clients), "starts in "+clock(w.StartIn))
	case v.Phase == Waiting:
		lines = append(lines, "for the cast to begin")
	case v.Phase == Proving:
		lines = append(lines, "what an earlier try left")
	case v.Phase == Receiving && v.Path != "":
		lines = append(lines, "by "+string(v.Path))
	case v.Phase.over():
		lines = append(lines, fmt.Sprintf("exit code %d, after %s", v.Code, clock(v.Elapsed)))
	}
	return lines
}

// numbers say how much, how fast, how long still.
func (v *view) numbers() []row {
	if v.Size == 0 || v.Phase == Looking || v.Phase == Waiting && v.Proven == 0 {
		return nil
	}
	parts := []string{fmt.Sprintf("%s of %s", amount(float64(v.Proven)), amount(float64(v.Size)))}
	if v.Proven >= v.Size {
		parts[0] = amount(float64(v.Size)) + ", all proven"
	}
	if v.Phase == Receiving {
		parts = append(parts, amount(v.Rate)+"/s")
		if v.LeftKnown {
			parts = append(parts, "about "+roughly(v.Left)+" left")
		}
	}
	one := " " + strings.Join(parts, "   ")
	if utf8.RuneCountInString(one) <= v.width || len(parts) < 3 {
		return []row{{left: one, leftStyle: strong}}
	}
	return []row{{left: " " + parts[0] + "  " + parts[1], leftStyle: strong}, {left: " " + parts[2], leftStyle: strong}}
}

// room says how far the others are.
func (v *view) room() []row {
	if v.Room == 0 || v.Phase == Waiting && v.Waiting.Start {
		return nil
	}
	return []row{{left: fmt.Sprintf(" the room: %d of %d done", v.RoomProven, v.Room), leftStyle: strong}}
}

// trouble says what is wrong and what to do.
func (v *view) trouble() []row {
	if v.Phase == Waiting && v.Waiting.Place > 0 && v.Trouble == nil {
		return v.sentence(" ", v.Waiting.Reason, plain)
	}
	if v.Trouble == nil {
		return nil
	}
	styled := waits
	if v.Phase == Failed {
		styled = bad
	}
	rows := v.sentence(" ! ", v.Trouble.Text, styled)
	if v.Trouble.Next != "" {
		rows = append(rows, v.sentence(" > ", v.Trouble.Next, strong)...)
	}
	return rows
}

// sentence is a text in a few lines, after a mark.
func (v *view) sentence(mark, text string, s style) []row {
	lines := 4
	if v.Phase.over() {
		lines = 8 // it is the last word
	} else if v.height < bigHeight {
		lines = 3
	}
	var rows []row
	for i, line := range wrap(v.text(text), v.width-len(mark), lines) {
		if i > 0 {
			mark = strings.Repeat(" ", len(mark))
		}
		rows = append(rows, row{left: mark + line, leftStyle: s})
	}
	return rows
}

func (v *view) troubleInOneLine() []row {
	if v.Trouble == nil {
		return nil
	}
	return []row{{left: " ! " + v.text(v.Trouble.Text), leftStyle: bad}}
}

// asks is a question to the person.
func (v *view) asks() []row {
	switch {
	case v.Stopping:
		return []row{{left: " Stop? q: yes, any other key: no", leftStyle: asking}}
	case v.Prompt != "":
		rows := v.sentence(" ? ", v.Prompt, asking)
		return append(rows, row{left: "   " + v.text(v.Answer) + "_", leftStyle: strong})
	}
	return nil
}

// help says which key does something, and what comes of it.
func (v *view) help() string {
	switch {
	case v.Phase == Applying:
		return "q stops; the image is then half applied"
	case v.Proven > 0:
		return "q stops; it can go on later"
	}
	return "q stops"
}

// events are the latest that fit.
func (v *view) events(room int) []row {
	var rows []row
	for _, e := range v.Events[max(0, len(v.Events)-max(room, 0)):] {
		rows = append(rows, row{left: " " + e.At.Format(time.TimeOnly) + " " + v.text(e.Text), leftStyle: dim})
	}
	return rows
}
