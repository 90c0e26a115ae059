// Command wimcast is everything that a person types: the client that receives an
// image, and the tool that manages a distribution point over its admin API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"wimcast/api"
	"wimcast/client"
	"wimcast/client/apply"
	"wimcast/cmd/usage"
	"wimcast/session"
)

// version is stamped by the build.
var version = "dev"

// Exit codes of the client; scripts and task sequences rely on them.
const (
	exitProven      = 0
	exitFailed      = 1 // commands that aren't the client
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitSilent      = 5
	exitDisk        = 6
	exitDamaged     = 7
	exitEvicted     = 8
	exitApply       = 9
)

// commands is the command line, as kong reads it.
type commands struct {
	Get      getCommand      `cmd:"" help:"Receive an image: by multicast, by unicast where that fails, proven by hash."`
	Image    imageCommand    `cmd:"" help:"Manage the images of a distribution point."`
	Update   updateCommand   `cmd:"" help:"Manage the catalogue of software updates, and see which are applicable to an image."`
	Overlay  overlayCommand  `cmd:"" help:"Manage overlays: files, drivers and scripts that are put into images."`
	Schedule scheduleCommand `cmd:"" help:"Watch and cancel the servicing of images."`
	Worker   workerCommand   `cmd:"" help:"On a Windows machine: install updates into images with DISM, for a distribution point."`
	Session  sessionCommand  `cmd:"" help:"Watch and steer running sessions."`
	Queue    queueCommand    `cmd:"" help:"List clients that wait for a place in a session."`
	Client   clientCommand   `cmd:"" help:"Act on the clients of running sessions."`
	Events   eventsCommand   `cmd:"" help:"Follow what happens to sessions and clients."`
	Fleet    fleetCommand    `cmd:"" help:"Watch the points of a site."`
	Bundle   bundleCommand   `cmd:"" name:"bundle" help:"Make, list and revoke join bundles."`
	Pin      pinCommand      `cmd:"" help:"Open rooms whose bundles want a PIN."`
	History  historyCommand  `cmd:"" help:"Ask the record: what was cast when, to whom, how it ended; who has an image."`
	Support  supportCommand  `cmd:"" help:"Put together what somebody needs who has to help, without secrets."`
	Page     pageCommand     `cmd:"" help:"Print a link that opens the web page, once."`
	Doctor   doctorCommand   `cmd:"" help:"Say why casts fail, and what to do: on a client and on the server."`
	Demo     demoCommand     `cmd:"" help:"Cast a real image to four clients on this machine, with faults, and show what happens."`
	Version  versionCommand  `cmd:"" help:"Print the version."`

	Winpe winpeCommand `cmd:"" help:"Make boot images whose machines join by themselves, and run in them."`

	Point pointCommand `cmd:"" help:"Manage the points of a site: other distribution points, which have packages from it."`

	Deployment deploymentCommand `cmd:"" help:"Say who may have which image, and when its casts start."`

	JSON bool `help:"Print JSON instead of text."`
	place
}

// versionCommand prints the version. (--version is the version of an image.)
type versionCommand struct{}

// Run implements the command.
func (versionCommand) Run(c *console) error {
	return c.print(version, func(w io.Writer) { _, _ = fmt.Fprintln(w, version) })
}

// console is where a command writes: results to out, progress to err.
type console struct {
	out, err io.Writer
	json     bool
	place    place
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errOut io.Writer) int {
	var cli commands
	code := -1
	parser, err := kong.New(&cli,
		kong.Name("wimcast"),
		kong.Description("Casts Windows images to rooms of machines by encrypted multicast."),
		kong.Writers(out, errOut),
		kong.Exit(func(c int) { code = c }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.UsageOnError(),
	)
	if err != nil {
		panic("wimcast: " + err.Error()) // the struct above is wrong
	}
	if asked, err := usage.Asked(parser.Model, manual(), args, out); asked {
		if err != nil {
			fmt.Fprintf(errOut, "wimcast: %v\n", err)
			return exitFailed
		}
		return exitProven
	}
	parsed, err := parser.Parse(args)
	if code >= 0 {
		return code // --help, --version
	}
	if err != nil {
		fmt.Fprintf(errOut, "wimcast: %v; see wimcast --help\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(&console{out: out, err: errOut, json: cli.JSON, place: cli.place})
	if _, said := errors.AsType[*saidError](err); err != nil && !said {
		fmt.Fprintf(errOut, "wimcast: %v\n", err)
	}
	return exitCode(err)
}

// exitCode is the code that an error ends the program with.
func exitCode(err error) int {
	coded, isCoded := errors.AsType[*codedError](err)
	problem, isProblem := errors.AsType[*api.Problem](err)
	switch {
	case err == nil:
		return exitProven
	case isCoded:
		return coded.code
	case isProblem && problem.Type == api.TypeDamaged:
		return exitDamaged
	case errors.Is(err, apply.ErrFailed):
		return exitApply
	case errors.Is(err, apply.ErrIndex):
		return exitUsage
	case errors.Is(err, session.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, session.ErrRefused):
		return exitRefused
	case errors.Is(err, session.ErrSilent):
		return exitSilent
	case errors.Is(err, session.ErrTarget), errors.Is(err, apply.ErrTarget), errors.Is(err, client.ErrExists), errors.Is(err, client.ErrLocked):
		return exitDisk
	case errors.Is(err, session.ErrDamaged), errors.Is(err, client.ErrChanged):
		return exitDamaged
	case errors.Is(err, session.ErrEvicted):
		return exitEvicted
	}
	return exitFailed
}

// codedError ends the program with a code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }
