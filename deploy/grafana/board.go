package main

import (
	"errors"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// What the dashboard is called by everywhere; links and provisioning hold on to them.
const (
	uid   = "wimcast"
	title = "wimcast: casts"

	// How much is shown at first, and how often it is asked for anew: a cast of a
	// room takes minutes, and Prometheus scrapes every 5 s to 15 s.
	from    = "now-1h"
	refresh = "10s"

	gridWidth = 24 // Grafana's
)

// place is a panel and the columns that it takes, of gridWidth.
type place struct {
	width uint32
	panel cog.Builder[dashboard.Panel]
}

// line is panels beside each other; together they are as wide as the grid. Its height is in
// Grafana's units of about 38 pixels.
type line struct {
	height uint32
	places []place
}

// section is a row of the dashboard. One that is closed shows its title alone, and asks Prometheus
// for nothing until somebody opens it.
type section struct {
	title  string
	closed bool
	lines  []line
}

func sections() []section {
	return []section{room(), sessions(), network(), repair(), unicast(), library(), fleet(), daemon()}
}

// board makes the dashboard. It is of the classic schema, which every Grafana imports; the newer one (dashboardv2)
// is for the latest alone.
func board() (any, error) {
	d := *dashboard.NewDashboard()
	d.Uid, d.Title = new(uid), new(title)
	d.Description = new("Is the room going well? The first row says it; docs/monitoring.md says how to read it. Made by make dashboard, from deploy/grafana.")
	d.Tags = []string{"wimcast", "multicast", "deployment"}
	d.Editable = new(true)
	d.GraphTooltip = new(dashboard.DashboardCursorSyncCrosshair)
	d.Refresh = new(refresh)
	d.Time = &dashboard.DashboardDashboardTime{From: from, To: "now"}
	d.Version = new(uint32(1))

	var err error
	if d.Templating.List, err = built(variables()); err != nil {
		return nil, fmt.Errorf("variables: %w", err)
	}
	if d.Annotations.List, err = built(annotations()); err != nil {
		return nil, fmt.Errorf("annotations: %w", err)
	}
	if d.Links, err = built(links()); err != nil {
		return nil, fmt.Errorf("links: %w", err)
	}
	// In sight: not in the menu, where the builders put them.
	for i := range d.Annotations.List {
		d.Annotations.List[i].Placement = nil
	}
	for i := range d.Links {
		d.Links[i].Placement = nil
	}
	if d.Panels, err = laidOut(sections()); err != nil {
		return nil, err
	}
	return d, d.Validate()
}

// laidOut gives every panel its place and number, from the top down.
func laidOut(all []section) ([]dashboard.PanelOrRowPanel, error) {
	var out []dashboard.PanelOrRowPanel
	var y, id uint32
	for _, s := range all {
		id++
		row := *dashboard.NewRowPanel()
		row.Id, row.Title, row.Collapsed = id, new(s.title), s.closed
		row.GridPos = &dashboard.GridPos{X: 0, Y: y, W: gridWidth, H: 1}
		y++
		below := y
		var panels []dashboard.Panel
		for _, l := range s.lines {
			var x uint32
			for _, p := range l.places {
				panel, err := p.panel.Build()
				if err != nil {
					return nil, fmt.Errorf("row %q: %w", s.title, err)
				}
				id++
				panel.Id = new(id)
				for i := range panel.Links {
					panel.Links[i].Placement = nil
				}
				panel.GridPos = &dashboard.GridPos{X: x, Y: below, W: p.width, H: l.height}
				x += p.width
				panels = append(panels, panel)
			}
			if x != gridWidth {
				return nil, fmt.Errorf("row %q: a line is %d columns wide, not %d", s.title, x, gridWidth)
			}
			below += l.height
		}
		if s.closed {
			// Panels of a closed row are inside of it; the next row comes at once.
			row.Panels = panels
			out = append(out, dashboard.PanelOrRowPanel{RowPanel: &row})
			continue
		}
		out = append(out, dashboard.PanelOrRowPanel{RowPanel: &row})
		for i := range panels {
			out = append(out, dashboard.PanelOrRowPanel{Panel: &panels[i]})
		}
		y = below
	}
	return out, nil
}

func built[T any](from []cog.Builder[T]) ([]T, error) {
	out := make([]T, 0, len(from))
	var errs []error
	for _, b := range from {
		one, err := b.Build()
		errs = append(errs, err)
		out = append(out, one)
	}
	return out, errors.Join(errs...)
}

// source is the Prometheus that was chosen above.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}
