package servicing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wimcast/library/wimlib"
)

// executor is what can put an update into an image.
type executor interface {
	name() string
	// apply puts u, which lies in file, into the image, all of it or nothing, and says in a sentence what came of it.
	apply(ctx context.Context, t *target, u *Update, file string) (string, error)
}

// target is an image inside a WIM file that may be changed.
type target struct {
	file    string
	index   int
	scratch string // an empty directory, for one apply
}

// run runs a schedule that is due.
func (s *Service) run(ctx context.Context, id string) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	run := Run{ID: rand.Text(), State: InProcess, Started: time.Now().UTC()}
	begun, err := s.begin(id, run, stop)
	if !begun {
		return
	}
	var reason string
	if err == nil {
		reason, err = s.perform(ctx, id, run.ID)
	}
	_ = emptyDir(s.root, workDir)
	state := Successful
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errCancelled):
		state, reason = Cancelled, errCancelled.Error()
	case err != nil && ctx.Err() != nil:
		state, reason = Failed, errInterrupted.Error()
	case err != nil:
		state, reason = Failed, err.Error()
	}
	// Where that can't be written it was true all the same, and a start finds out again.
	_ = s.change(id, Ended, func(sc *Schedule) {
		sc.end(state, reason, time.Now().UTC())
		s.stop = nil
	})
}

// begin puts a schedule that waits into process; false where it was cancelled meanwhile.
func (s *Service) begin(id string, run Run, stop context.CancelCauseFunc) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(id)
	if err != nil || sc.State != Waiting {
		return false, err
	}
	sc.begin(run)
	s.stop = stop
	err = s.save()
	s.tell(sc, Began)
	return true, err
}

// perform does the work of a run and returns what should be said of one that is successful.
func (s *Service) perform(ctx context.Context, id, run string) (string, error) {
	sc, err := s.Schedule(id)
	if err != nil {
		return "", err
	}
	plan, err := s.planNow(ctx, sc.Order, time.Now())
	if err != nil {
		return "", err
	}
	if err := s.change(id, Stepped, func(sc *Schedule) {
		last := &sc.Runs[len(sc.Runs)-1]
		last.From = plan.Image.Reference
		for _, j := range plan.Skipped {
			last.Steps = append(last.Steps, Step{Update: j.Update.Reference(), Index: j.Index, State: Skipped, Text: j.Text, Ended: time.Now().UTC()})
		}
		for _, t := range plan.Tasks {
			last.Steps = append(last.Steps, Step{Update: t.Update.Reference(), Index: t.Index, Executor: t.Executor, State: Waiting})
		}
	}); err != nil {
		return "", err
	}
	if len(plan.Tasks) == 0 {
		return "there was nothing to apply, so there is no new version", nil
	}
	file := filepath.Join(s.workPath(), "image.wim")
	if err := s.copyImage(ctx, &plan.Image, file); err != nil {
		return "", fmt.Errorf("copy %s: %w", plan.Image.Reference, noSpace(err))
	}
	low := wimlib.LowPriority(ctx)
	applied, failed, err := s.applyAll(low, id, &sc.Order, &plan, file)
	if err != nil {
		return "", err
	}
	if applied == 0 {
		return "", fmt.Errorf("none of %d could be applied; there is no new version; next: wimcast schedule show %s", failed, id)
	}
	if err := record(low, file, &plan, run); err != nil {
		return "", err
	}
	if err := wimlib.Verify(low, file); err != nil {
		return "", fmt.Errorf("the new version doesn't hold: %w", err)
	}
	made, err := s.addVersion(ctx, file, &plan)
	if err != nil {
		return "", noSpace(err)
	}
	reason := ""
	if failed > 0 {
		reason = fmt.Sprintf("%d of %d failed, and it went on; next: wimcast schedule show %s", failed, failed+applied, id)
	}
	// The version is in the library, whatever becomes of this note: a start finds it by the run's id.
	_ = s.change(id, Stepped, func(sc *Schedule) { sc.Runs[len(sc.Runs)-1].To = made.Reference })
	if text := s.distribute(&sc.Order, plan.Image.Reference, made.Reference); text != "" {
		reason = strings.TrimPrefix(reason+"; "+text, "; ")
	}
	return reason, nil
}

// distribute has a new version go where the one before goes, if that was ordered, and says what came of it. The version is made, whatever
// becomes of this.
func (s *Service) distribute(o *Order, from, to string) string {
	if !o.Distribute {
		return ""
	}
	if s.cfg.Distribute == nil {
		return fmt.Sprintf("it isn't distributed: there is no registry any more; next: wimcast image distribute %q --to POINT", to)
	}
	name, version, _ := strings.Cut(to, "@")
	_, before, _ := strings.Cut(from, "@")
	points, err := s.cfg.Distribute(name, before, version)
	switch {
	case err != nil:
		return fmt.Sprintf("it isn't distributed: %v; next: wimcast image distribute %q --to POINT", err, to)
	case len(points) == 0:
		return fmt.Sprintf("no point has the version before, so it goes to none; next: wimcast image distribute %q --to POINT", to)
	}
	return "it goes to " + strings.Join(points, ", ")
}

// applyAll applies the tasks of a plan in their order. plan.Tasks are those that worked, afterwards.
func (s *Service) applyAll(ctx context.Context, id string, order *Order, plan *Plan, file string) (applied, failed int, err error) {
	var worked []Task
	for i := 0; i < len(plan.Tasks); i++ {
		t := &plan.Tasks[i]
		noteAt := func(at int, state State, text string) error {
			return s.change(id, Stepped, func(sc *Schedule) {
				step := &sc.Runs[len(sc.Runs)-1].Steps[len(plan.Skipped)+at]
				step.State, step.Text = state, printable(text)
				if state != InProcess {
					step.Ended = time.Now().UTC()
				}
			})
		}
		note := func(state State, text string) error { return noteAt(i, state, text) }
		if t.Executor == ExecutorDISM {
			// Packages that follow each other go to a worker together: it mounts the image once.
			tasks := plan.Tasks[i:]
			if end := slices.IndexFunc(tasks, func(o Task) bool { return o.Executor != t.Executor || o.Index != t.Index }); end > 0 {
				tasks = tasks[:end]
			}
			did, bad, err := s.byWorker(ctx, tasks, order, file, func(n int, state State, text string) error { return noteAt(i+n, state, text) })
			worked, applied, failed = append(worked, did...), applied+len(did), failed+bad
			if err != nil {
				return applied, failed, err
			}
			i += len(tasks) - 1
			continue
		}
		if err := note(InProcess, ""); err != nil {
			return applied, failed, err
		}
		text, err := s.apply(ctx, t, file)
		if ctx.Err() != nil {
			_ = note(Cancelled, "it ended in the middle")
			return applied, failed, context.Cause(ctx)
		}
		if err != nil {
			failed++
			if noteErr := note(Failed, err.Error()); noteErr != nil {
				return applied, failed, noteErr
			}
			if !order.ContinueOnError {
				return applied, failed, fmt.Errorf("%s: %w", t.Update.Reference(), err)
			}
			continue
		}
		applied++
		worked = append(worked, *t)
		if err := note(Successful, text); err != nil {
			return applied, failed, err
		}
	}
	plan.Tasks = worked
	return applied, failed, nil
}

// byWorker has a worker apply tasks and notes what it tells. It returns those that worked, and how many failed.
func (s *Service) byWorker(ctx context.Context, tasks []Task, order *Order, file string, note func(n int, state State, text string) error) (worked []Task, failed int, err error) {
	for n := range tasks {
		if err := note(n, Waiting, "waiting for a worker"); err != nil {
			return nil, 0, err
		}
	}
	var noteErr error
	steps, err := s.applyByWorker(ctx, tasks, order, file, func(steps []JobStep) {
		for _, step := range steps {
			n := slices.IndexFunc(tasks, func(t Task) bool { return t.Update.Reference() == step.Reference })
			noteErr = errors.Join(noteErr, note(n, step.State, step.Text))
		}
	})
	if err = errors.Join(err, noteErr); err != nil {
		return nil, 0, err
	}
	for n := range tasks {
		at := slices.IndexFunc(steps, func(s JobStep) bool { return s.Reference == tasks[n].Update.Reference() })
		if steps[at].State == Successful {
			worked = append(worked, tasks[n])
			continue
		}
		failed++
		if !order.ContinueOnError && err == nil {
			err = fmt.Errorf("%s: %s", steps[at].Reference, steps[at].Text)
		}
	}
	return worked, failed, err
}

// apply applies one task.
func (s *Service) apply(ctx context.Context, t *Task, file string) (string, error) {
	executor, ok := s.executors[t.Executor]
	if !ok {
		return "", fmt.Errorf("executor %q: %w", t.Executor, ErrUnsupported)
	}
	if err := s.cfg.Catalogue.prove(ctx, &t.Update); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(s.workPath(), "scratch-")
	if err != nil {
		return "", noSpace(err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	text, err := executor.apply(ctx, &target{file: file, index: t.Index, scratch: scratch}, &t.Update, s.cfg.Catalogue.path(&t.Update))
	return text, noSpace(err)
}

// record writes into the XML of each image that was changed what was put into it, of what it was made, and by which run.
func record(ctx context.Context, file string, plan *Plan, run string) error {
	for i := range plan.Image.Images {
		image := &plan.Image.Images[i]
		list := parseApplied(image.Serviced.Updates)
		before := len(list)
		for _, t := range plan.Tasks {
			if t.Index == image.Index {
				list = append(list, Applied{ID: t.Update.ID, Executor: t.Executor, Date: time.Now().UTC().Format(time.DateOnly)})
			}
		}
		if len(list) == before {
			continue
		}
		for _, property := range [][2]string{{"WIMCAST/UPDATES", recordText(list)}, {"WIMCAST/PARENT", plan.Image.Digest}, {"WIMCAST/RUN", run}} {
			if err := wimlib.SetProperty(ctx, file, image.Index, property[0], property[1]); err != nil {
				return fmt.Errorf("record what was applied: %w", err)
			}
		}
	}
	return nil
}

// copyImage copies an image's content, proven block by block.
func (s *Service) copyImage(ctx context.Context, image *Image, to string) error {
	content, err := s.cfg.Images.Open(*image)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	// The copy, and the new version in the library.
	if free, err := s.cfg.Images.Free(); err == nil && uint64(2*content.Size()) > free {
		return fmt.Errorf("%w: %d bytes are free, and it takes two times %d", unix.ENOSPC, free, content.Size())
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, newGentle(ctx, io.NewSectionReader(content, 0, content.Size())), make([]byte, gentleChunk))
	return errors.Join(err, f.Close())
}

// addVersion adds the file as a new version.
func (s *Service) addVersion(ctx context.Context, file string, plan *Plan) (Image, error) {
	f, err := os.Open(file)
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	return s.cfg.Images.Add(ctx, newGentle(ctx, f), info.Size(), plan.Image, plan.Version)
}

// noSpace says what to do where the disk is full.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w; next: remove packages (wimcast image remove), or give the disk more space", err)
	}
	return err
}

// Copying gives way to casts: it reads in pieces, and rests after each for as long as it took, at least so long
// that it makes no more than gentleRate.
const (
	gentleChunk = 1 << 20
	gentleRate  = 100 << 20 // bytes/s
)

// gentle is a reader that takes no more than its share of the disk.
type gentle struct {
	ctx  context.Context
	r    io.Reader
	last time.Time // when the last piece was handed out
	n    int       // its length, in bytes
}

func newGentle(ctx context.Context, r io.Reader) *gentle { return &gentle{ctx: ctx, r: r} }

// Read implements io.Reader.
func (g *gentle) Read(p []byte) (int, error) {
	if rest := g.rest(time.Now()); rest > 0 {
		select {
		case <-g.ctx.Done():
		case <-time.After(rest):
		}
	}
	if g.ctx.Err() != nil {
		return 0, context.Cause(g.ctx)
	}
	g.last = time.Now()
	n, err := g.r.Read(p[:min(len(p), gentleChunk)])
	g.n = n
	return n, err
}

// rest says how long to rest at a time, before the next piece.
func (g *gentle) rest(now time.Time) time.Duration {
	if g.last.IsZero() {
		return 0
	}
	least := time.Duration(g.n) * time.Second / gentleRate
	took := now.Sub(g.last)
	return max(took, least-took)
}
