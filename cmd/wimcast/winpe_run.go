package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"wimcast/client"
	"wimcast/client/machine"
	"wimcast/crypto/keyex"
	"wimcast/session"
)

// winpeRunCommand is what a boot image starts, and nobody types: get, with everything found out that a person would name.
type winpeRunCommand struct {
	Deployment  string        `help:"Deployment (default: the one that an earlier try has begun, else the only one that the bundle may have)." placeholder:"NAME"`
	Volume      string        `help:"Label of the volume to receive to (default: the one that an earlier try used, else the one with the most room; never a removable one)." placeholder:"LABEL"`
	Apply       string        `help:"Apply the image to this volume, by its label, or to this folder." placeholder:"TARGET"`
	Index       string        `help:"Image to apply, by its number or name." placeholder:"N"`
	Reboot      bool          `help:"Reboot when it is done and all is well." xor:"end"`
	Shutdown    bool          `help:"Turn the machine off when it is done and all is well." xor:"end"`
	NetworkWait time.Duration `help:"Give up when no distribution point was found for so long (default: never, as somebody may plug the cable in)." placeholder:"DURATION"`
	Stay        *bool         `help:"When it fails, leave the reason on the screen until somebody presses Enter (default: on a terminal)." negatable:""`
	Interface   string        `help:"Network interface of the group, by name or address (default: the one that reaches the server)." placeholder:"NAME"`
	Name        string        `help:"Name to be shown by (default: the host name)."`
	PIN         string        `name:"pin" env:"WIMCAST_PIN" help:"PIN of the room, where its bundle wants one (default: it is asked for at the terminal)." placeholder:"PIN"`
	NoUnicast   bool          `help:"Never fetch by unicast, even where the package allows it."`

	TestVolumes map[string]string `name:"test-volume" hidden:"" help:"Volumes in place of this machine's, LABEL=FOLDER: for tests." placeholder:"LABEL=FOLDER"`
}

// Event kinds of --json that only winpe run has.
const (
	eventNetwork    = "network"    // what keeps the machine from its distribution point, and that nothing does
	eventDeployment = "deployment" // one that the bundle may have
	eventVolume     = "volume"     // where the image goes
)

// Run implements the command.
func (w *winpeRunCommand) Run(ctx context.Context, c *console) error {
	screen := newScreen(c)
	end, err := w.ending()
	if err != nil {
		return err
	}
	screen.asked(w.Deployment)
	ctx = screen.open(ctx)
	defer screen.close() // after a panic too
	get, ways, err := w.prepare(ctx, c, screen)
	if err != nil {
		result := outcome{Result: session.Result{Package: w.Deployment}, ways: ways}
		screen.result(result, "", err)
		screen.journal.add(resultEvent(&result, "", err))
		(&getCommand{Name: w.Name}).shareLog(ctx, screen, &result, err)
	} else {
		err = w.receive(ctx, c, get, screen)
	}
	switch {
	case err == nil && end != nil:
		if err := end(ctx); err != nil {
			screen.event("notice", fmt.Sprintf("all is well, but %v; next: do it by hand", err))
		}
	case err != nil && w.stays(c):
		stay(ctx, c, err, screen.said)
	}
	return screen.told(err)
}

// receive makes the work folder and runs get. A folder that was made for nothing goes again.
func (w *winpeRunCommand) receive(ctx context.Context, c *console, get *getCommand, screen *screen) error {
	dir := filepath.Dir(get.Output)
	made := os.Mkdir(dir, 0o755)
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		err = &codedError{exitDisk, fmt.Errorf("make work folder: %w; next: remove what has its name, or name another volume by its label: --volume LABEL", cmp.Or(made, err))}
		screen.result(outcome{Result: session.Result{Package: get.Package}}, get.Output, err)
		return err
	}
	err := get.run(ctx, c, screen)
	if err != nil && made == nil {
		_ = os.Remove(dir) // only if it is empty
	}
	return err
}

// prepare finds out all that get needs. ways is where a log can go, nil where that isn't known yet.
func (w *winpeRunCommand) prepare(ctx context.Context, c *console, screen *screen) (get *getCommand, ways *reacher, err error) {
	name := cmp.Or(c.place.Bundle, firstBundle)
	bundle, err := keyex.ReadBundle(name)
	if err != nil {
		return nil, nil, &codedError{exitRefused, err}
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		return nil, nil, &codedError{exitRefused, err}
	}
	order := waysOf(bundle, &c.place)
	seek := &seeker{order: order, wanted: w.Deployment, credentials: credentials, screen: screen, key: newKey(w.PIN, screen)}
	ways = &reacher{order: order, credentials: credentials}
	list, err := seek.deployments(ctx, w.NetworkWait)
	if err != nil {
		return nil, ways, err
	}
	candidates, err := w.candidates()
	if err != nil {
		return nil, ways, &codedError{exitDisk, err}
	}
	one, err := w.choose(list, candidates, bundle.Identity().Name, screen)
	if err != nil {
		return nil, ways, err
	}
	get = &getCommand{Package: one.Name, Interface: w.Interface, Name: w.Name, NoUnicast: w.NoUnicast, Apply: w.target(candidates), Index: w.Index, key: seek.key}
	if err := w.place(get, &one, candidates, screen); err != nil {
		return nil, ways, &codedError{exitDisk, err}
	}
	return get, ways, nil
}

// choose is the deployment that the machine gets. One that was named and isn't listed is left to the join, which says why.
func (w *winpeRunCommand) choose(list []session.Deployed, candidates []workplace, bundle string, screen *screen) (session.Deployed, error) {
	if w.Deployment != "" {
		for _, one := range list {
			if one.Name == w.Deployment {
				return one, nil
			}
		}
		return session.Deployed{Name: w.Deployment}, nil
	}
	var begun []session.Deployed
	for _, one := range list {
		for i := range candidates {
			if _, held := candidates[i].part(one.Digest); held {
				begun = append(begun, one)
				break
			}
		}
	}
	switch {
	case len(list) == 0:
		return session.Deployed{}, &codedError{exitRefused, fmt.Errorf("find deployment: bundle %s may have none; next, on the server: wimcast deployment set NAME --who %q", bundle, bundle)}
	case len(list) == 1:
		return list[0], nil
	case len(begun) == 1:
		return begun[0], nil
	}
	for _, one := range list {
		screen.event(eventDeployment, offerText(&one))
	}
	return session.Deployed{}, &codedError{exitRefused, fmt.Errorf("find deployment: bundle %s may have %d, from %s to %s; next: wimcast winpe run --deployment NAME (or name it at wimcast winpe inject)",
		bundle, len(list), list[0].Name, list[len(list)-1].Name)}
}

// offerText is a deployment that a machine may have, in a line.
func offerText(d *session.Deployed) string {
	image := ""
	if d.Index > 0 {
		image = fmt.Sprintf(", image %d", d.Index)
	}
	return fmt.Sprintf("%s: %s%s, %s", d.Name, d.Package, image, bytesText(float64(d.Size)))
}

// workFolder is where images are kept on a volume.
const workFolder = "wimcast"

// workplace is a volume with what an earlier try left there.
type workplace struct {
	machine.Volume
	work  bool // it has a work folder
	parts []client.Part
}

// dir is the volume's work folder.
func (p *workplace) dir() string { return filepath.Join(p.Root, workFolder) }

// part finds what there is of an image.
func (p *workplace) part(digest [32]byte) (client.Part, bool) {
	for _, part := range p.parts {
		if part.Digest == digest {
			return part, true
		}
	}
	return client.Part{}, false
}

// candidates looks at all volumes. What can't be read in a work folder is as if it weren't there.
func (w *winpeRunCommand) candidates() ([]workplace, error) {
	var volumes []machine.Volume
	for label, dir := range w.TestVolumes {
		volumes = append(volumes, machine.DirVolume(dir, label))
	}
	if len(w.TestVolumes) == 0 {
		var err error
		if volumes, err = machine.Volumes(); err != nil {
			return nil, err
		}
	}
	list := make([]workplace, len(volumes))
	for i, v := range volumes {
		p := workplace{Volume: v}
		if info, err := os.Lstat(p.dir()); v.Unfit == "" && err == nil && info.IsDir() {
			p.work = true
			p.parts, _ = client.Parts(p.dir())
		}
		list[i] = p
	}
	return list, nil
}

// place says in get where the image goes: to what an earlier try has of it, or to a file of the deployment's name. A finished one that
// is there already is the seed of its successor, which replaces it.
func (w *winpeRunCommand) place(get *getCommand, one *session.Deployed, list []workplace, screen *screen) error {
	candidates := make([]machine.Candidate, len(list))
	for i := range list {
		part, _ := list[i].part(one.Digest)
		candidates[i] = machine.Candidate{Volume: list[i].Volume, Held: part.Held, Work: list[i].work}
	}
	chosen, err := machine.Choose(candidates, w.Volume, one.Size)
	if err != nil {
		return err
	}
	at := workplace{Volume: chosen.Volume}
	file := fileName(one.Name)
	for i := range list {
		if part, held := list[i].part(one.Digest); held && list[i].Root == chosen.Root {
			file = part.File
		}
	}
	get.Output, get.Overwrite = filepath.Join(at.dir(), file), true
	text := fmt.Sprintf("receiving to %s", get.Output)
	if info, err := os.Lstat(get.Output); err == nil && info.Mode().IsRegular() {
		get.Seed = get.Output
		text += ", which an earlier version of it is in"
	}
	if chosen.Held > 0 {
		text += fmt.Sprintf("; an earlier try left %s of it", bytesText(float64(chosen.Held)))
	}
	screen.event(eventVolume, text)
	return nil
}

// target is where to apply to: the volume of that label, else the folder of that name.
func (w *winpeRunCommand) target(list []workplace) string {
	for i := range list {
		if w.Apply != "" && list[i].Is(w.Apply) {
			return list[i].Root
		}
	}
	return w.Apply
}

// ending returns what to do when all is well; nil for nothing.
func (w *winpeRunCommand) ending() (func(context.Context) error, error) {
	var verb string
	switch {
	case w.Reboot:
		verb = "reboot"
	case w.Shutdown:
		verb = "shutdown"
	default:
		return nil, nil
	}
	program, err := exec.LookPath("wpeutil")
	if err != nil {
		return nil, &codedError{exitUsage, fmt.Errorf("--%s is done by wpeutil, which only Windows PE has: %w; next: leave --%s out", verb, err, verb)}
	}
	return func(ctx context.Context) error {
		if err := exec.CommandContext(ctx, program, verb).Run(); err != nil {
			return fmt.Errorf("wpeutil %s failed: %w", verb, err)
		}
		return nil
	}, nil
}

// stays reports whether a failure stays on the screen.
func (w *winpeRunCommand) stays(c *console) bool {
	if w.Stay != nil {
		return *w.Stay
	}
	out, is := c.err.(*os.File)
	return is && !c.json && term.IsTerminal(int(out.Fd())) && term.IsTerminal(int(os.Stdin.Fd()))
}

// stay leaves the reason on the screen until Enter is pressed, or ctx ends. said: it is there already.
func stay(ctx context.Context, c *console, reason error, said bool) {
	if !said {
		_, _ = fmt.Fprintf(c.err, "\nwimcast: %v\n", reason)
	}
	_, _ = fmt.Fprintf(c.err, "\nexit code %d; press Enter to go on\n", exitCode(reason))
	pressed := make(chan struct{})
	go func() {
		defer close(pressed)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // may outlive this: the program ends next
	}()
	select {
	case <-pressed:
	case <-ctx.Done():
	}
}
