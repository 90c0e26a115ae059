package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// ClientLog is a log that a machine sent of itself. What it says of the machine, and of how it went, is claimed by the machine.
type ClientLog struct {
	ID          string          `json:"id"`
	Received    time.Time       `json:"received"`
	Address     string          `json:"address"`
	Certificate string          `json:"certificate"` // name of its holder
	Role        string          `json:"role"`
	Serial      string          `json:"serial"` // of the certificate
	Machine     ClientMachine   `json:"machine"`
	Version     string          `json:"version"` // of wimcast
	System      string          `json:"system"`
	Package     string          `json:"package,omitempty"`
	ExitCode    int             `json:"exit_code"`
	Error       string          `json:"error,omitempty"`
	Files       []ClientLogFile `json:"files"`
}

// ClientMachine is what a machine says that it is.
type ClientMachine struct {
	Name   string `json:"name"`
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
	MACs   string `json:"macs,omitempty"`
}

// ClientLogFile is a file of a ClientLog.
type ClientLogFile struct {
	Name string `json:"name"`
	Size int64  `json:"size_bytes"`
}

// OwnLog is the file of a ClientLog that wimcast itself wrote: lines of JSON.
const OwnLog = "client.log"

// ClientLogs lists the logs that machines sent, the latest first. client narrows them to machines of that name (with * and ? as in
// file names), or to the log with that id; "" is all.
func (c *Client) ClientLogs(ctx context.Context, client string) (list []ClientLog, err error) {
	q := url.Values{}
	if client != "" {
		q.Set("client", client)
	}
	return list, c.do(ctx, http.MethodGet, "/v1/logs?"+q.Encode(), nil, &list)
}

// maxLogFile bounds what is read of a file, in bytes.
const maxLogFile = 16 << 20

// ClientLogFile returns a file of a log as it came: whoever shows it on a terminal must make it harmless.
func (c *Client) ClientLogFile(ctx context.Context, id, name string) ([]byte, error) {
	answer, err := c.open(ctx, http.MethodGet, logPath(id)+"/"+url.PathEscape(name), nil, 0, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxLogFile))
	if err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return text, nil
}

// RemoveClientLog removes a log.
func (c *Client) RemoveClientLog(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, logPath(id), nil, nil)
}

func logPath(id string) string { return "/v1/logs/" + url.PathEscape(id) }
