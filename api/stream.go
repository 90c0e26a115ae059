package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// maxEventLine bounds a line of the event stream, in bytes.
	maxEventLine = 1 << 20
	// silence is how long a stream may be silent; the daemon sends something every 15 s.
	silence = 45 * time.Second
)

// ErrBroken is of a stream that was open and broke: its connection, or not even a sign of
// life came any more.
var ErrBroken = errors.New("the event stream broke off")

// Events calls each with what happens, from now on, or after the event with the id after.
// It returns when ctx ends, the stream does (io.EOF, or an error that wraps ErrBroken), or each
// fails. To go on after a break, call it again with the id of the latest event.
func (c *Client) Events(ctx context.Context, after string, each func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{"Accept": {"text/event-stream"}}
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	answer, err := c.open(ctx, http.MethodGet, "/v1/events", nil, 0, header)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w: silent for %v", ErrBroken, silence)) })
	defer watchdog.Stop()
	err = readStream(&watched{answer.Body, watchdog}, func(data string) error {
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		return each(e)
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watched winds up the watchdog with everything that is read.
type watched struct {
	io.Reader
	watchdog *time.Timer
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.watchdog.Reset(silence)
	}
	return n, err
}

// readStream calls each with the data of every event of a stream of server-sent events
// (WHATWG HTML, section 9.2.6), until it ends or each fails. An event that isn't whole
// at the end is dropped. Names and ids of events stand in our data too.
func readStream(r io.Reader, each func(data string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxEventLine)
	lines.Split(lineEnds())
	var data strings.Builder
	has := false
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			if has {
				if err := each(strings.TrimSuffix(data.String(), "\n")); err != nil {
					return err
				}
			}
			data.Reset()
			has = false
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		if field != "data" {
			continue // a comment, or a field that isn't needed
		}
		if data.Len()+len(value) > maxEventLine {
			return errors.New("read events: an event is too large")
		}
		data.WriteString(strings.TrimPrefix(value, " ") + "\n")
		has = true
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return io.EOF
}

// lineEnds returns a split function for lines that end in CR LF, LF or CR. The end of a
// line is known with its CR; an LF behind it is skipped when it comes.
func lineEnds() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		skip := 0
		if afterCR && len(data) > 0 {
			afterCR = false
			if data[0] == '\n' {
				skip = 1
			}
		}
		if i := bytes.IndexAny(data[skip:], "\r\n"); i >= 0 {
			afterCR = data[skip+i] == '\r'
			return skip + i + 1, data[skip : skip+i : skip+i], nil
		}
		if atEOF {
			return len(data), nil, nil // what has no end isn't whole
		}
		return skip, nil, nil
	}
}
