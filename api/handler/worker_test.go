package handler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"wimcast/api"
	"wimcast/library/servicing"
)

// askWorker goes over what the API says to a worker: a job from its asking to its end.
func (p *point) askWorker(ask func(operation, path, body string, status int, header ...string) []byte) {
	p.t.Helper()
	const claim, image, upload, pack, report = "POST /v1/worker/job", "GET /v1/worker/job/{id}/image", "PUT /v1/worker/job/{id}/image",
		"GET /v1/worker/job/{id}/packages/{sum}", "POST /v1/worker/job/{id}/report"
	var none, got api.WorkerClaim
	if err := json.Unmarshal(ask(claim, "", "", http.StatusOK), &none); err != nil || none.Job != nil {
		p.t.Errorf("%+v, %v", none, err)
	}
	for _, operation := range []string{image, upload} {
		ask(operation, "/v1/worker/job/x/image?sha256=x", "", http.StatusConflict)
	}
	ask(pack, "/v1/worker/job/x/packages/x", "", http.StatusConflict)
	ask(report, "/v1/worker/job/x/report", `{"steps":[]}`, http.StatusConflict)

	content := cabinet("Windows11.0-KB5000007-x64.cab")
	if _, _, err := p.updates.Add(p.t.Context(), bytes.NewReader(content), "windows11.0-kb5000007-x64.msu", 0, false, servicing.Description{Build: "any"}); err != nil {
		p.t.Fatal(err)
	}
	made, err := p.servicing.Create(p.t.Context(), servicing.Order{Image: "win@1", Updates: []string{"KB5000007"}, Executor: servicing.ExecutorDISM}, "test")
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { p.servicing.Run(ctx); close(ran) }()
	defer func() { stop(); <-ran }()
	for late := time.After(time.Minute); got.Job == nil; {
		select {
		case <-late:
			p.t.Fatal("no job comes")
		default:
		}
		if err := json.Unmarshal(ask(claim, "", "", http.StatusOK), &got); err != nil {
			p.t.Fatal(err)
		}
	}
	job := "/v1/worker/job/" + got.Job.ID
	wim := ask(image, job+"/image", "", http.StatusOK)
	if sum := fmt.Sprintf("%x", sha256.Sum256(wim)); sum != got.Job.SHA256 || int64(len(wim)) != got.Job.Size {
		p.t.Errorf("the image: %d bytes, SHA-256 %s; the job says %+v", len(wim), sum, got.Job)
	}
	if rest := ask(image, job+"/image", "", http.StatusPartialContent, "Range", "bytes=100-"); !bytes.Equal(rest, wim[100:]) {
		p.t.Errorf("a part of the image: %d bytes", len(rest))
	}
	of := job + "/packages/" + got.Job.Packages[0].SHA256
	if b := ask(pack, of, "", http.StatusOK); !bytes.Equal(b, content) {
		p.t.Errorf("the package: %d bytes", len(b))
	}
	ask(pack, of, "", http.StatusPartialContent, "Range", "bytes=5-")
	ask(pack, job+"/packages/x", "", http.StatusNotFound)
	ask(upload, job+"/image?sha256=x", string(wim), http.StatusUnprocessableEntity)
	ask(upload, job+"/image?sha256="+got.Job.SHA256, string(wim), http.StatusOK)
	ask(report, job+"/report", `{"steps":[{"package":"KB5000007-x64","state":"in_process"}]}`, http.StatusOK)
	ask(report, job+"/report", `{"steps":[{"package":"KB5000008-x64","state":"successful"}]}`, http.StatusUnprocessableEntity)
	ask(report, job+"/report", `{"step":[]}`, http.StatusBadRequest)
	ask(report, job+"/report", `{"failure":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(report, job+"/report", `{"steps":[],"done":true,"failure":"no DISM"}`, http.StatusOK)
	for late := time.After(time.Minute); ; {
		sc, err := p.servicing.Schedule(made.ID)
		if err != nil {
			p.t.Fatal(err)
		}
		if sc.State == servicing.Failed && strings.Contains(sc.Reason, "no DISM") {
			break
		}
		select {
		case <-late:
			p.t.Fatalf("%+v", sc)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
