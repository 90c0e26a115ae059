package live

import (
	"time"

	"wimcast/api"
	"wimcast/session"
)

// How a session's course is kept.
const (
	sampleEvery = time.Second
	samplesKept = 600 // ten minutes
)

// series is the course of one session: the latest samples, in a ring.
type series struct {
	last    session.Pulse
	at      time.Time // of last
	samples []api.LiveSample
	next    int // where the next one goes, once the ring is full
}

// add makes a sample of what happened since the pulse before; none of the first.
func (s *series) add(now time.Time, p session.Pulse) {
	last, took := s.last, now.Sub(s.at).Seconds()
	first := s.at.IsZero()
	s.last, s.at = p, now
	if first || took <= 0 {
		return
	}
	sample := sampleOf(&last, &p, took)
	sample.Time = now.UTC().Truncate(time.Millisecond)
	if len(s.samples) < samplesKept {
		s.samples = append(s.samples, sample)
		return
	}
	s.samples[s.next] = sample
	s.next = (s.next + 1) % samplesKept
}

// all returns a copy of the samples, the oldest first.
func (s *series) all() []api.LiveSample {
	out := make([]api.LiveSample, 0, len(s.samples))
	return append(append(out, s.samples[s.next:]...), s.samples[:s.next]...)
}

// latest returns the newest sample; none before the first.
func (s *series) latest() []api.LiveSample {
	if len(s.samples) == 0 {
		return []api.LiveSample{}
	}
	return []api.LiveSample{s.samples[(s.next+len(s.samples)-1)%len(s.samples)]}
}

// sampleOf is what happened between two pulses that are so many seconds apart.
func sampleOf(from, to *session.Pulse, took float64) api.LiveSample {
	sent := func(t *session.SentTotals) uint64 {
		return t.SourceBytes + t.ParityBytes + t.ManifestBytes + t.ControlBytes
	}
	parity := float64(to.Sent.ParityPackets - from.Sent.ParityPackets)
	lost := float64(to.Lost - from.Lost)
	return api.LiveSample{
		Rate: digits(float64(sent(&to.Sent)-sent(&from.Sent)) / took), Target: digits(to.Target), Reason: string(to.Reason),
		Parity: share(parity, parity+float64(to.Sent.SourcePackets-from.Sent.SourcePackets)),
		Loss:   share(lost, lost+float64(to.Opened-from.Opened)),
		Proven: digits(float64(to.Proven-from.Proven) / took),
	}
}
