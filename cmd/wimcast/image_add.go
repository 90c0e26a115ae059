package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"wimcast/api"
	"wimcast/library/source"
	"wimcast/library/wim"
)

// passwordVariable holds the password of --user, where nobody can be asked.
const passwordVariable = "WIMCAST_SMB_PASSWORD"

type imageAdd struct {
	Source string `arg:"" help:"WIM or ESD file, any part of a split WIM, folder of installation media, https:// address, \\\\server\\share\\path or smb:// address. It is read on this machine." placeholder:"SOURCE"`

	Name    string `help:"Name (default: the image's own where there is one, else that of the file or folder)."`
	Version string `help:"Version."`
	Comment string `help:"Comment."`
	Index   int    `help:"Take only this image of the file, exported by wimlib-imagex on the server (default: keep all)." placeholder:"N"`

	SHA256     string `name:"sha256" help:"Refuse anything but the file with this SHA-256." placeholder:"HEX"`
	CACert     string `name:"cacert" help:"CAs of an https:// server, PEM (default: the system's)." placeholder:"FILE"`
	User       string `help:"User at a file server: name, DOMAIN\\name or name@domain (default: a guest). The password is asked for, or taken from $WIMCAST_SMB_PASSWORD." placeholder:"NAME"`
	Temp       string `help:"Folder in which a split WIM is joined (default: the system's)." placeholder:"DIR"`
	KeepSource bool   `help:"On the server itself: note the file's path, so that the daemon can read it again should its copy be damaged. (https:// addresses are always noted.)"`
}

// Run implements the command.
func (a *imageAdd) Run(ctx context.Context, c *console) (err error) {
	if a.Index < 0 {
		return &codedError{exitUsage, fmt.Errorf("--index %d: images are counted from 1", a.Index)}
	}
	in, err := source.Open(ctx, a.Source, source.Options{
		Temp: a.Temp, Pinned: a.SHA256 != "", CACert: a.CACert, User: a.User, Password: c.askPassword,
		Notice: func(text string) { _, _ = fmt.Fprintln(c.err, text) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if a.Index > len(in.Images) && len(in.Images) > 0 {
		return fmt.Errorf("--index %d: the file has %s", a.Index, imageNames(in.Images))
	}
	add := api.ImageAdd{Name: a.Name, Version: a.Version, Comment: a.Comment, Stem: in.Stem, Index: a.Index, SHA256: a.SHA256, Source: printable(in.Name)}
	switch remote := strings.HasPrefix(in.Again, "https://"); {
	case remote && a.CACert == "": // the daemon doesn't know this CA
		add.Again = in.Again
	case a.KeepSource && (remote || in.Again == ""):
		return &codedError{exitUsage, fmt.Errorf("--keep-source: %s can't be read again without you; it is for files on the server and folders there", printable(in.Name))}
	case a.KeepSource:
		add.Again = in.Again
	}
	image, err := c.admin().AddImage(ctx, c.progress(in, in.Size, "adding "+printable(in.Name)), in.Size, add)
	if broke := in.Err(); broke != nil {
		return broke // and not what came of it at the daemon
	}
	if err != nil {
		return err
	}
	return c.print(image, func(w io.Writer) {
		verb := "added"
		if image.AlreadyThere {
			verb = "already there:"
		}
		_, _ = fmt.Fprintf(w, "%s %s: %s, %s, %s\n", verb, reference(&image), count(len(image.Images), "image"), bytesText(float64(image.Size)), flagsText(&image))
		if note := appliesNote(&image); note != "" {
			_, _ = fmt.Fprintf(w, "note: %s\n", note)
		}
	})
}

// progress shows on a terminal how far size bytes have been read.
func (c *console) progress(in io.Reader, size int64, doing string) io.Reader {
	out, ok := c.err.(*os.File)
	if !ok || c.json || !term.IsTerminal(int(out.Fd())) {
		return in
	}
	bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription(doing), progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	return io.TeeReader(in, bar)
}

// askPassword takes the password of a user at a server from the environment, else from whoever sits at the terminal.
func (c *console) askPassword(user, server string) (string, error) {
	if password, ok := os.LookupEnv(passwordVariable); ok {
		return password, nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return "", fmt.Errorf("a password is needed for %s, and there is no terminal to ask at; next: set $%s", printable(user), passwordVariable)
	}
	_, _ = fmt.Fprintf(c.err, "password of %s at %s: ", printable(user), printable(server))
	password, err := term.ReadPassword(in)
	_, _ = fmt.Fprintln(c.err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(password), nil
}

// imageNames says which images a file has.
func imageNames(images []wim.Image) string {
	var names []string
	for i := range images {
		names = append(names, fmt.Sprintf("%d (%s)", images[i].Index, printable(images[i].Name)))
	}
	return strings.Join(names, ", ")
}

// appliesNote says what there is to know of a package that not every tool applies.
func appliesNote(i *api.Image) string {
	switch {
	case i.Pipable:
		return "pipable: only wimlib applies it, also while it is received; DISM and Windows Setup don't read it"
	case i.Solid:
		return "solid (ESD): wimlib applies it, once all of it is there; DISM from Windows 8.1 on, as a file called .esd or after dism /Export-Image"
	case i.Compression == string(wim.LZMS):
		return "LZMS: wimlib applies it, and DISM from Windows 8.1 on"
	}
	return ""
}
