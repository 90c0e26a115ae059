package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"wimcast/client"
	"wimcast/client/apply"
	display "wimcast/client/screen"
	"wimcast/library/wim"
	"wimcast/session"
)

// appliedResult is what `get --json` says of an applying.
type appliedResult struct {
	Index   int      `json:"applied_index,omitempty"`
	Image   string   `json:"applied_image,omitempty"`
	Applied float64  `json:"apply_seconds,omitempty"`
	Updates bool     `json:"updates_installed,omitempty"`
	Logs    []string `json:"logs,omitempty"`
}

func appliedTo(o *outcome) (r appliedResult) {
	r.Logs = o.Logs
	if a := o.Applied; a != nil {
		r.Index, r.Image, r.Applied, r.Updates = a.Image.Index, a.Image.Name, a.Elapsed.Seconds(), a.Updates
	}
	return r
}

func appliedText(a *apply.Result) string {
	text := fmt.Sprintf("image %s applied to %s in %s", imageText(&a.Image), a.Target, a.Elapsed.Round(100*time.Millisecond))
	if a.Updates {
		text += ", its staged updates installed"
	}
	return text
}

// imageText names an image as people choose it.
func imageText(i *wim.Image) string { return fmt.Sprintf("%d (%.60q)", i.Index, i.Name) }

// applying is the part of a get that applies.
type applying struct {
	target *apply.Target
	want   string
	dism   string
	keep   bool
	own    string // name of the file in the work folder, "" where it lies elsewhere
	output string
	screen *screen
	offer  session.Offer
}

// applies looks at where the image is to be applied, before anything else is done. It names the file in *output where nobody did. nil: nothing is to be applied.
func (g *getCommand) applies(output *string, screen *screen) (*applying, error) {
	switch {
	case g.Apply == "" && (g.Index != "" || g.ForceApply || g.Keep):
		return nil, &codedError{exitUsage, fmt.Errorf("get: --index, --force-apply and --keep go with --apply TARGET")}
	case g.Apply == "":
		return nil, nil
	case g.Discard:
		return nil, &codedError{exitUsage, fmt.Errorf("get: --discard leaves nothing to apply")}
	}
	a := &applying{want: g.Index, dism: g.DISM, keep: g.Keep, screen: screen}
	if a.dism == "" && runtime.GOOS == "windows" {
		a.dism = "dism.exe"
	}
	if err := apply.Available(a.dism); err != nil {
		return nil, err
	}
	mine := []string{}
	for _, path := range []string{g.Output, g.Seed} {
		if path != "" {
			mine = append(mine, path)
		}
	}
	var err error
	if a.target, err = apply.OpenTarget(g.Apply, g.ForceApply, mine...); err != nil {
		return nil, err
	}
	if err := a.target.Takes(a.dism != ""); err != nil { // DISM applies Windows, and nothing else
		return nil, err
	}
	if g.Output == "" {
		if err := a.target.MakeWork(); err != nil {
			return nil, err
		}
		a.own = fileName(g.Package)
		*output = filepath.Join(a.target.Work(), a.own)
	}
	a.output = *output
	return a, nil
}

// offered refuses what can't be applied, or not here, before it is received.
func (a *applying) offered(o session.Offer, file *client.File) error {
	a.offer = o
	if err := apply.CheckWant(a.want, o.Apply.Images, o.Apply.Index); err != nil {
		return err
	}
	if err := a.target.Begin(o.Digest.String(), 0); err != nil {
		return err
	}
	unpacked := o.Apply.Room
	if n, err := strconv.Atoi(a.want); a.want != "" && o.Apply.Index > 0 && (err != nil || n != o.Apply.Index) {
		unpacked = 0 // of another image: known once the file is there
	}
	missing, err := file.Missing(o.Size)
	if err != nil {
		return fmt.Errorf("%w: %w", session.ErrTarget, err)
	}
	return a.target.Fits(filepath.Dir(a.output), missing, unpacked)
}

// owns reports whether the file is one that lies in the work folder, and may be replaced by another image's.
func (a *applying) owns() bool { return a != nil && a.own != "" }

// run applies the file, which has just been proven and is held open since.
func (a *applying) run(ctx context.Context, file *client.File, result *outcome) error {
	if err := file.Unchanged(); err != nil {
		return err
	}
	job := &apply.Job{
		Target: a.target, File: a.output, Content: file.Finished(), Size: result.Size, Digest: result.Digest.String(), Want: a.want, Index: a.offer.Apply.Index, DISM: a.dism,
		Chosen: func(image wim.Image) {
			a.screen.event(eventApplying, fmt.Sprintf("applying image %s to %s", imageText(&image), a.target.Path))
		},
		Progress: a.screen.applying,
	}
	applied, err := job.Run(ctx)
	if applied.Image.Index > 0 {
		result.Applied = &applied
	}
	if info, e := os.Stat(applied.Log); applied.Log != "" && e == nil && info.Mode().IsRegular() {
		result.Logs = append(result.Logs, applied.Log)
	}
	if changed := file.Unchanged(); err == nil && changed != nil {
		return changed
	}
	return err
}

// tellStopped is how long a client that is being stopped tries to tell the server so.
const tellStopped = 3 * time.Second

// tell tells the server what came of it, as a courtesy: also when the client is being stopped.
func (a *applying) tell(ctx context.Context, reach *reacher, result *outcome, failed error) {
	index, took, reason := 0, time.Duration(0), ""
	if r := result.Applied; r != nil {
		index, took = r.Image.Index, r.Elapsed
	}
	if failed != nil {
		reason = failed.Error()
	}
	telling := context.WithoutCancel(ctx)
	if ctx.Err() != nil { // somebody waits for the end
		var stop context.CancelFunc
		telling, stop = context.WithTimeout(telling, tellStopped)
		defer stop()
	}
	if err := session.TellApplied(telling, reach.dial, result.Ticket, failed != nil, index, took, reason); err != nil {
		a.screen.event("notice", fmt.Sprintf("the distribution point wasn't told that the image was applied: %v", err))
	}
}

// leave tidies the work folder up. After a failure everything stays there for another try, and for whoever looks into it.
func (a *applying) leave(failed error, screen *screen) {
	if a == nil {
		return
	}
	if failed != nil {
		_ = os.Remove(a.target.Work()) // only if nothing is in it
		return
	}
	var files []string
	if a.own != "" && !a.keep {
		files = client.Names(a.own)
	}
	if err := a.target.Clean(a.keep, files...); err != nil {
		screen.event("notice", fmt.Sprintf("the image is applied, but the work folder couldn't be removed: %v", err))
	}
}

// eventApplying is the kind of the events of --json while an image is being applied. Those with a text say what begins.
const eventApplying = "applying"

// applyEvery is how often progress is told, at most.
const applyEvery = 250 * time.Millisecond

// stepTexts say what a step does.
var stepTexts = map[apply.Step]string{apply.StepImage: "applying the image", apply.StepUpdates: "installing staged updates"}

// applying shows how far the applying is.
func (s *screen) applying(step apply.Step, share float64) {
	if !s.c.json {
		s.phase(display.Applying, stepTexts[step])
		s.applied(share)
		return
	}
	s.mu.Lock()
	now := time.Now()
	due := now.Sub(s.applyTold) >= applyEvery || share >= 1
	if due {
		s.applyTold = now
	}
	s.mu.Unlock()
	if due {
		s.line(getEvent{Event: eventApplying, Path: string(step), Share: share})
	}
}
