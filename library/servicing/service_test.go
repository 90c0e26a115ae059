package servicing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var plain = map[string]string{
	"Windows/explorer.exe": "x",
	"Windows/servicing/Packages/Package_for_KB5000009~31bf3856ad364e35~amd64~~10.0.1.9.mum": "x",
}

// states are the states of a run's steps.
func states(r Run) (out []string) {
	for _, s := range r.Steps {
		out = append(out, fmt.Sprintf("%s %d %s %s", s.Update, s.Index, s.Executor, s.State))
	}
	return out
}

// TestService: a run makes a new version that was verified, with a record of what is in it; the old one stays as it was.
func TestService(t *testing.T) {
	needs(t, "cabextract")
	b := newBench(t, plain, map[string]string{"Windows/explorer.exe": "y"})
	b.add(cabPackage("KB5000001", "10.0.1.1"), "windows11.0-kb5000001-x64.cab", Description{Build: "22621"})
	b.add(cabPackage("KB5000009", "10.0.1.9"), "windows11.0-kb5000009-x64.cab", Description{Build: "22621"})
	b.add(tree(map[string]string{"Drivers/a.inf": "a"}), "drivers.tar", Description{ID: "drivers"})
	order := Order{Image: "w11", Updates: []string{"KB5000001", "drivers", "KB5000009"}, Executor: ExecutorStage}
	plan, err := b.Plan(t.Context(), order)
	if err != nil || len(plan.Tasks) != 5 || len(plan.Skipped) != 1 || plan.Skipped[0].Verdict != Installed || plan.Version != "1+"+time.Now().Format(time.DateOnly) {
		t.Fatalf("%+v, %v", plan, err)
	}
	b.run()
	sc := b.ended(b.order(order).ID)
	run := sc.Runs[0]
	if sc.State != Successful || run.State != Successful || run.From != "w11@1" || run.To != "w11@"+plan.Version || run.Ended.IsZero() {
		t.Errorf("%+v", sc)
	}
	if got := states(run); !slices.Equal(got, []string{
		"KB5000009-x64 1  skipped", "KB5000001-x64 1 stage successful", "drivers 1 overlay successful",
		"KB5000001-x64 2 stage successful", "drivers 2 overlay successful", "KB5000009-x64 2 stage successful",
	}) {
		t.Errorf("%q", got)
	}
	for index := 1; index <= 2; index++ {
		if b.shelf.read(run.To, index, "/Drivers/a.inf") != "a" || b.shelf.read(run.To, index, stageDir+"/KB5000001-x64.cab") == "" {
			t.Errorf("image %d of the new version lacks something", index)
		}
		if b.shelf.read("w11@1", index, "/Drivers/a.inf") != "" {
			t.Errorf("image %d of the old version was changed", index)
		}
	}
	made, err := b.shelf.Image("w11")
	if err != nil || made.Reference != run.To {
		t.Fatalf("%+v, %v", made, err)
	}
	before, err := b.shelf.Image("w11@1")
	if err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Format(time.DateOnly)
	if got := made.Images[0].Serviced; got.Parent != before.Digest || got.Run != run.ID || strings.Join(got.Updates, " ") != "KB5000001/stage/"+today+" drivers/overlay/"+today {
		t.Errorf("record: %+v", got)
	}

	// Now there is nothing left to apply, and a schedule says so.
	_, facts, judged, err := b.Judge(t.Context(), "w11", 2)
	if err != nil || len(facts) != 1 || len(judged) != 2 || judged[0].Verdict != Staged || judged[1].Verdict != Staged {
		t.Errorf("%+v, %+v, %v", facts, judged, err)
	}
	if _, err := b.Plan(t.Context(), order); err == nil || !strings.Contains(err.Error(), "image 2: KB5000001 was staged into the image here on "+today) {
		t.Errorf("again: %v", err)
	}
	sc = b.ended(b.order(Order{Image: "w11", Updates: []string{"drivers"}}).ID) // an overlay may go in again
	if sc.Runs[0].To != run.To+".2" {
		t.Errorf("%+v", sc)
	}
	sc = b.ended(b.order(Order{Image: "w11", Applicable: true, Executor: ExecutorStage}).ID)
	if sc.State != Successful || sc.Runs[0].To != "" || !strings.Contains(sc.Runs[0].Reason, "nothing to apply") || len(b.shelf.Images()) != 3 {
		t.Errorf("%+v", sc)
	}
	b.clean(b.dir)
}

// TestPlan: what can't be is refused before anything is kept, with the reason.
func TestPlan(t *testing.T) {
	needs(t, "cabextract")
	b := newBench(t, plain, plain)
	b.add(cabPackage("KB5000001", "10.0.1.1"), "x.cab", Description{Build: "22621"})
	b.add(cabPackage("KB5000002", "10.0.1.1"), "x.cab", Description{Build: "19045"})
	b.add(cabinet(map[string]string{"update.mum": manifest("KB5000001", "10.0.1.1", "arm64")}), "x.cab", Description{Build: "22621"})
	b.add(cabinet(map[string]string{"update.mum": manifest("KB5000003", "10.0.1.1", "arm64")}), "x.cab", Description{Build: "22621"})
	b.add(cabPackage("KB5000004", "10.0.1.1"), "x.cab", Description{Build: "22621", Requires: []string{"KB5000005"}})
	b.add(cabPackage("KB5000005", "10.0.1.1"), "x.cab", Description{Build: "22621"})
	b.add(cabPackage("KB5000009", "10.0.1.9"), "x.cab", Description{Build: "22621"})
	for name, c := range map[string]struct {
		order Order
		text  string
	}{
		"another architecture": {Order{Image: "w11", Updates: []string{"KB5000003"}, Executor: ExecutorStage}, "image 1: KB5000003 is for arm64, the image is x64"},
		"another build":        {Order{Image: "w11", Updates: []string{"KB5000001", "KB5000002"}, Executor: ExecutorStage}, "KB5000002 is for build 19045"},
		"installed":            {Order{Image: "w11", Updates: []string{"KB5000009"}, Executor: ExecutorStage}, "KB5000009 is installed"},
		"out of order":         {Order{Image: "w11", Updates: []string{"KB5000004", "KB5000005"}, Executor: ExecutorStage}, "KB5000004 wants KB5000005 first"},
		"no executor":          {Order{Image: "w11", Updates: []string{"KB5000001"}}, "updates want an executor"},
		"unknown update":       {Order{Image: "w11", Updates: []string{"KB5000099"}, Executor: ExecutorStage}, `neither an update nor an overlay is "KB5000099"`},
		"unknown image":        {Order{Image: "w12", Updates: []string{"KB5000001"}, Executor: ExecutorStage}, "no such thing"},
		"no such index":        {Order{Image: "w11", Indexes: []int{3}, Updates: []string{"KB5000001"}, Executor: ExecutorStage}, "has no image 3; it has 1 to 2"},
		"a version there is":   {Order{Image: "w11", Version: "1", Updates: []string{"KB5000001"}, Executor: ExecutorStage}, "w11@1; next: choose another --version"},
	} {
		if s, err := b.Create(t.Context(), c.order, "test"); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %+v, %v, want %q", name, s, err, c.text)
		}
	}
	if list := b.Schedules(); len(list) > 0 {
		t.Errorf("kept: %+v", list)
	}
	plan, err := b.Plan(t.Context(), Order{Image: "w11", Indexes: []int{2}, Applicable: true, Executor: ExecutorStage})
	var got []string
	for _, task := range plan.Tasks {
		got = append(got, fmt.Sprintf("%s %d", task.Update.Reference(), task.Index))
	}
	// KB5000004 comes behind what it wants.
	if err != nil || !slices.Equal(got, []string{"KB5000001-x64 2", "KB5000005-x64 2", "KB5000004-x64 2"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// spoil changes the file of an update, as a failing disk does.
func (b *bench) spoil(u Update) {
	b.t.Helper()
	if err := os.WriteFile(b.catalogue.path(&u), []byte("spoilt"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// TestFailures: without continue on error nothing comes of a run with a failure, with it the rest does.
func TestFailures(t *testing.T) {
	needs(t, "cabextract")
	b := newBench(t, plain)
	b.spoil(b.add(cabPackage("KB5000001", "10.0.1.1"), "x.cab", Description{Build: "22621"}))
	b.add(cabPackage("KB5000002", "10.0.1.1"), "x.cab", Description{Build: "22621"})
	b.run()
	order := Order{Image: "w11", Updates: []string{"KB5000001", "KB5000002"}, Executor: ExecutorStage}
	sc := b.ended(b.order(order).ID)
	if sc.State != Failed || !strings.Contains(sc.Reason, "KB5000001-x64: its file was changed") || len(b.shelf.Images()) != 1 ||
		!slices.Equal(states(sc.Runs[0]), []string{"KB5000001-x64 1 stage failed", "KB5000002-x64 1 stage waiting"}) {
		t.Errorf("%+v", sc)
	}
	order.ContinueOnError = true
	sc = b.ended(b.order(order).ID)
	if sc.State != Successful || !strings.Contains(sc.Reason, "1 of 2 failed, and it went on") || sc.Runs[0].To == "" ||
		!slices.Equal(states(sc.Runs[0]), []string{"KB5000001-x64 1 stage failed", "KB5000002-x64 1 stage successful"}) {
		t.Errorf("%+v", sc)
	}
	made, err := b.shelf.Image("w11")
	if err != nil || len(made.Images[0].Serviced.Updates) != 1 {
		t.Errorf("%+v, %v", made.Images, err)
	}
	order.Image, order.Updates = "w11@1", []string{"KB5000001"}
	if sc = b.ended(b.order(order).ID); sc.State != Failed || !strings.Contains(sc.Reason, "none of 1 could be applied") {
		t.Errorf("%+v", sc)
	}
	// The library says no.
	b.shelf.fail = errors.New("the library is full")
	order.Updates = []string{"KB5000002"}
	if sc = b.ended(b.order(order).ID); sc.State != Failed || sc.Reason != "the library is full" {
		t.Errorf("%+v", sc)
	}
	b.clean(b.dir)
}

// TestCancel: one that waits never runs; one that is in process ends and changes nothing.
func TestCancel(t *testing.T) {
	b := newBench(t, plain)
	b.add(tree(map[string]string{"a": "a"}), "o.tar", Description{ID: "o"})
	later := b.order(Order{Image: "w11", Updates: []string{"o"}, When: When{At: time.Now().Add(time.Hour)}})
	if _, err := b.RemoveUpdate("o"); !errors.Is(err, ErrInUse) {
		t.Errorf("what a schedule wants: %v", err)
	}
	if sc, err := b.Cancel(later.ID); err != nil || sc.State != Cancelled || len(sc.Runs) != 0 {
		t.Errorf("%+v, %v", sc, err)
	}
	if _, err := b.Cancel(later.ID); !errors.Is(err, ErrEnded) {
		t.Errorf("twice: %v", err)
	}
	reached, release := make(chan struct{}), make(chan struct{})
	now := b.order(Order{Image: "w11", Updates: []string{"o"}}) // which reads what is installed
	b.shelf.opening = func() { close(reached); <-release }
	b.run()
	<-reached
	if sc, err := b.Cancel(now.ID); err != nil || sc.State != InProcess {
		t.Errorf("%+v, %v", sc, err)
	}
	close(release)
	sc := b.ended(now.ID)
	if sc.State != Cancelled || sc.Reason != errCancelled.Error() || sc.Runs[0].State != Cancelled || len(b.shelf.Images()) != 1 {
		t.Errorf("%+v", sc)
	}
	b.clean(b.dir)
	if _, err := b.RemoveUpdate("o"); err != nil {
		t.Error(err)
	}
}

// TestRestart takes the state directory as it is at every change of a run, and starts on it: the run has failed
// and its files are gone, or its version is there and it was successful.
func TestRestart(t *testing.T) {
	b := newBench(t, plain)
	b.add(tree(map[string]string{"a": "a"}), "o.tar", Description{ID: "o"})
	type moment struct {
		dir    string
		images []Image
	}
	var moments []moment
	b.moments = func(Schedule, Change) {
		m := moment{t.TempDir(), b.shelf.Images()}
		if err := os.CopyFS(m.dir, os.DirFS(filepath.Join(b.dir, "servicing"))); err != nil {
			t.Error(err)
		}
		moments = append(moments, m)
	}
	given := 0
	give := func(name, from, to string) ([]string, error) {
		if name != "w11" || to == "" || from == to {
			t.Errorf("%s from %q to %q", name, from, to)
		}
		given++
		return []string{"north", "south"}, nil
	}
	if _, err := b.Create(t.Context(), Order{Image: "w11", Updates: []string{"o"}, Distribute: true}, "test"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("distributed without points: %v", err)
	}
	b.cfg.Distribute = give
	b.order(Order{Image: "w11", Updates: []string{"o"}, Distribute: true})
	waits := len(moments)
	b.run()
	if sc := b.ended("v1"); given != 1 || sc.Reason != "it goes to north, south" {
		t.Errorf("given %d times: %+v", given, sc)
	}
	seen := map[string]int{}
	for i, m := range moments[waits:] {
		shelf := &shelf{t: t, dir: b.shelf.dir, images: m.images}
		given = 0
		s, err := New(Config{Dir: m.dir, Catalogue: b.catalogue, Images: shelf, Distribute: give})
		if err != nil {
			t.Fatal(err)
		}
		sc, err := s.Schedule("v1")
		if err != nil {
			t.Fatal(err)
		}
		made := len(m.images) == 2
		if given > 1 || given > 0 && !made {
			t.Errorf("moment %d: given %d times, made %v", i, given, made)
		}
		switch {
		case made && sc.State == Successful && sc.Runs[0].To == m.images[1].Reference:
			seen["made"]++
		case !made && sc.State == Failed && sc.Reason == errInterrupted.Error() && sc.Runs[0].State == Failed && !sc.Runs[0].Ended.IsZero():
			seen["failed"]++
		default:
			t.Errorf("moment %d, made %v: %+v", i, made, sc)
		}
		if left, err := os.ReadDir(filepath.Join(m.dir, workDir)); err != nil || len(left) > 0 {
			t.Errorf("moment %d: left over: %v, %v", i, left, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if seen["made"] < 2 || seen["failed"] < 3 {
		t.Errorf("the moments show only one side: %v", seen)
	}
}

// TestRecurring: one that recurs waits again, whatever came of a run, and doesn't catch up what it missed.
func TestRecurring(t *testing.T) {
	b := newBench(t, plain)
	b.add(tree(map[string]string{"a": "a"}), "o.tar", Description{ID: "o"})
	made := b.order(Order{Image: "w11", Updates: []string{"o"}, When: When{Cron: "@daily"}})
	due := func() { // as if the night had come
		if err := b.change(made.ID, Stepped, func(sc *Schedule) { sc.Due = time.Now().UTC().Add(-time.Second) }); err != nil {
			t.Fatal(err)
		}
		b.Poke()
	}
	b.run()
	again := func(runs int, want State) Schedule {
		t.Helper()
		due()
		return b.await(made.ID, func(s Schedule) bool {
			return len(s.Runs) == runs && s.State == Waiting && s.Due.After(time.Now()) && s.Runs[len(s.Runs)-1].State == want && !s.Runs[len(s.Runs)-1].Ended.IsZero()
		})
	}
	again(1, Successful)
	b.shelf.mu.Lock()
	b.shelf.fail = errors.New("no")
	b.shelf.mu.Unlock()
	sc := again(2, Failed)
	if len(sc.Runs) != 2 || sc.Reason != "no" {
		t.Errorf("%+v", sc)
	}
	if sc, err := b.Cancel(made.ID); err != nil || sc.State != Cancelled || !sc.Due.IsZero() {
		t.Errorf("%+v, %v", sc, err)
	}
}

// TestTrim: what is kept of all runs is bounded; the latest stay.
func TestTrim(t *testing.T) {
	steps := func(n int) []Run { return []Run{{Steps: make([]Step, n)}, {Steps: make([]Step, n)}} }
	list := []*Schedule{{State: Failed, Runs: steps(3)}, {State: InProcess, Runs: steps(3)}, {State: Waiting, Runs: steps(3)}}
	trim(list, 10)
	var got []int
	for _, sc := range list {
		for _, r := range sc.Runs {
			got = append(got, len(r.Steps))
		}
	}
	if !slices.Equal(got, []int{0, 0, 3, 3, 3, 3}) {
		t.Errorf("%v", got)
	}
	u := &Schedule{State: InProcess, Runs: []Run{{Steps: []Step{{Update: "a", State: Successful}, {Update: "b", State: Waiting}}}}}
	if u.wants("a") || !u.wants("b") || u.wants("c") {
		t.Error("what a run in process wants")
	}
}
