package screen

import (
	"strings"
	"time"

	"wimcast/multicast/fault"
	"wimcast/session"
)

// Implementation constants of troubles.
const (
	quietAfter = 3 * time.Second  // a group that is silent for so long is a trouble: status comes every 250 ms
	noticeFor  = 60 * time.Second // a notice stands so long, unless another trouble comes
	badFor     = 30 * time.Second // likewise a block that failed its hash
)

// troubles decides which trouble a screen shows: one at a time, the one that explains most.
type troubles struct {
	set    *fault.Fault // by whoever uses the board
	gone   *fault.Fault // no distribution point
	why    *fault.Fault // it fetches by unicast
	bad    passing      // a block failed its hash
	notice passing      // what else a person should hear
}

// passing is a trouble that is shown for a while.
type passing struct {
	fault *fault.Fault
	until time.Time
}

// event takes in what happened.
func (t *troubles) event(now time.Time, kind, text string) {
	switch session.EventKind(kind) {
	case session.EventGone:
		cause, _, _ := strings.Cut(text, "; trying again in")
		f := fault.ServerIsGone(cause)
		t.gone = &f
	case session.EventJoined, session.EventMulticast, session.EventWaiting, session.EventQueued:
		t.gone = nil
	case session.EventUnicast:
		reason := text
		if _, in, ok := strings.Cut(text, "("); ok {
			reason = strings.TrimSuffix(in, ")")
		}
		f := fault.GoesByUnicast(reason)
		t.why = &f
	case session.EventRejected:
		f := fault.BlockIsBad(text)
		t.bad = passing{&f, now.Add(badFor)}
	case session.EventNotice:
		f := Sentence("notice", text)
		t.notice = passing{&f, now.Add(noticeFor)}
	}
}

// now returns the trouble to show; nil for none.
func (t *troubles) now(now time.Time, p *session.Progress, phase Phase) *fault.Fault {
	receives := phase == Receiving || phase == Proving || phase == Waiting
	switch {
	case t.set != nil:
		return t.set
	case phase.over():
		return nil
	case t.gone != nil:
		return t.gone
	case receives && p.Size > 0 && !p.OnUnicast && p.Silent >= quietAfter && p.Waiting.Place == 0:
		f := fault.GroupSilent(p.Group, p.Silent.Truncate(time.Second))
		return &f
	case t.bad.fault != nil && now.Before(t.bad.until):
		return t.bad.fault
	case receives && p.OnUnicast && t.why != nil:
		return t.why
	case t.notice.fault != nil && now.Before(t.notice.until):
		return t.notice.fault
	}
	return nil
}

// Sentence makes a fault of a sentence in the manner of our errors: what comes after "; next: " is what to do.
func Sentence(kind fault.Kind, text string) fault.Fault {
	what, next, _ := strings.Cut(text, "; next: ")
	return fault.Fault{Kind: kind, Text: what, Next: next}
}
