package main

import (
	"context"
	"io"
	"strings"

	"wimcast/api"
)

type historyChanges struct {
	period
	form
	Package string `arg:"" optional:"" help:"Only of this package: name@version, a name for all its versions, or 12 or more digits of the digest."`
	Limit   int    `help:"At most so many, the latest; 0 for all." default:"50"`
}

// Run implements the command.
func (h *historyChanges) Run(ctx context.Context, c *console) error {
	q := api.HistoryQuery{Package: h.Package, Changes: true}
	if err := h.into(&q); err != nil {
		return err
	}
	admin := c.admin()
	list, more, err := pages(q, h.Limit, func(q api.HistoryQuery) ([]api.HistoryAction, error) { return admin.HistoryActions(ctx, q) },
		func(r api.HistoryAction) int64 { return r.ID })
	if err != nil {
		return err
	}
	defer leftOut(c, more)
	return h.list(c, list, func(w io.Writer) {
		var rows []string
		for _, a := range list {
			result := "done"
			if a.Error != "" {
				result = "failed: " + a.Error
			}
			rows = append(rows, strings.Join([]string{
				local(a.At), printable(a.Who), printable(a.Action), printable(a.Package), a.Digest[:min(len(a.Digest), 12)], printable(a.Detail), printable(result),
			}, "\t"))
		}
		table(w, "AT\tWHO\tACTION\tPACKAGE\tDIGEST\tDETAIL\tRESULT", rows)
	})
}
