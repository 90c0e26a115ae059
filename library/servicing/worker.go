package servicing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"wimcast/library/wim"
)

// Workers are Windows machines that install updates into an image with DISM. They ask for work; nobody calls
// them. At most one job is there at a time, since runs come one after the other.

// Times of a job.
const (
	workerLease = 90 * time.Second // without a word of its worker the job waits for another
	workerWait  = time.Hour        // how long a job waits for a worker at all
	maxLeases   = 3                // workers that may be lost before the job has failed
)

// Job is what a worker is asked to do: install packages into one image of a WIM, in their order.
type Job struct {
	ID              string
	Index           int
	ContinueOnError bool
	Size            int64  // of the WIM
	SHA256          string // of the WIM
	Packages        []JobPackage
}

// JobPackage is a package of a job.
type JobPackage struct {
	Reference string
	File      string // its name as it came, where that is a plain one: chains of packages find each other by their names
	SHA256    string
	Size      int64
}

// JobStep is what became of a package.
type JobStep struct {
	Reference string
	State     State
	Text      string
}

// ErrNotYours says that the job is over, or another worker has it.
var ErrNotYours = errors.New("the job is over, or another worker has it")

// workers hands a job to workers. Safe for concurrent use.
type workers struct {
	lease, wait time.Duration

	mu  sync.Mutex
	job *offered // nil where there is none
}

// offered is a job on offer, or in work.
type offered struct {
	Job
	file   string            // the WIM
	paths  map[string]string // of packages, by SHA-256
	worker string            // who has it; "" while it waits
	heard  time.Time         // when that one was last heard of
	since  time.Time         // when it began to wait
	lost   int               // workers that were lost
	result string            // path of what came back, proven; "" before
	steps  []JobStep
	done   chan error // one value: why the job failed, or nil
	over   bool
}

// perform offers a job and waits for its end. stepped is told of each package's state as the worker tells of it. It returns the
// path of the WIM that came back; "" where nothing was changed.
func (w *workers) perform(ctx context.Context, o *offered, stepped func([]JobStep)) (string, error) {
	o.since, o.done = time.Now(), make(chan error, 1)
	w.mu.Lock()
	w.job = o
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		o.over, w.job = true, nil
		w.mu.Unlock()
	}()
	tick := time.NewTicker(w.lease / 6)
	defer tick.Stop()
	for told := []JobStep(nil); ; {
		var err error
		over := false
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case err = <-o.done:
			over = true
		case now := <-tick.C:
			if err = w.judge(o, now); err != nil {
				return "", err
			}
		}
		w.mu.Lock()
		steps, result := slices.Clone(o.steps), o.result
		w.mu.Unlock()
		if !slices.Equal(steps, told) {
			told = steps
			stepped(steps)
		}
		if over {
			return result, err
		}
	}
}

// judge takes a job from a worker that isn't heard of, and gives up a job that nobody does.
func (w *workers) judge(o *offered, now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case o.worker == "" && now.Sub(o.since) > w.wait:
		return fmt.Errorf("no worker asked for it in %v; next, on a Windows machine: wimcast worker --bundle FILE", w.wait)
	case o.worker != "" && now.Sub(o.heard) > w.lease:
		if o.lost++; o.lost >= maxLeases {
			return fmt.Errorf("%d workers took it and weren't heard of again, the last one was %s", o.lost, o.worker)
		}
		o.worker, o.since, o.steps, o.result = "", now, nil, ""
	}
	return nil
}

// mine returns the job of that id if a worker has it. mu must be held.
func (w *workers) mine(id, worker string) (*offered, error) {
	if o := w.job; o != nil && o.ID == id && o.worker == worker && !o.over {
		o.heard = time.Now()
		return o, nil
	}
	return nil, fmt.Errorf("job %.40q: %w", id, ErrNotYours)
}

// ClaimJob gives a worker the job that waits; false where there is none. Workers are told apart by what names them, such as
// name and serial of a certificate; one that asks again while it has a job begins it anew.
func (s *Service) ClaimJob(worker string) (Job, bool) {
	w := &s.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.job
	if o == nil || o.over || o.worker != "" && o.worker != worker {
		return Job{}, false
	}
	o.worker, o.heard, o.steps, o.result = worker, time.Now(), nil, ""
	return o.Job, true
}

// JobFile returns where a file of a job lies: the WIM without a sum, else the package of that SHA-256.
func (s *Service) JobFile(id, worker, sum string) (string, error) {
	w := &s.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.mine(id, worker)
	if err != nil {
		return "", err
	}
	if sum == "" {
		return o.file, nil
	}
	path, ok := o.paths[sum]
	if !ok {
		return "", fmt.Errorf("%w: job %s has no package %.12q", ErrNotFound, id, sum)
	}
	return path, nil
}

// ReportJob notes how far a worker is, which is also its sign of life.
func (s *Service) ReportJob(id, worker string, steps []JobStep) error {
	w := &s.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.mine(id, worker)
	if err != nil {
		return err
	}
	return o.take(steps)
}

// take notes steps: of packages of this job only.
func (o *offered) take(steps []JobStep) error {
	next := make([]JobStep, 0, len(o.Packages))
	for _, step := range steps {
		known := slices.ContainsFunc(o.Packages, func(p JobPackage) bool { return p.Reference == step.Reference })
		twice := slices.ContainsFunc(next, func(s JobStep) bool { return s.Reference == step.Reference })
		if !known || twice || !slices.Contains([]State{InProcess, Successful, Failed}, step.State) {
			return fmt.Errorf("job %s has no step %.80q that is %.20q", o.ID, step.Reference, step.State)
		}
		step.Text = printable(step.Text)
		next = append(next, step)
	}
	o.steps = next
	return nil
}

// UploadJob takes the WIM that a worker made: size bytes, which must have that SHA-256.
func (s *Service) UploadJob(ctx context.Context, id, worker string, r io.Reader, size int64, sum string) error {
	w := &s.workers
	hear := func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, err := w.mine(id, worker)
		return err
	}
	if err := hear(); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.workPath(), "result-")
	if err != nil {
		return noSpace(err)
	}
	keep := false
	defer func() {
		_ = f.Close()
		if !keep {
			_ = os.Remove(f.Name())
		}
	}()
	hash := sha256.New()
	var n int64
	for buf := make([]byte, gentleChunk); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		got, err := io.ReadFull(r, buf)
		if got > 0 {
			n += int64(got)
			_, _ = hash.Write(buf[:got])
			if _, err := f.Write(buf[:got]); err != nil {
				return noSpace(err)
			}
			if err := hear(); err != nil { // an upload is a sign of life; and nobody uploads what isn't wanted any more
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("take the image of job %s: after %d bytes: %w", id, n, err)
		}
	}
	if got := hex.EncodeToString(hash.Sum(nil)); n != size || got != sum {
		return fmt.Errorf("take the image of job %s: %d bytes with SHA-256 %.12s came, %d with %.12s were meant; upload it again", id, n, got, size, sum)
	}
	file, err := wim.Open(f, n)
	if err != nil {
		return fmt.Errorf("take the image of job %s: %w", id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.mine(id, worker)
	if err != nil {
		return err
	}
	if o.Index > len(file.Images) {
		return fmt.Errorf("take the image of job %s: it has %d images, and %d was to be changed", id, len(file.Images), o.Index)
	}
	if o.result != "" {
		_ = os.Remove(o.result)
	}
	o.result, keep = f.Name(), true
	return nil
}

// EndJob ends a job: with a failure in words, or with "" where the worker did what it could. Where a step was
// successful the image must have been uploaded.
func (s *Service) EndJob(id, worker string, steps []JobStep, failure string) error {
	w := &s.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	o, err := w.mine(id, worker)
	if err != nil {
		return err
	}
	if err := o.take(steps); err != nil {
		return err
	}
	if failure != "" {
		err = fmt.Errorf("worker %s: %s", worker, printable(failure))
	} else {
		if len(o.steps) != len(o.Packages) || slices.ContainsFunc(o.steps, func(s JobStep) bool { return s.State == InProcess }) {
			return fmt.Errorf("job %s has %d packages, and %d were told of", id, len(o.Packages), len(o.steps))
		}
		if o.result == "" && slices.ContainsFunc(o.steps, func(s JobStep) bool { return s.State == Successful }) {
			return fmt.Errorf("job %s changed the image, and it wasn't uploaded", id)
		}
	}
	o.over = true
	o.done <- err
	return nil
}

// applyByWorker has a worker apply tasks, which are of one image, and returns what became of each.
func (s *Service) applyByWorker(ctx context.Context, tasks []Task, order *Order, file string, stepped func([]JobStep)) ([]JobStep, error) {
	o := &offered{Job: Job{ID: rand.Text(), Index: tasks[0].Index, ContinueOnError: order.ContinueOnError}, file: file, paths: map[string]string{}}
	for _, t := range tasks {
		u := &t.Update
		if !u.Kind.IsUpdate() {
			return nil, fmt.Errorf("%w: %s is an overlay, not an update", ErrUnsupported, u.ID)
		}
		if err := s.cfg.Catalogue.prove(ctx, u); err != nil {
			return nil, fmt.Errorf("%s: %w", u.Reference(), err)
		}
		name := u.File
		if !stagedName.MatchString(name) || slices.ContainsFunc(o.Packages, func(p JobPackage) bool { return strings.EqualFold(p.File, name) }) {
			name = u.Reference() + "." + string(u.Kind)
		}
		o.Packages = append(o.Packages, JobPackage{Reference: u.Reference(), File: name, SHA256: u.SHA256, Size: u.Size})
		o.paths[u.SHA256] = s.cfg.Catalogue.path(u)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if o.Size, err = io.Copy(hash, newGentle(ctx, f)); err != nil {
		return nil, err
	}
	o.SHA256 = hex.EncodeToString(hash.Sum(nil))
	result, err := s.workers.perform(ctx, o, stepped)
	if err != nil {
		return o.steps, err
	}
	if result != "" {
		if err := os.Rename(result, filepath.Clean(file)); err != nil {
			return o.steps, err
		}
	}
	return o.steps, nil
}
