package handler

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// Constants of the event stream.
const (
	maxStreams = 32               // at a time
	heartbeat  = 15 * time.Second // between two signs of life; whoever reads may give up after three
	retryAfter = 2 * time.Second  // what a reader waits before it comes back
	eventBatch = 64               // events in one write
)

// Events keeps what happened lately and streams it (WHATWG HTML, section 9.2, server-sent
// events). It is a session.Watcher: whoever puts events in never waits for whoever reads.
// Safe for concurrent use.
type Events struct {
	ring    *ring
	streams atomic.Int32
}

var _ session.Watcher = (*Events)(nil)

// NewEvents returns Events without any.
func NewEvents() *Events { return &Events{ring: newRing()} }

// SessionChanged implements session.Watcher.
func (e *Events) SessionChanged(change session.Change, info session.SessionInfo) {
	event := eventOf(kindOf(change, api.SessionStarted, api.SessionChanged, api.SessionEnded), &info)
	event.Reason = info.Reason
	e.ring.put(event)
}

// ClientChanged implements session.Watcher.
func (e *Events) ClientChanged(change session.Change, info session.SessionInfo, c session.ClientInfo) {
	event := eventOf(kindOf(change, api.ClientJoined, api.ClientChanged, api.ClientEnded), &info)
	event.Client = &api.EventClient{
		Number: c.Number, Name: c.Name, Address: c.Peer.Addr.String(), Certificate: c.Peer.Name, Serial: c.Peer.Serial,
		State: string(c.State), Reason: c.Reason, Progress: c.Progress,
	}
	e.ring.put(event)
}

// Alarm implements session.Watcher.
func (e *Events) Alarm(info session.SessionInfo, text string) {
	event := eventOf(api.Alarm, &info)
	event.Text = text
	e.ring.put(event)
}

// Raise puts in an alarm that has nothing to do with a session: one sentence, with the next step.
func (e *Events) Raise(text string) {
	e.ring.put(api.Event{Kind: api.Alarm, Time: time.Now(), Text: text})
}

// Servicing puts in that a run of a schedule began or ended.
func (e *Events) Servicing(kind api.EventKind, schedule, pkg, text string) {
	e.ring.put(api.Event{Kind: kind, Time: time.Now(), Schedule: schedule, Package: pkg, Text: text})
}

// writeAll writes the events that are kept, a line of JSON each.
func (e *Events) writeAll(w io.Writer) error {
	out := json.NewEncoder(w)
	for _, event := range e.ring.all() {
		if err := out.Encode(event); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(change session.Change, began, changed, over api.EventKind) api.EventKind {
	switch change {
	case session.Began:
		return began
	case session.Over:
		return over
	}
	return changed
}

func eventOf(kind api.EventKind, info *session.SessionInfo) api.Event {
	return api.Event{Kind: kind, Time: time.Now(), Session: info.ID, Package: info.Package, State: info.State.String()}
}

// stream is the answer to one reader.
type stream struct {
	events *Events
	next   uint64
	whole  bool         // no event is lost to the reader so far
	good   func() error // whether the reader may still read
}

// events opens a stream, after the event that the reader saw last where it names one.
func (s *server) events(r *http.Request) (any, error) {
	last := r.Header.Get("Last-Event-ID")
	if s.Events.streams.Add(1) > maxStreams {
		s.Events.streams.Add(-1)
		return nil, &statusError{http.StatusServiceUnavailable, fmt.Errorf("%d event streams are open already; close one, or poll GET /v1/sessions", maxStreams)}
	}
	out := &stream{events: s.Events, good: s.still(r)}
	out.next, out.whole = s.Events.ring.place(last)
	return out, nil
}

// write implements selfMade: it goes on until the reader goes, can't follow, or mayn't any more.
func (s *stream) write(w http.ResponseWriter, r *http.Request) {
	defer s.events.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // nothing more is to be read; the reader's going shows all the same
	out := fmt.Appendf(nil, "retry: %d\n\n", retryAfter.Milliseconds())
	if !s.whole {
		out = appendEvent(out, api.Event{
			ID: s.events.ring.id(s.next - 1), Kind: api.Gap, Time: time.Now(),
			Text: "events are lost to this reader: the daemon started again, or too many have passed; look at the sessions anew",
		})
	}
	ready := make(chan struct{})
	close(ready)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		_ = control.SetWriteDeadline(time.Now().Add(writeStall))
		if _, err := w.Write(out); err != nil || control.Flush() != nil {
			return
		}
		if r.Method == http.MethodHead {
			return
		}
		out = out[:0]
		batch, more, whole := s.events.ring.from(s.next, eventBatch)
		if !whole {
			return // it comes back, and is told of the gap
		}
		s.next += uint64(len(batch))
		for _, e := range batch {
			out = appendEvent(out, e)
		}
		if len(batch) > 0 {
			more = ready // don't wait, but see what else there is
		}
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			if s.good() != nil {
				return
			}
			out = append(out, ": here\n\n"...)
		case <-more:
		}
	}
}

// appendEvent appends an event in the stream's format. JSON has no line breaks.
func appendEvent(b []byte, e api.Event) []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic("handler: " + err.Error()) // a struct of strings and numbers
	}
	b = append(b, "id: "+e.ID+"\nevent: "+string(e.Kind)+"\ndata: "...)
	return append(append(b, data...), "\n\n"...)
}
