package session

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// Ticket says whose an applying is: what the latest welcome gave a client.
type Ticket struct {
	Client uint32
	Resume [16]byte // nobody else's business
}

// Applied is what came of applying what a client had proven, as it says itself. It is shown and counted, never trusted.
type Applied struct {
	Session crypto.SessionID
	ID      string // of the session, for people
	Package string
	Client  uint32
	Name    string
	Path    string // where most of its bytes came from: one of Paths
	Failed  bool
	Index   int // of the image in the WIM, 0 where it didn't come to that
	Took    time.Duration
	Reason  string
	At      time.Time
}

// result is its word in metrics.
func (a *Applied) result() string {
	if a.Failed {
		return resultApplyFailed
	}
	return resultApplied
}

// tellPatience bounds how long TellApplied tries.
const tellPatience = 10 * time.Second

// TellApplied tells the server what came of applying, over a control channel of its own, for 10 s at most. It is a courtesy: an error changes
// nothing.
func TellApplied(ctx context.Context, dial func(context.Context) (Control, error), ticket Ticket, failed bool, index int, took time.Duration, reason string) error {
	ctx, stop := context.WithTimeoutCause(ctx, tellPatience, fmt.Errorf("the distribution point hasn't heard what came of it in %v", tellPatience))
	defer stop()
	control, err := dial(ctx)
	if err != nil {
		return err
	}
	c := newChannel(control)
	defer c.close()
	message := &wire.Applied{Client: ticket.Client, Resume: ticket.Resume, Failed: failed, Index: uint16(index), Took: took, Reason: reason}
	return c.ask(ctx, message, tellPatience, func(m wire.Message) bool {
		heard, is := m.(*wire.AppliedHeard)
		return is && heard.Client == ticket.Client
	})
}

// What a server remembers of those that proved an image, until they say what came of applying it.
const (
	provenKept = 10_000
	provenFor  = 24 * time.Hour
)

// applies is a client that proved an image and may apply it now.
type applies struct {
	name, serial string // of its certificate
	told         bool
	Applied
}

// mayApply remembers a client that has proven the image. The caller is the session's goroutine.
func (s *sender) mayApply(now time.Time, m *member, path string) {
	server := s.server
	server.mu.Lock()
	defer server.mu.Unlock()
	if _, again := server.applying[m.resume]; !again {
		server.applyOrder = append(server.applyOrder, m.resume)
	}
	server.applying[m.resume] = &applies{name: m.info.Peer.Name, serial: m.info.Peer.Serial, Applied: Applied{
		Session: s.session, ID: s.id, Package: s.pkg.Name, Client: m.number, Name: m.info.Name, Path: path, At: now,
	}}
	for len(server.applyOrder) > 0 {
		oldest := server.applyOrder[0]
		if len(server.applyOrder) <= provenKept && now.Sub(server.applying[oldest].At) < provenFor {
			break
		}
		delete(server.applying, oldest)
		server.applyOrder = server.applyOrder[1:]
	}
}

// hearApplied notes what came of a client's applying, once. It is always acknowledged: one of which nothing is known, as after a
// restart, has nobody to be told to.
func (s *Server) hearApplied(l *link, m *wire.Applied) {
	l.send(&wire.AppliedHeard{Client: m.Client})
	s.mu.Lock()
	one := s.applying[m.Resume]
	if one == nil || one.Client != m.Client || one.name != l.peer.Name || one.serial != l.peer.Serial {
		s.mu.Unlock()
		s.dropped.add(dropStranger)
		return
	}
	if one.told {
		s.mu.Unlock()
		return
	}
	one.told = true
	told := one.Applied
	told.Failed, told.Index, told.Took, told.Reason, told.At = m.Failed, int(m.Index), m.Took, m.Reason, time.Now()
	s.totalsLocked(told.Package).Results[[2]string{told.result(), told.Path}]++
	s.mu.Unlock()
	level := zapcore.InfoLevel
	if told.Failed {
		level = zapcore.WarnLevel
	}
	s.cfg.Log.Log(level, "client applied", zap.String("client", told.Name), zap.Uint32("number", told.Client), zap.String("session", told.ID), zap.String("package", told.Package), zap.String("result", told.result()),
		zap.Int("index", told.Index), zap.Duration("took", told.Took), zap.String("reason", told.Reason))
	if s.cfg.Observer != nil {
		s.cfg.Observer.ClientApplied(told)
	}
}
