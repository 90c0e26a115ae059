package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"wimcast/api"
)

// imageCommand manages images.
type imageCommand struct {
	Add      imageAdd      `cmd:"" help:"Add a WIM file to the library."`
	List     imageList     `cmd:"" help:"List the packages."`
	Show     imageShow     `cmd:"" help:"Show a package and the images in it."`
	Rename   imageRename   `cmd:"" help:"Give a package another name."`
	Set      imageSet      `cmd:"" help:"Change comment and flags of a package."`
	Remove   imageRemove   `cmd:"" help:"Remove a package."`
	Service  imageService  `cmd:"" help:"Put updates and overlays into an image, now, later, or on a schedule: makes a new version."`
	Rollback imageRollback `cmd:"" help:"Make the version before the current one of a package again."`
	Verify   imageVerify   `cmd:"" help:"Hash a package's content again; what doesn't match goes out of service."`
}

type imageAdd struct {
	File    string `arg:"" help:"WIM file." placeholder:"FILE"`
	Name    string `help:"Name (default: the image's own, or the file's)."`
	Version string `help:"Version."`
	Comment string `help:"Comment."`
}

// Run implements the command.
func (a *imageAdd) Run(ctx context.Context, c *console) error {
	f, err := os.Open(a.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("add %s: not a regular file", a.File)
	}
	var r io.Reader = f
	if out, ok := c.err.(*os.File); ok && !c.json && term.IsTerminal(int(out.Fd())) {
		bar := progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription("adding "+filepath.Base(a.File)), progressbar.OptionThrottle(200*time.Millisecond),
			progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
		r = io.TeeReader(f, bar)
	}
	stem := strings.TrimSuffix(filepath.Base(a.File), filepath.Ext(a.File))
	image, err := c.admin().AddImage(ctx, r, info.Size(), a.Name, a.Version, a.Comment, stem)
	if err != nil {
		return err
	}
	return c.print(image, func(w io.Writer) {
		verb := "added"
		if image.AlreadyThere {
			verb = "already there:"
		}
		_, _ = fmt.Fprintf(w, "%s %s: %s, %s, %s\n", verb, reference(&image), count(len(image.Images), "image"), bytesText(float64(image.Size)), flagsText(&image))
	})
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
				printable(p.Name), printable(p.Version), bytesText(float64(p.Size)), fmt.Sprint(len(p.Images)), multicast, clear,
				p.Added.Local().Format("2006-01-02 15:04"), p.Digest[:12], state, printable(p.Comment),
			}, "\t"))
		}
		table(w, "NAME\tVERSION\tSIZE\tIMAGES\tMULTICAST\tCLEAR\tADDED\tDIGEST\tSTATE\tCOMMENT", rows)
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
		_, _ = fmt.Fprintf(w, "name      %s\nversion   %s\ncomment   %s\nsize      %s (%d bytes)\nflags     %s\nadded     %s\ndigest    %s\nSHA-256   %s\n",
			printable(p.Name), printable(p.Version), printable(p.Comment), bytesText(float64(p.Size)), p.Size, flagsText(&p),
			p.Added.Local().Format(time.DateTime), p.Digest, p.SHA256)
		if p.OutOfService != "" {
			_, _ = fmt.Fprintf(w, "state     OUT OF SERVICE: %s\n", printable(p.OutOfService))
		}
		var rows []string
		for _, i := range p.Images {
			created := ""
			if !i.Created.IsZero() {
				created = i.Created.Format(time.DateOnly)
			}
			rows = append(rows, strings.Join([]string{
				fmt.Sprint(i.Index), printable(i.Name), printable(i.Edition), i.Architecture, i.Version, printable(strings.Join(i.Languages, " ")),
				bytesText(float64(i.TotalBytes)), created, printable(i.Description),
			}, "\t"))
		}
		table(w, "\nINDEX\tNAME\tEDITION\tARCH\tVERSION\tLANGUAGES\tUNPACKED\tCREATED\tDESCRIPTION", rows)
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
	Package string `arg:"" help:"Name, name@version or digest."`
}

// Run implements the command.
func (r *imageRemove) Run(ctx context.Context, c *console) error {
	if err := c.admin().RemoveImage(ctx, r.Package); err != nil {
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
