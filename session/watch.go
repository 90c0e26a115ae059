package session

import "time"

// Change is what happened to a session or a client.
type Change string

// The changes: a closed set. Something that is over within one turn of the session's
// loop is told as Over alone.
const (
	Began   Change = "began"   // the session started, the client joined
	Changed Change = "changed" // it has another state
	Over    Change = "over"    // it ended; a client that was given up may still come back, and has then changed
)

// Watcher hears of changes while they are news. Its methods are called from session
// goroutines and must not block. SessionInfo comes without its clients.
type Watcher interface {
	SessionChanged(Change, SessionInfo)
	ClientChanged(Change, SessionInfo, ClientInfo)
	// Alarm says in one sentence, with the next step, what somebody should look at.
	Alarm(s SessionInfo, text string)
}

// toldEvery is how often a watcher hears of the same session or client at most: whoever
// changes more often is told of with the state that it then has. The end is told at once.
const toldEvery = time.Second

// told is what the watcher knows of a session or a client. The loop compares it with
// the state at each turn, so that no place that changes a state can forget to tell.
type told[S ~string | ~uint8] struct {
	known bool
	state S
	at    time.Time
}

// news returns what to tell, and remembers it as told; "" for nothing.
func (t *told[S]) news(now time.Time, state S, over bool) Change {
	if t.known && (t.state == state || !over && now.Sub(t.at) < toldEvery) {
		return ""
	}
	change := Changed
	switch {
	case over:
		change = Over
	case !t.known:
		change = Began
	}
	t.known, t.state, t.at = true, state, now
	return change
}

// tellSession tells the watcher what is new of the session itself.
func (s *sender) tellSession(now time.Time) {
	w := s.server.cfg.Watcher
	if w == nil {
		return
	}
	if change := s.told.news(now, s.state, !s.info.Ended.IsZero()); change != "" {
		w.SessionChanged(change, s.snapshotAlone())
	}
}

// tellClient tells the watcher what is new of a client.
func (s *sender) tellClient(now time.Time, m *member) {
	w := s.server.cfg.Watcher
	if w == nil {
		return
	}
	if change := m.told.news(now, m.info.State, m.info.State.ended()); change != "" {
		w.ClientChanged(change, s.snapshotAlone(), m.info)
	}
}

// alarm tells the watcher what somebody should look at. Whoever calls it sees to it that
// one cause raises one alarm.
func (s *sender) alarm(text string) {
	if w := s.server.cfg.Watcher; w != nil {
		w.Alarm(s.snapshotAlone(), text)
	}
}
