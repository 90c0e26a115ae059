//go:build linux

package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"wimcast/test/lab"
)

// figure is a row of panels with one legend and one scale of y.
type figure struct {
	title, xLabel, yLabel string
	panels                []panel
}

// panel is one pair of axes.
type panel struct {
	title  string
	ticks  []float64 // of x, ascending, from the first to the last that is shown
	series []series
}

// series is a contender's line.
type series struct {
	contender string
	points    []point
	level     bool // one figure that holds for every x: a dashed line across
}

type point struct {
	x float64
	y spread
}

// look is how a contender is drawn: colours hold on light and on dark ground, shapes without colour.
type look struct {
	contender, colour, marker string
}

// looks has markers as paths around 0,0.
var looks = []look{
	{pumpName, "#8b949e", ""},
	{wimcastName, "#1f83e0", "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z"},
	{wimcastSetName, "#1f83e0", "M-4,-4h8v8h-8z"},
	{wimcastClearName, "#4cb3c9", "M-4,-4h8v8h-8z"},
	{uftpName, "#e0861a", "M0,-5L5,4H-5z"},
	{udpcastName, "#cf5da3", "M0,-5L5,0L0,5L-5,0z"},
	{nginxName, "#3fa65c", "M-4,-4L4,4M-4,4L4,-4"},
}

func lookOf(contender string) look {
	i := slices.IndexFunc(looks, func(l look) bool { return l.contender == contender })
	return looks[i]
}

// Pixels.
const (
	panelWidth, panelHeight  = 290, 240
	leftMargin, rightMargin  = 58, 14
	topMargin, bottomMargin  = 84, 48
	panelGap                 = 34
	legendColumn, markerNext = 158, 14
)

// style is light, and dark where the reader's screen is.
const style = `<style>
text{fill:#24292f;font:12px system-ui,sans-serif}.title{font-size:14px;font-weight:600}.grid{stroke:#d8dee4}.axis{stroke:#57606a}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#343b44}.axis{stroke:#9aa4af}}
</style>
`

// svg draws the figure.
func (f *figure) svg() string {
	width := leftMargin + len(f.panels)*panelWidth + (len(f.panels)-1)*panelGap + rightMargin
	var shown []look
	for _, l := range looks {
		if slices.ContainsFunc(f.panels, func(p panel) bool {
			return slices.ContainsFunc(p.series, func(s series) bool { return s.contender == l.contender })
		}) {
			shown = append(shown, l)
		}
	}
	perLine := max(1, (width-leftMargin-rightMargin)/legendColumn)
	legendLines := (len(shown) + perLine - 1) / perLine
	top := topMargin + (legendLines-1)*18
	height := top + panelHeight + bottomMargin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n%s", escape(f.title), style)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="20">%s</text>`+"\n", leftMargin, escape(f.title))
	for i, l := range shown {
		x, y := leftMargin+(i%perLine)*legendColumn, 42+(i/perLine)*18
		label := l.contender
		if l.marker == "" {
			fmt.Fprintf(&b, `<path d="M%d,%dh16" stroke="%s" stroke-width="2" stroke-dasharray="5 3"/>`, x-5, y-4, l.colour)
		}
		fmt.Fprintf(&b, `%s<text x="%d" y="%d">%s</text>`+"\n", l.at(float64(x), float64(y-4)), x+markerNext, y, escape(label))
	}
	scale := niceTicks(f.largest())
	for i, p := range f.panels {
		fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", leftMargin+i*(panelWidth+panelGap), top)
		p.draw(&b, scale)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", panelWidth/2, panelHeight+38, escape(f.xLabel))
		b.WriteString("</g>\n")
	}
	fmt.Fprintf(&b, `<text transform="translate(14,%d) rotate(-90)" text-anchor="middle">%s</text>`+"\n</svg>\n", top+panelHeight/2, escape(f.yLabel))
	return b.String()
}

// at draws the marker.
func (l look) at(x, y float64) string {
	if l.marker == "" {
		return ""
	}
	return fmt.Sprintf(`<path transform="translate(%.1f,%.1f)" d="%s" fill="%[4]s" stroke="%[4]s" stroke-width="2"/>`, x, y, l.marker, l.colour)
}

// draw draws axes, grid and lines.
func (p *panel) draw(b *strings.Builder, scale []float64) {
	const inset = 20 // of the first and the last x
	first, last := p.ticks[0], p.ticks[len(p.ticks)-1]
	atX := func(x float64) float64 {
		if first == last {
			return panelWidth / 2
		}
		return inset + (x-first)/(last-first)*(panelWidth-2*inset)
	}
	atY := func(y float64) float64 { return panelHeight * (1 - y/scale[len(scale)-1]) }
	fmt.Fprintf(b, `<text x="%d" y="-8" text-anchor="middle">%s</text>`+"\n", panelWidth/2, escape(p.title))
	for _, y := range scale {
		fmt.Fprintf(b, `<path class="grid" d="M0,%.1fH%d"/><text x="-7" y="%.1f" text-anchor="end">%s</text>`+"\n", atY(y), panelWidth, atY(y)+4, number(y))
	}
	fmt.Fprintf(b, `<path class="axis" fill="none" d="M0,0V%[1]dH%[2]d"/>`+"\n", panelHeight, panelWidth)
	for _, x := range p.ticks {
		fmt.Fprintf(b, `<path class="axis" d="M%.1f,%dv4"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", atX(x), panelHeight, atX(x), panelHeight+18, number(x))
	}
	for i, s := range p.series {
		l := lookOf(s.contender)
		if s.level {
			fmt.Fprintf(b, `<path d="M0,%.1fH%d" stroke="%s" stroke-width="2" stroke-dasharray="5 3"/>`+"\n", atY(s.points[0].y.Median), panelWidth, l.colour)
			continue
		}
		// Lines stand side by side, so that one doesn't hide another's whiskers.
		aside := 5 * (float64(i) - float64(len(p.series)-1)/2)
		var line, marks strings.Builder
		for j, at := range s.points {
			x, command := atX(at.x)+aside, "L"
			if j == 0 {
				command = "M"
			}
			fmt.Fprintf(&line, "%s%.1f,%.1f", command, x, atY(at.y.Median))
			fmt.Fprintf(&marks, `<path d="M%.1f,%.1fV%.1f" stroke="%s" stroke-width="1.5"/>%s`+"\n", x, atY(at.y.Min), atY(at.y.Max), l.colour, l.at(x, atY(at.y.Median)))
		}
		fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="1.5" d="%s"/>`+"\n%s", l.colour, line.String(), marks.String())
	}
}

// largest returns the largest y of all panels.
func (f *figure) largest() float64 {
	var largest float64
	for _, p := range f.panels {
		for _, s := range p.series {
			for _, at := range s.points {
				largest = max(largest, at.y.Max)
			}
		}
	}
	return largest
}

// niceTicks returns round numbers at even distances from 0 up to largest or just beyond, seven at most.
func niceTicks(largest float64) []float64 {
	if largest <= 0 {
		return []float64{0, 1}
	}
	magnitude := math.Pow(10, math.Floor(math.Log10(largest/6)))
	step := 10 * magnitude
	for _, factor := range []float64{1, 2, 5} {
		if factor*magnitude*6 >= largest {
			step = factor * magnitude
			break
		}
	}
	ticks := []float64{0}
	for i := 1; ticks[len(ticks)-1] < largest; i++ {
		ticks = append(ticks, float64(i)*step)
	}
	return ticks
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

// plotted are the contenders that lines are drawn of.
var plotted = []string{wimcastName, wimcastClearName, uftpName, udpcastName, nginxName}

// lines returns a line for each contender with its results that x has a place for.
func (b *bench) lines(take func(*result) bool, x func(*result) float64, y func(measurement) float64, unit float64) (all []series, ticks []float64) {
	for _, contender := range plotted {
		s := series{contender: contender}
		for _, r := range b.results {
			if r.contender != contender || len(r.runs) == 0 || !take(r) {
				continue
			}
			of := spreadOf(r.runs, y)
			s.points = append(s.points, point{x(r), spread{of.Median / unit, of.Min / unit, of.Max / unit}})
			if !slices.Contains(ticks, x(r)) {
				ticks = append(ticks, x(r))
			}
		}
		slices.SortFunc(s.points, func(a, b point) int { return int(math.Copysign(1, a.x-b.x)) })
		if len(s.points) > 0 {
			all = append(all, s)
		}
	}
	slices.Sort(ticks)
	return all, ticks
}

// plotGoodput draws what each of 8 clients got against loss, a panel for each mode; "" without results.
func (b *bench) plotGoodput() string {
	f := figure{title: "Goodput at each of 8 clients (median, min–max)", xLabel: "packets lost at each client, %", yLabel: "MB/s"}
	for _, mode := range modes(b.results) {
		eight := func(r *result) bool { return r.mode == mode && r.clients == 8 && r.plain() && r.size == 0 }
		p := panel{title: modeName(mode)}
		p.series, p.ticks = b.lines(eight, func(r *result) float64 { return r.loss }, goodput, 1e6)
		if len(p.ticks) == 0 {
			continue
		}
		if ceiling := ceilingOf(b.results, &testCase{mode: mode, clients: 8}); ceiling != nil {
			of := spreadOf(ceiling.runs, goodput)
			level := series{contender: pumpName, level: true, points: []point{{0, spread{of.Median / 1e6, of.Min / 1e6, of.Max / 1e6}}}}
			p.series = append(p.series, level)
		}
		f.panels = append(f.panels, p)
	}
	if len(f.panels) == 0 {
		return ""
	}
	return f.svg()
}

// plotRoom draws how long a room takes against its clients, NIC-like, a panel for each loss; "" without results.
func (b *bench) plotRoom() string {
	f := figure{
		title:  fmt.Sprintf("Time until the last client has %d MiB, NIC-like (median, min–max)", b.size>>20),
		xLabel: "clients", yLabel: "seconds",
	}
	return f.byLoss(b, []float64{0, 1, 5}, func(r *result) bool { return r.mode == lab.NICLike && r.plain() && r.size == 0 })
}

// plotFlat draws how long a room takes against its clients on a slow link, a panel for each loss; "" without results.
func (b *bench) plotFlat() string {
	f := figure{
		title:  fmt.Sprintf("Time until the last client has %d MiB at %d Mbit/s (median, min–max)", flatSize>>20, int(flatRate/1e6)),
		xLabel: "clients", yLabel: "seconds",
	}
	return f.byLoss(b, []float64{0, 1}, func(r *result) bool { return r.flat() })
}

// byLoss draws seconds by number of clients, a panel for each loss.
func (f figure) byLoss(b *bench, losses []float64, accept func(*result) bool) string {
	for _, loss := range losses {
		take := func(r *result) bool { return r.loss == loss && accept(r) }
		p := panel{title: fmt.Sprintf("%g %% lost", loss)}
		p.series, p.ticks = b.lines(take, func(r *result) float64 { return float64(r.clients) }, seconds, 1)
		if len(p.ticks) > 0 {
			f.panels = append(f.panels, p)
		}
	}
	if len(f.panels) == 0 {
		return ""
	}
	return f.svg()
}
