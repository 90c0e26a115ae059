package servicing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// claimed waits for a job and takes it.
func (b *bench) claimed(worker string) Job {
	b.t.Helper()
	for late := time.After(time.Minute); ; {
		if job, ok := b.ClaimJob(worker); ok {
			return job
		}
		select {
		case <-late:
			b.t.Fatal("no job comes")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// worked hands back a job's image with a file more in it.
func (b *bench) worked(job Job, worker, text string) error {
	b.t.Helper()
	path, err := b.JobFile(job.ID, worker, "")
	if err != nil {
		return err
	}
	image, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	dir := b.t.TempDir()
	writeFiles(b.t, dir, map[string]string{"image": string(image), "new": text})
	if err := wimlib.Update(b.t.Context(), dir+"/image", job.Index, "add "+dir+"/new /Windows/new"); err != nil {
		b.t.Fatal(err)
	}
	changed, err := os.ReadFile(dir + "/image")
	if err != nil {
		b.t.Fatal(err)
	}
	sum := sha256.Sum256(changed)
	return b.UploadJob(b.t.Context(), job.ID, worker, bytes.NewReader(changed), int64(len(changed)), hex.EncodeToString(sum[:]))
}

// workerBench is a bench with two updates and an overlay between them in an order for a worker.
func workerBench(t *testing.T, lease, wait time.Duration) (*bench, Order) {
	needs(t, "cabextract")
	b := newBench(t, plain)
	b.workers.lease, b.workers.wait = lease, wait
	b.add(cabPackage("KB5000001", "10.0.1.1"), "one.cab", Description{Build: "any"})
	b.add(cabPackage("KB5000002", "10.0.1.1"), "two.cab", Description{Build: "any"})
	b.add(tree(map[string]string{"a": "a"}), "o.tar", Description{ID: "o"})
	b.run()
	return b, Order{Image: "w11", Updates: []string{"KB5000001", "KB5000002", "o"}, Executor: ExecutorDISM}
}

// TestWorker: a job goes to a worker that asks, what comes back is proven, and only a worker that has the job is heard.
func TestWorker(t *testing.T) {
	b, order := workerBench(t, time.Minute, time.Minute)
	if _, ok := b.ClaimJob("w1"); ok {
		t.Error("a job before there is one")
	}
	sc := b.order(order)
	job := b.claimed("w1")
	if job.Index != 1 || len(job.Packages) != 2 || job.Packages[0].File != "one.cab" || job.Packages[1].Reference != "KB5000002-x64" || job.ContinueOnError {
		t.Errorf("%+v", job)
	}
	if _, ok := b.ClaimJob("w2"); ok {
		t.Error("two workers have it")
	}
	steps := []JobStep{{"KB5000001-x64", Successful, "installed"}, {"KB5000002-x64", Successful, "installed"}}
	for what, err := range map[string]error{
		"report": b.ReportJob(job.ID, "w2", nil), "end": b.EndJob(job.ID, "w2", steps, ""), "upload": b.UploadJob(t.Context(), job.ID, "w2", strings.NewReader("x"), 1, ""),
		"another job": b.ReportJob("x", "w1", nil),
	} {
		if !errors.Is(err, ErrNotYours) {
			t.Errorf("%s of another: %v", what, err)
		}
	}
	if path, err := b.JobFile(job.ID, "w1", job.Packages[0].SHA256); err != nil || !strings.HasSuffix(path, job.Packages[0].SHA256) {
		t.Errorf("%s, %v", path, err)
	}
	for text, err := range map[string]error{
		"has no package":        func() error { _, err := b.JobFile(job.ID, "w1", "../../etc/passwd"); return err }(),
		"it wasn't uploaded":    b.EndJob(job.ID, "w1", steps, ""),
		"and 1 were told of":    b.EndJob(job.ID, "w1", steps[:1], ""),
		"has no step":           b.ReportJob(job.ID, "w1", []JobStep{{"KB9", Successful, ""}}),
		"that is \"waiting\"":   b.ReportJob(job.ID, "w1", []JobStep{{"KB5000001-x64", Waiting, ""}}),
		"were meant; upload":    b.UploadJob(t.Context(), job.ID, "w1", strings.NewReader("half"), 8, "x"),
		"not a WIM file":        b.UploadJob(t.Context(), job.ID, "w1", strings.NewReader("half"), 4, fmt.Sprintf("%x", sha256.Sum256([]byte("half")))),
		"has no step \"KB50000": b.ReportJob(job.ID, "w1", append(slices.Clone(steps), steps[0])),
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
	if err := b.ReportJob(job.ID, "w1", []JobStep{{"KB5000001-x64", InProcess, ""}}); err != nil {
		t.Error(err)
	}
	for range 2 { // the second replaces the first
		if err := b.worked(job, "w1", "by DISM"); err != nil {
			t.Error(err)
		}
	}
	if err := b.EndJob(job.ID, "w1", steps, ""); err != nil {
		t.Error(err)
	}
	if err := b.ReportJob(job.ID, "w1", nil); !errors.Is(err, ErrNotYours) {
		t.Errorf("after the end: %v", err)
	}
	sc = b.ended(sc.ID)
	if sc.State != Successful || !slices.Equal(states(sc.Runs[0]), []string{"KB5000001-x64 1 dism successful", "KB5000002-x64 1 dism successful", "o 1 overlay successful"}) {
		t.Errorf("%+v", sc)
	}
	if b.shelf.read("w11", 1, "/Windows/new") != "by DISM" || b.shelf.read("w11", 1, "/a") != "a" || b.shelf.read("w11@1", 1, "/Windows/new") != "" {
		t.Error("the new version isn't what came back, with the overlay")
	}
	_, _, judged, err := b.Judge(t.Context(), "w11", 1)
	if err != nil || judged[0].Verdict != Installed {
		t.Errorf("%+v, %v", judged, err)
	}
	b.clean(b.dir)
}

// TestWorkerFails: what a worker couldn't do is told, and without continue on error nothing comes of it.
func TestWorkerFails(t *testing.T) {
	b, order := workerBench(t, time.Minute, time.Minute)
	steps := []JobStep{{"KB5000001-x64", Failed, "DISM: 0x800f081e: not applicable"}, {"KB5000002-x64", Successful, ""}}
	first := b.order(order)
	job := b.claimed("w1")
	if err := b.EndJob(job.ID, "w1", []JobStep{steps[0], {"KB5000002-x64", Failed, "not tried"}}, ""); err != nil {
		t.Error(err)
	}
	if sc := b.ended(first.ID); sc.State != Failed || !strings.Contains(sc.Reason, "KB5000001-x64: DISM: 0x800f081e") || len(b.shelf.Images()) != 1 {
		t.Errorf("%+v", sc)
	}
	second := b.order(order)
	job = b.claimed("w1")
	if err := b.EndJob(job.ID, "w1", nil, "no DISM here"); err != nil {
		t.Error(err)
	}
	if sc := b.ended(second.ID); sc.State != Failed || sc.Reason != "worker w1: no DISM here" {
		t.Errorf("%+v", sc)
	}
	order.ContinueOnError = true
	third := b.order(order)
	if job = b.claimed("w1"); !job.ContinueOnError {
		t.Error("the worker isn't told to go on")
	}
	if err := errors.Join(b.worked(job, "w1", "one of two"), b.EndJob(job.ID, "w1", steps, "")); err != nil {
		t.Error(err)
	}
	if sc := b.ended(third.ID); sc.State != Successful || !strings.Contains(sc.Reason, "1 of 3 failed") || b.shelf.read("w11", 1, "/Windows/new") != "one of two" {
		t.Errorf("%+v", sc)
	}
}

// TestWorkerLost: the job of a worker that isn't heard of goes to another, and what the first says then doesn't count.
func TestWorkerLost(t *testing.T) {
	b, order := workerBench(t, 150*time.Millisecond, time.Minute)
	sc := b.order(order)
	job := b.claimed("dead")
	again := b.claimed("w2")
	if again.ID != job.ID {
		t.Errorf("%+v, %+v", job, again)
	}
	if err := b.ReportJob(job.ID, "dead", nil); !errors.Is(err, ErrNotYours) {
		t.Errorf("the one that was lost: %v", err)
	}
	// w2 is lost too, and a third one.
	if third := b.claimed("w3"); third.ID != job.ID {
		t.Errorf("%+v", third)
	}
	if sc = b.ended(sc.ID); sc.State != Failed || !strings.Contains(sc.Reason, "3 workers took it and weren't heard of again, the last one was w3") {
		t.Errorf("%+v", sc)
	}
	b.clean(b.dir)
}

// TestNoWorker: a job that nobody asks for fails, and a cancelled one isn't handed out.
func TestNoWorker(t *testing.T) {
	b, order := workerBench(t, 60*time.Millisecond, 100*time.Millisecond)
	if sc := b.ended(b.order(order).ID); sc.State != Failed || !strings.Contains(sc.Reason, "no worker asked for it in 100ms") {
		t.Errorf("%+v", sc)
	}
	b.workers.wait = time.Minute
	sc := b.order(order)
	job := b.claimed("w1")
	if _, err := b.Cancel(sc.ID); err != nil {
		t.Error(err)
	}
	if sc = b.ended(sc.ID); sc.State != Cancelled {
		t.Errorf("%+v", sc)
	}
	if err := b.ReportJob(job.ID, "w1", nil); !errors.Is(err, ErrNotYours) {
		t.Errorf("after it was cancelled: %v", err)
	}
	b.clean(b.dir)
}

// TestWorkerDamaged: an image whose tables are right and whose content isn't doesn't become a version.
func TestWorkerDamaged(t *testing.T) {
	b, order := workerBench(t, time.Minute, time.Minute)
	order.Updates = order.Updates[:2] // nothing behind them looks into the image
	sc := b.order(order)
	job := b.claimed("w1")
	path, err := b.JobFile(job.ID, "w1", "")
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image[wim.HeaderSize] ^= 0xff // the first file's content
	sum := sha256.Sum256(image)
	steps := []JobStep{{"KB5000001-x64", Successful, ""}, {"KB5000002-x64", Successful, ""}}
	if err := errors.Join(b.UploadJob(t.Context(), job.ID, "w1", bytes.NewReader(image), int64(len(image)), hex.EncodeToString(sum[:])), b.EndJob(job.ID, "w1", steps, "")); err != nil {
		t.Fatal(err)
	}
	if sc = b.ended(sc.ID); sc.State != Failed || !strings.Contains(sc.Reason, "the new version doesn't hold: wimlib-imagex verify") || len(b.shelf.Images()) != 1 {
		t.Errorf("%+v", sc)
	}
	b.clean(b.dir)
}
