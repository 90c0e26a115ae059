package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"wimcast/api"
)

// imageCommand manages images.
type imageCommand struct {
	Add        imageAdd        `cmd:"" help:"Add an image to the library: a WIM file, installation media, a web address, a network path."`
	List       imageList       `cmd:"" help:"List the packages."`
	Show       imageShow       `cmd:"" help:"Show a package and the images in it."`
	Rename     imageRename     `cmd:"" help:"Give a package another name."`
	Set        imageSet        `cmd:"" help:"Change comment and flags of a package."`
	Remove     imageRemove     `cmd:"" help:"Remove a package."`
	Service    imageService    `cmd:"" help:"Put updates and overlays into an image, now, later, or on a schedule: makes a new version."`
	Rollback   imageRollback   `cmd:"" help:"Make the version before the current one of a package again."`
	Distribute imageDistribute `cmd:"" help:"Have a package go to points, groups of them, or all, through the registry."`
	Withdraw   imageWithdraw   `cmd:"" help:"Take a package from points, groups or all."`
	Export     imageExport     `cmd:"" help:"Write a package into a file that is carried to points, where the line is too thin for it."`
	Import     imageImport     `cmd:"" help:"At a point: take a package from such a file."`
	Verify     imageVerify     `cmd:"" help:"Hash a package's content again; what doesn't match goes out of service."`
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func reference(i *api.Image) string {
	if i.Version == "" {
		return printable(i.Name)
	}
	return printable(i.Name + " " + i.Version)
}

func flagsText(i *api.Image) string {
	parts := []string{"clear"}
	if i.Encrypt {
		parts[0] = "encrypted"
	}
	switch {
	case !i.AllowMulticast:
		parts = append(parts, "no multicast")
	case i.MulticastOnly:
		parts = append(parts, "multicast-only (WinPE only)")
	default:
		parts = append(parts, "multicast (WinPE only)", "unicast fallback")
	}
	return strings.Join(parts, ", ")
}

type imageList struct{}

// Run implements the command.
func (*imageList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Images(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for i := range list {
			p := &list[i]
			clear, multicast, state := "", "yes", "in service"
			if !p.Encrypt {
				clear = "CLEAR"
			}
			switch {
			case !p.AllowMulticast:
				multicast = "no"
			case p.MulticastOnly:
				multicast = "only"
			}
			if p.OutOfService != "" {
				state = "OUT OF SERVICE: " + printable(p.OutOfService)
			}
			rows = append(rows, strings.Join([]string{
				printable(p.Name), printable(p.Version), bytesText(float64(p.Size)), fmt.Sprint(len(p.Images)), kindText(p), multicast, clear,
				p.Added.Local().Format("2006-01-02 15:04"), p.Digest[:12], state, printable(p.Comment),
			}, "\t"))
		}
		table(w, "NAME\tVERSION\tSIZE\tIMAGES\tKIND\tMULTICAST\tCLEAR\tADDED\tDIGEST\tSTATE\tCOMMENT", rows)
	})
}

type imageShow struct {
	Package string `arg:"" help:"Name, name@version or digest."`
}

// Run implements the command.
func (s *imageShow) Run(ctx context.Context, c *console) error {
	p, err := c.admin().Image(ctx, s.Package)
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) {
		showImage(w, &p)
	})
}

type imageRename struct {
	Package string `arg:"" help:"Name, name@version or digest."`
	Name    string `arg:"" help:"New name."`
}

// Run implements the command.
func (r *imageRename) Run(ctx context.Context, c *console) error {
	p, err := c.admin().ChangeImage(ctx, r.Package, api.ImageChange{Name: &r.Name})
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) { _, _ = fmt.Fprintf(w, "renamed to %s\n", reference(&p)) })
}

type imageSet struct {
	Package       string  `arg:"" help:"Name, name@version or digest."`
	Comment       *string `help:"Comment."`
	Multicast     *bool   `negatable:"" help:"Allow the package to be transferred via multicast (WinPE only)."`
	Encrypt       *bool   `negatable:"" help:"Encrypt multicast packages."`
	MulticastOnly *bool   `negatable:"" help:"Transfer this package only via multicast."`
}

// Run implements the command.
func (s *imageSet) Run(ctx context.Context, c *console) error {
	p, err := c.admin().ChangeImage(ctx, s.Package, api.ImageChange{
		Comment: s.Comment, AllowMulticast: s.Multicast, Encrypt: s.Encrypt, MulticastOnly: s.MulticastOnly,
	})
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: %s; running sessions keep what they have\n", reference(&p), flagsText(&p))
	})
}

type imageRemove struct {
	Package  string `arg:"" help:"Name, name@version or digest."`
	Withdraw bool   `help:"Also from all points that it is distributed to; without this one that is distributed isn't removed."`
}

// Run implements the command.
func (r *imageRemove) Run(ctx context.Context, c *console) error {
	if err := c.admin().RemoveImage(ctx, r.Package, r.Withdraw); err != nil {
		return err
	}
	return c.print(struct{}{}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "removed %s\n", printable(r.Package)) })
}

type imageVerify struct {
	Package string `arg:"" help:"Name, name@version or digest."`
}

// Run implements the command.
func (v *imageVerify) Run(ctx context.Context, c *console) error {
	p, err := c.admin().VerifyImage(ctx, v.Package)
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: every block matches, digest %s\n", reference(&p), p.Digest)
	})
}
