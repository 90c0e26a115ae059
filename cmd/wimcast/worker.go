package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// workerCommand is a Windows machine that installs updates into images with DISM, for a distribution point.
type workerCommand struct {
	Scratch string `help:"Folder for images while they are worked on; it takes three times the image (default: a new one in the temporary folder)." placeholder:"DIR"`
	Once    bool   `help:"End after one job."`
	// DISM is another program in its place, for tests on machines without it.
	DISM string `name:"dism" hidden:"" env:"WIMCAST_TEST_DISM"`
}

// Times of a worker.
const (
	workerPoll   = 5 * time.Second  // between two askings for work
	workerReport = 15 * time.Second // between two signs of life; the daemon waits for six of them
	workerTries  = 5                // of a transfer that breaks off
)

// Run implements the command. It ends when it is interrupted, or when it can't work.
func (w *workerCommand) Run(ctx context.Context, c *console) error {
	program := w.DISM
	if program == "" {
		if runtime.GOOS != "windows" {
			return errors.New("worker: this isn't Windows, and DISM is there only; next: run it on a Windows machine, as administrator")
		}
		program = "dism.exe"
	}
	client, err := w.connect(&c.place)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	scratch := w.Scratch
	if scratch == "" {
		if scratch, err = os.MkdirTemp("", "wimcast-worker-"); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		defer func() { _ = os.RemoveAll(scratch) }()
	}
	_, _ = fmt.Fprintln(c.err, "wimcast: worker: waiting for jobs")
	for first := true; ctx.Err() == nil; {
		claim, err := client.ClaimJob(ctx)
		_, refused := errors.AsType[*api.Problem](err)
		switch {
		case ctx.Err() != nil:
			continue
		case refused, err != nil && first:
			return fmt.Errorf("worker: %w", err)
		case err != nil:
			_, _ = fmt.Fprintf(c.err, "wimcast: worker: %v; trying again\n", err)
		}
		first = false
		if claim.Job != nil {
			_, _ = fmt.Fprintf(c.err, "wimcast: worker: job %s: %s into an image of %s\n", printable(claim.Job.ID), count(len(claim.Job.Packages), "package"), bytesText(float64(claim.Job.Size)))
			err := (&work{client: client, job: claim.Job, dism: program, scratch: scratch}).run(ctx)
			if err != nil {
				_, _ = fmt.Fprintf(c.err, "wimcast: worker: job %s: %v\n", printable(claim.Job.ID), err)
			} else {
				_, _ = fmt.Fprintf(c.err, "wimcast: worker: job %s: done\n", printable(claim.Job.ID))
			}
			if w.Once {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(workerPoll):
		}
	}
	return nil
}

// connect goes to the admin API with a worker's bundle.
func (w *workerCommand) connect(p *place) (*api.Client, error) {
	if p.Bundle == "" {
		return nil, errors.New("it wants a worker's bundle: --bundle FILE; on the server: wimcast bundle create NAME --role worker")
	}
	bundle, err := keyex.ReadBundle(p.Bundle)
	if err != nil {
		return nil, err
	}
	if role := bundle.Identity().Role; role != keyex.Worker {
		return nil, fmt.Errorf("%s is of role %s; on the server: wimcast bundle create NAME --role worker", p.Bundle, role)
	}
	return p.remote(bundle)
}

// work is one job.
type work struct {
	client  *api.Client
	job     *api.WorkerJob
	dism    string
	scratch string
	dir     string // of this job

	mu    sync.Mutex
	steps []api.WorkerStep
}

// run does a job and hands back what came of it. What goes wrong here is told to the daemon too.
func (w *work) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if w.dir, err = os.MkdirTemp(w.scratch, "job-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(w.dir) }()
	var telling sync.WaitGroup
	telling.Go(func() { w.tell(ctx, cancel) })
	err = w.perform(ctx)
	cancel(err)
	telling.Wait()
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errJobGone) {
		return cause // nobody waits for an answer
	}
	report := api.WorkerReport{Steps: w.told(), Done: true}
	if err != nil {
		report.Failure = err.Error()
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	return errors.Join(err, w.client.ReportJob(last, w.job.ID, report))
}

// errJobGone says that the daemon doesn't want the job any more.
var errJobGone = errors.New("the job is over, or another worker has it")

// tell gives signs of life, and ends the work when the daemon doesn't want it any more.
func (w *work) tell(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(workerReport)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.client.ReportJob(ctx, w.job.ID, api.WorkerReport{Steps: w.told()})
		if _, refused := errors.AsType[*api.Problem](err); refused {
			cancel(fmt.Errorf("%w: %w", errJobGone, err))
			return
		}
	}
}

func (w *work) told() []api.WorkerStep {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]api.WorkerStep{}, w.steps...)
}

// step notes what became of a package.
func (w *work) step(reference, state, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(slices.DeleteFunc(w.steps, func(s api.WorkerStep) bool { return s.Package == reference }), api.WorkerStep{Package: reference, State: state, Text: text})
}

// perform fetches everything, has DISM install it, and hands the image back.
func (w *work) perform(ctx context.Context) error {
	image := filepath.Join(w.dir, "image.wim")
	if err := w.fetch(ctx, image, "", w.job.Size, w.job.SHA256); err != nil {
		return fmt.Errorf("fetch the image: %w", err)
	}
	// All packages in one folder, by their own names: DISM finds those that one builds on there.
	packages := filepath.Join(w.dir, "packages")
	mount, temporary := filepath.Join(w.dir, "mount"), filepath.Join(w.dir, "dism")
	for _, dir := range []string{packages, mount, temporary} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	paths := make([]string, len(w.job.Packages))
	for i, p := range w.job.Packages {
		if !packageName.MatchString(p.File) {
			return fmt.Errorf("fetch %s: a file can't be called %.80q", p.Reference, p.File)
		}
		paths[i] = filepath.Join(packages, p.File)
		if err := w.fetch(ctx, paths[i], p.SHA256, p.Size, p.SHA256); err != nil {
			return fmt.Errorf("fetch %s: %w", p.Reference, err)
		}
	}
	changed, err := w.install(ctx, image, mount, temporary, paths)
	if err != nil || !changed {
		return err
	}
	return w.upload(ctx, image)
}

// packageName is what files of packages may be called.
var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\.(?i:msu|cab)$`)

// install mounts the image, installs the packages in their order, and commits; or discards where nothing, or
// without continue on error not everything, could be installed.
func (w *work) install(ctx context.Context, image, mount, temporary string, paths []string) (changed bool, err error) {
	scratch := "/ScratchDir:" + temporary
	if text, err := w.call(ctx, "/Mount-Image", "/ImageFile:"+image, fmt.Sprintf("/Index:%d", w.job.Index), "/MountDir:"+mount, scratch); err != nil {
		return false, fmt.Errorf("mount the image: %w: %s", err, text)
	}
	commit := false
	defer func() {
		if commit {
			return
		}
		// Also when the job was called off: a mounted image is in the way of the next.
		off, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
		defer stop()
		if text, discard := w.call(off, "/Unmount-Image", "/MountDir:"+mount, "/Discard", scratch); discard != nil {
			err = errors.Join(err, fmt.Errorf("discard the image: %w: %s; next: dism /Cleanup-Mountpoints", discard, text))
		}
	}()
	good, stopped := 0, false
	for i, p := range w.job.Packages {
		if stopped {
			w.step(p.Reference, "failed", "not tried, since one before it failed")
			continue
		}
		w.step(p.Reference, "in_process", "")
		text, err := w.call(ctx, "/Image:"+mount, "/Add-Package", "/PackagePath:"+paths[i], scratch)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			w.step(p.Reference, "failed", fmt.Sprintf("DISM: %v: %s", err, text))
			stopped = !w.job.ContinueOnError
		default:
			good++
			w.step(p.Reference, "successful", "installed by DISM")
		}
	}
	if good == 0 || stopped {
		if stopped {
			for _, s := range w.told() {
				if s.State == "successful" {
					w.step(s.Package, "failed", "installed, and discarded with the rest")
				}
			}
		}
		return false, nil
	}
	if text, err := w.call(ctx, "/Unmount-Image", "/MountDir:"+mount, "/Commit", scratch); err != nil {
		return false, fmt.Errorf("commit the image: %w: %s", err, text)
	}
	commit = true
	return true, nil
}

// restartRequired is DISM's exit code for what is done and wants a restart, which an image at rest doesn't.
const restartRequired = 3010

// maxSaid bounds what is kept of what DISM says, in bytes; the reason comes last.
const maxSaid = 800

// run1 runs DISM and returns the end of what it said, in one line.
func (w *work) call(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.dism, append([]string{"/English"}, args...)...)
	out, err := cmd.CombinedOutput()
	said := strings.Join(strings.Fields(string(out)), " ")
	if len(said) > maxSaid {
		said = "…" + strings.ToValidUTF8(said[len(said)-maxSaid:], "")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == restartRequired {
		return printable(said), nil
	}
	return printable(said), err
}

// fetch gets a file of the job, goes on where it broke off, and proves it.
func (w *work) fetch(ctx context.Context, to, sum string, size int64, want string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	var have int64
	for try := 1; ; try++ {
		body, err := w.client.JobFile(ctx, w.job.ID, sum, have)
		if err == nil {
			var n int64
			n, err = io.Copy(io.MultiWriter(f, hash), io.LimitReader(body, size-have+1))
			_ = body.Close()
			have += n
			if err == nil && have == size {
				break
			}
			if have > size {
				return fmt.Errorf("more than its %d bytes came", size)
			}
		}
		_, refused := errors.AsType[*api.Problem](err)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case refused || try >= workerTries:
			return fmt.Errorf("%d of %d bytes came: %w", have, size, errors.Join(err, errors.New("it broke off")))
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("its SHA-256 is %.12s, and should be %.12s", got, want)
	}
	return f.Close()
}

// upload hands the image back.
func (w *work) upload(ctx context.Context, image string) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	for try := 1; ; try++ {
		err = w.client.UploadJob(ctx, w.job.ID, io.NewSectionReader(f, 0, size), size, sum)
		_, refused := errors.AsType[*api.Problem](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case refused || try >= workerTries:
			return fmt.Errorf("hand the image back: %w", err)
		}
	}
}
