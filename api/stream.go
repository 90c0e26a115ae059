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
	header := http.Header{}
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	return follow(ctx, c, "/v1/events", header, maxEventLine, func(_ string, e Event) (bool, error) { return false, each(e) })
}

// follow reads a stream of server-sent events whose data is JSON of T, and calls each with them until it says that it is over or fails.
func follow[T any](ctx context.Context, c *Client, path string, header http.Header, most int, each func(kind string, event T) (over bool, err error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header.Set("Accept", "text/event-stream")
	answer, err := c.open(ctx, http.MethodGet, path, nil, 0, header)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w: silent for %v", ErrBroken, silence)) })
	defer watchdog.Stop()
	err = readStream(&watched{answer.Body, watchdog}, most, func(kind, data string) error {
		var e T
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		over, err := each(kind, e)
		if err == nil && over {
			err = errOver
		}
		return err
	})
	switch {
	case errors.Is(err, errOver):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// errOver ends the reading of a stream that says itself that it is over.
var errOver = errors.New("the stream is over")

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

// readStream calls each with name and data of every event of a stream of server-sent events
// (WHATWG HTML, section 9.2.6), until it ends or each fails. An event that isn't whole
// at the end is dropped, one of more than so many bytes an error. Ids of events stand in our data too.
func readStream(r io.Reader, most int, each func(kind, data string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), most)
	lines.Split(lineEnds())
	var data strings.Builder
	kind, has := "", false
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			if has {
				if err := each(kind, strings.TrimSuffix(data.String(), "\n")); err != nil {
					return err
				}
			}
			data.Reset()
			kind, has = "", false
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if field == "event" {
			kind = value
		}
		if field != "data" {
			continue // a comment, or a field that isn't needed
		}
		if data.Len()+len(value) > most {
			return errors.New("read events: an event is too large")
		}
		data.WriteString(value + "\n")
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
