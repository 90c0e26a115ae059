package handler

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library/servicing"
)

// may says why a caller's role isn't enough for a route; nil where it is. A worker sees its jobs and nothing else, and nobody
// else does; so too a point, which speaks for itself.
func may(to route, role keyex.Role) error {
	switch {
	case (to.role == keyex.Point) != (role == keyex.Point):
		return fmt.Errorf("role %s: points report of themselves and do nothing else here, and nobody else reports; for this a bundle of role %s is needed: wimcast bundle create NAME --role %s", role, to.role, to.role)
	case (to.role == keyex.Worker) != (role == keyex.Worker):
		return fmt.Errorf("role %s: jobs are for workers, and workers are for jobs; for this a bundle of role %s is needed: wimcast bundle create NAME --role %s", role, to.role, to.role)
	case to.role == keyex.Operator && role != keyex.Operator:
		return fmt.Errorf("role %s may only look; for this a bundle of role operator is needed: wimcast bundle create NAME --role operator", role)
	}
	return nil
}

// workerOf names the worker of a request: it holds the job by that.
func workerOf(r *http.Request) string {
	who, _ := api.CallerOf(r.Context())
	return who.Name + " (serial " + who.Serial + ")"
}

func (s *server) claimJob(r *http.Request) (any, error) {
	job, ok := s.Servicing.ClaimJob(workerOf(r))
	if !ok {
		return api.WorkerClaim{}, nil
	}
	out := &api.WorkerJob{ID: job.ID, Index: job.Index, ContinueOnError: job.ContinueOnError, Size: job.Size, SHA256: job.SHA256, Packages: []api.WorkerPackage{}}
	for _, p := range job.Packages {
		out.Packages = append(out.Packages, api.WorkerPackage{Reference: p.Reference, File: p.File, Size: p.Size, SHA256: p.SHA256})
	}
	s.did(r, "job taken", zap.String("job", job.ID))
	return api.WorkerClaim{Job: out}, nil
}

// file is a file that goes out, whole or in ranges.
type file struct{ path string }

func (f file) write(w http.ResponseWriter, r *http.Request) {
	in, err := os.Open(f.path)
	if err != nil { // the job is just over
		http.Error(w, http.StatusText(http.StatusConflict), http.StatusConflict)
		return
	}
	defer func() { _ = in.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&patientWriter{w, http.NewResponseController(w)}, r, "", time.Time{}, in)
}

// patientWriter is an answer that may take long as a whole, but must go on.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(writeStall))
	return p.ResponseWriter.Write(b)
}

func (s *server) jobImage(r *http.Request) (any, error) {
	path, err := s.Servicing.JobFile(r.PathValue("id"), workerOf(r), "")
	return file{path}, err
}

func (s *server) jobPackage(r *http.Request) (any, error) {
	path, err := s.Servicing.JobFile(r.PathValue("id"), workerOf(r), r.PathValue("sum"))
	return file{path}, err
}

func (s *server) uploadJob(r *http.Request) (any, error) {
	err := s.Servicing.UploadJob(r.Context(), r.PathValue("id"), workerOf(r), r.Body, r.ContentLength, r.URL.Query().Get("sha256"))
	return struct{}{}, err
}

func (s *server) reportJob(r *http.Request) (any, error) {
	var report api.WorkerReport
	if err := read(r, &report); err != nil {
		return nil, err
	}
	steps := make([]servicing.JobStep, len(report.Steps))
	for i, step := range report.Steps {
		steps[i] = servicing.JobStep{Reference: step.Package, State: servicing.State(step.State), Text: step.Text}
	}
	id, worker := r.PathValue("id"), workerOf(r)
	if !report.Done {
		return struct{}{}, s.Servicing.ReportJob(id, worker, steps)
	}
	if err := s.Servicing.EndJob(id, worker, steps, report.Failure); err != nil {
		return nil, err
	}
	s.did(r, "job done", zap.String("job", id), zap.String("failure", report.Failure))
	return struct{}{}, nil
}
