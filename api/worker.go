package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// WorkerClaim answers a worker that asks for work.
type WorkerClaim struct {
	Job *WorkerJob `json:"job,omitempty"` // nil: there is none
}

// WorkerJob is what a worker is asked to do: install packages into one image of a WIM, in their order.
type WorkerJob struct {
	ID              string          `json:"id"`
	Index           int             `json:"index"`
	ContinueOnError bool            `json:"continue_on_error"`
	Size            int64           `json:"size_bytes"`
	SHA256          string          `json:"sha256"`
	Packages        []WorkerPackage `json:"packages"`
}

// WorkerPackage is a package of a job.
type WorkerPackage struct {
	Reference string `json:"reference"`
	File      string `json:"file"`
	Size      int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"`
}

// WorkerReport says how far a worker is.
type WorkerReport struct {
	Steps   []WorkerStep `json:"steps"`
	Done    bool         `json:"done,omitempty"`    // the worker is through with the job
	Failure string       `json:"failure,omitempty"` // why it could do nothing; with Done
}

// WorkerStep is what became of a package.
type WorkerStep struct {
	Package string `json:"package"` // reference
	State   string `json:"state"`   // in_process, successful or failed
	Text    string `json:"text,omitempty"`
}

// ClaimJob asks for work.
func (c *Client) ClaimJob(ctx context.Context) (claim WorkerClaim, err error) {
	return claim, c.do(ctx, http.MethodPost, "/v1/worker/job", nil, &claim)
}

func jobPath(id string) string { return "/v1/worker/job/" + url.PathEscape(id) }

// JobFile opens a file of a job from an offset on: the WIM without a sum, else the package of that SHA-256. The
// caller closes it.
func (c *Client) JobFile(ctx context.Context, id, sum string, offset int64) (io.ReadCloser, error) {
	path := jobPath(id) + "/image"
	if sum != "" {
		path = jobPath(id) + "/packages/" + url.PathEscape(sum)
	}
	header := http.Header{}
	want := http.StatusOK
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		want = http.StatusPartialContent
	}
	answer, err := c.open(ctx, http.MethodGet, path, nil, 0, header)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != want {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("ask the daemon: %s", answer.Status)
	}
	return answer.Body, nil
}

// UploadJob hands back the WIM of a job: size bytes with that SHA-256.
func (c *Client) UploadJob(ctx context.Context, id string, r io.Reader, size int64, sum string) error {
	return c.send(ctx, http.MethodPut, jobPath(id)+"/image?sha256="+url.QueryEscape(sum), r, size, nil)
}

// ReportJob says how far the job is. It is also the worker's sign of life.
func (c *Client) ReportJob(ctx context.Context, id string, report WorkerReport) error {
	return c.do(ctx, http.MethodPost, jobPath(id)+"/report", report, nil)
}
