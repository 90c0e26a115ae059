package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"wimcast/client/volume"
	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// Step is what is being done: a closed set.
type Step string

// The steps.
const (
	StepImage   Step = "image"   // the image is put onto the volume
	StepUpdates Step = "updates" // updates that are staged in it are installed
)

// Job is one image on its way to a target.
type Job struct {
	Target *Target
	// File is the WIM by its path: proven, and the same until Run has ended, which is the caller's to see to.
	File string
	// Content is the same WIM, to read its tables; Size its bytes.
	Content io.ReaderAt
	Size    int64
	Digest  string // of the content
	// Want and Index say which image, as Choose has it.
	Want  string
	Index int
	// DISM is the program to apply by, dism.exe or what stands in its place; "": wimlib-imagex.
	DISM string
	// Progress hears how far a step is, 0 to 1, from one goroutine; it must not block. nil: nobody does.
	Progress func(step Step, share float64)
	// Chosen hears which image it is, before anything is written. nil: nobody does.
	Chosen func(wim.Image)
}

// Result is what came of a Job.
type Result struct {
	Image   wim.Image // which it was; zero where it couldn't be chosen
	Elapsed time.Duration
	Target  string // its path
	Updates bool   // staged updates were installed
	Log     string // of DISM, where there is one
}

// Available says whether the program can be run here: nil, or an error that matches ErrFailed.
func Available(dism string) error {
	if dism == "" {
		if err := wimlib.Available(); err != nil {
			return &failure{kind: ErrFailed, text: fmt.Sprintf("apply: %v", err), err: err}
		}
		return nil
	}
	if _, err := exec.LookPath(dism); err != nil {
		return &failure{kind: ErrFailed, text: fmt.Sprintf("apply: DISM isn't here: %v; next: boot Windows PE, which has it", err), err: err}
	}
	return nil
}

// Run applies the image. Errors match ErrIndex or ErrTarget where nothing was changed in the target but the work folder, ErrFailed
// where the target is half applied: applying.json is there then, and the same job may be run again.
func (j *Job) Run(ctx context.Context) (result Result, err error) {
	began := time.Now()
	result.Target = j.Target.Path
	defer func() { result.Elapsed = time.Since(began) }()
	file, err := wim.Open(j.Content, j.Size)
	if err != nil {
		return result, &failure{kind: ErrTarget, text: fmt.Sprintf("apply %s: the package is no WIM that can be applied: %v", j.File, err), err: err}
	}
	if result.Image, err = Choose(file.Images, j.Want, j.Index); err != nil {
		return result, err
	}
	if err := j.check(file, &result.Image); err != nil {
		return result, err
	}
	if j.Chosen != nil {
		j.Chosen(result.Image)
	}
	if err := j.Target.MakeWork(); err != nil {
		return result, err
	}
	now, err := volume.Of(j.Target.Path)
	if err != nil {
		return result, refused(j.Target.Path, err, "%v", err)
	}
	m := mark{Digest: j.Digest, Index: result.Image.Index, Free: now.Free, Began: began.UTC()}
	if old := j.Target.half; old != nil {
		m.Free = max(m.Free, old.Free)
	}
	if err := j.Target.writeMark(m); err != nil {
		return result, refused(j.Target.Path, err, "%v", err)
	}
	check := file.Integrity.Size > 0
	if j.DISM == "" {
		err = wimlib.Apply(ctx, j.File, result.Image.Index, j.Target.Path, check, j.tell(StepImage))
		return result, j.failed(ctx, err, "")
	}
	result.Log = j.Target.Log()
	d := &dism{program: j.DISM, target: j.Target, log: result.Log}
	if err := os.Mkdir(d.scratch(), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return result, j.failed(ctx, err, "")
	}
	if err := d.call(ctx, j.tell(StepImage), nil, d.applyArgs(j.File, result.Image.Index, check)...); err != nil {
		return result, j.failed(ctx, err, result.Log)
	}
	staged, err := j.Target.staged()
	if err != nil {
		return result, j.unserviced(ctx, err, result.Log)
	}
	if !staged {
		return result, nil
	}
	if err := d.call(ctx, j.tell(StepUpdates), d.unattendEnv(), d.unattendArgs()...); err != nil {
		return result, j.unserviced(ctx, err, result.Log)
	}
	result.Updates = true
	return result, nil
}

// check refuses what can't be applied, or not here.
func (j *Job) check(file *wim.File, image *wim.Image) error {
	t := j.Target
	windows := image.HasArchitecture || image.EditionID != "" || image.SystemRoot != ""
	switch {
	case file.Split():
		return refused(t.Path, nil, "%s is a part of a split set; next: on the server, add the whole set again (wimcast image add)", j.File)
	case file.Pipable && j.DISM != "":
		return refused(t.Path, nil, "%s is of wimlib's pipable kind, which DISM doesn't read; next: on the server, wimlib-imagex export --not-pipable, and add that", j.File)
	}
	if err := t.Takes(j.DISM != "" || windows); err != nil {
		return err
	}
	if err := t.Begin(j.Digest, image.Index); err != nil {
		return err
	}
	return t.Fits(t.Path, 0, image.Room())
}

// tell returns a listener for a step.
func (j *Job) tell(step Step) func(float64) {
	if j.Progress == nil {
		return nil
	}
	return func(share float64) { j.Progress(step, share) }
}

// failed says what a failed program leaves behind; nil for nil.
func (j *Job) failed(ctx context.Context, err error, log string) error {
	if err == nil {
		return nil
	}
	why := err.Error()
	if ctx.Err() != nil {
		why = "it was stopped"
	}
	if log != "" {
		why += "; log " + log
	}
	return &failure{kind: ErrFailed, err: err, text: fmt.Sprintf("apply to %s: %s; %s is half applied and won't start; next: the same command again (%s is proven, and isn't received again)",
		j.Target.Path, why, j.Target.Path, filepath.Base(j.File))}
}

// unserviced says that the image is there, and its updates aren't.
func (j *Job) unserviced(ctx context.Context, err error, log string) error {
	why := err.Error()
	if ctx.Err() != nil {
		why = "it was stopped"
	}
	return &failure{kind: ErrFailed, err: err, text: fmt.Sprintf("apply to %s: the image is applied, its staged updates aren't: %s; log %s; next: the same command again (%s is proven, and isn't received again)",
		j.Target.Path, why, log, filepath.Base(j.File))}
}
