package servicing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plan is what an order comes to, with the library and the catalogue as they are: what a dry run shows.
type Plan struct {
	Image   Image
	Version string // of the new package
	Due     time.Time
	Tasks   []Task
	Skipped []Judged // what isn't for an image, and why
}

// Task is one thing to do.
type Task struct {
	Update   Update
	Index    int
	Executor string
}

// Judged is an update with what was found about it for an image.
type Judged struct {
	Update  Update
	Index   int
	Verdict Verdict
	Text    string
}

// Judge returns every update of the catalogue with its verdict for each image in a package; index 0 for all of them.
func (s *Service) Judge(ctx context.Context, ref string, index int) (Image, []Facts, []Judged, error) {
	image, err := s.cfg.Images.Image(ref)
	if err != nil {
		return image, nil, nil, err
	}
	facts, err := s.chosen(ctx, &image, index)
	if err != nil {
		return image, nil, nil, err
	}
	all := s.cfg.Catalogue.List()
	var judged []Judged
	for i := range facts {
		for _, u := range all {
			if u.Kind.IsUpdate() {
				verdict, text := Judge(&facts[i], &u, all)
				judged = append(judged, Judged{u, facts[i].Index, verdict, text})
			}
		}
	}
	return image, facts, judged, nil
}

// chosen returns the facts of some images in a package: of all of them without an index, or with 0.
func (s *Service) chosen(ctx context.Context, image *Image, indexes ...int) ([]Facts, error) {
	facts, err := s.Facts(ctx, image)
	if err != nil {
		return nil, err
	}
	if len(indexes) == 0 || indexes[0] == 0 {
		return facts, nil
	}
	var out []Facts
	for _, index := range indexes {
		at := slices.IndexFunc(facts, func(f Facts) bool { return f.Index == index })
		if at < 0 {
			return nil, fmt.Errorf("%s has no image %d; it has 1 to %d; next: wimcast image show %q", image.Reference, index, len(facts), image.Reference)
		}
		out = append(out, facts[at])
	}
	return out, nil
}

// Plan says what an order comes to. An update that is named and isn't for any of the images is an error, with the reason.
func (s *Service) Plan(ctx context.Context, order Order) (Plan, error) {
	plan, err := s.plan(ctx, order, time.Now())
	if err != nil {
		return plan, fmt.Errorf("schedule: %w", err)
	}
	return plan, nil
}

func (s *Service) plan(ctx context.Context, order Order, now time.Time) (plan Plan, err error) {
	if err := order.check(now); err != nil {
		return plan, err
	}
	if order.Distribute && s.cfg.Distribute == nil {
		return plan, fmt.Errorf("distribute when done: %w: this distribution point has no registry, through which images get to others; next: leave it out, or set repository under [registry] in wimcastd.toml", ErrUnsupported)
	}
	if plan, err = s.planNow(ctx, order, now); err != nil {
		return plan, err
	}
	var errs []error
	for _, name := range order.Updates {
		if slices.ContainsFunc(plan.Tasks, func(t Task) bool { return named(&t.Update, name) }) {
			continue
		}
		for _, j := range plan.Skipped {
			if named(&j.Update, name) {
				errs = append(errs, fmt.Errorf("image %d: %s", j.Index, j.Text))
			}
		}
	}
	plan.Due = order.When.First(now)
	return plan, errors.Join(errs...)
}

func named(u *Update, name string) bool {
	return strings.EqualFold(u.ID, name) || strings.EqualFold(u.Reference(), name)
}

// planNow says what an order comes to when it runs now.
func (s *Service) planNow(ctx context.Context, order Order, now time.Time) (plan Plan, err error) {
	if plan.Image, err = s.cfg.Images.Image(order.Image); err != nil {
		return plan, err
	}
	if plan.Image.OutOfService != "" {
		return plan, fmt.Errorf("%s is out of service: %s; next: wimcast image verify %q", plan.Image.Reference, plan.Image.OutOfService, plan.Image.Reference)
	}
	facts, err := s.chosen(ctx, &plan.Image, order.Indexes...)
	if err != nil {
		return plan, err
	}
	all := s.cfg.Catalogue.List()
	for i := range facts {
		p := planner{facts: facts[i], all: all, executor: order.Executor}
		for _, name := range order.Updates {
			if err := p.named(s.cfg.Catalogue, name); err != nil {
				return plan, err
			}
		}
		if order.Applicable {
			p.applicable()
		}
		if p.updates && order.Executor == "" {
			return plan, fmt.Errorf("updates want an executor: say --executor %s, which puts them into the image for Windows to install on the client, or --executor %s, for which a Windows machine installs them (wimcast worker); no Linux program can", ExecutorStage, ExecutorDISM)
		}
		plan.Tasks = append(plan.Tasks, p.tasks...)
		plan.Skipped = append(plan.Skipped, p.skipped...)
	}
	if n := len(plan.Tasks) + len(plan.Skipped); n > maxSteps {
		return plan, fmt.Errorf("that is %d steps, and at most %d are allowed; next: choose with --index", n, maxSteps)
	}
	taken := func(version string) bool {
		return slices.ContainsFunc(s.cfg.Images.Images(), func(i Image) bool { return i.Name == plan.Image.Name && i.Version == version })
	}
	switch plan.Version = order.Version; {
	case plan.Version == "":
		plan.Version = nextVersion(plan.Image.Version, now, taken)
	case taken(plan.Version):
		return plan, fmt.Errorf("%w: %s@%s; next: choose another --version", ErrExists, plan.Image.Name, plan.Version)
	}
	return plan, nil
}

// planner plans for one image. What is planned counts as applied for what comes behind it.
type planner struct {
	facts    Facts
	all      []Update
	executor string

	updates bool // there is a software update among the tasks
	tasks   []Task
	skipped []Judged
}

// try plans an update if it is applicable.
func (p *planner) try(u Update) Judged {
	verdict, text := Judge(&p.facts, &u, p.all)
	if verdict == Applicable {
		executor := ExecutorOverlay
		if u.Kind.IsUpdate() {
			executor, p.updates = p.executor, true
		}
		p.tasks = append(p.tasks, Task{u, p.facts.Index, executor})
		p.facts.Applied = append(slices.Clone(p.facts.Applied), Applied{ID: u.ID, Executor: executor})
	}
	return Judged{u, p.facts.Index, verdict, text}
}

// named plans what a name names, for this image's architecture.
func (p *planner) named(c *Catalogue, name string) error {
	candidates, err := c.Find(name)
	if err != nil {
		return err
	}
	var not []Judged
	for _, u := range candidates {
		j := p.try(u)
		if j.Verdict == Applicable {
			return nil
		}
		not = append(not, j)
	}
	p.skipped = append(p.skipped, not...)
	return nil
}

// applicable plans every update that is applicable, those that others want before them.
func (p *planner) applicable() {
	for again := true; again; {
		again = false
		for _, u := range p.all {
			if u.Kind.IsUpdate() && p.try(u).Verdict == Applicable {
				again = true
			}
		}
	}
}
