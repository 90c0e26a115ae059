package session

import (
	"time"
)

// meter measures how a session arrives: loss, one-way delay, delivery rate. It is
// pure; packet numbers and times go in.
type meter struct {
	base    uint64 // packet number before the first counted
	highest uint64
	opened  uint64 // packets, from base on
	bytes   uint64

	// Totals over earlier connections and epochs.
	openedBefore, lostBefore uint64

	// The current period.
	at        time.Time
	atHighest uint64
	atOpened  uint64
	atBytes   uint64
	delayMin  int64 // µs, relative to the first packet's; valid when delays > 0
	delays    int

	// Between the two clocks when the first packet came, µs modulo 2^32. This machine's begins then: what the system says may be set
	// at any time.
	began time.Time // zero: no packet came
	apart uint32

	// The least delay of the last 10 s, as two halves of 5 s.
	least     [2]int64
	leastHave [2]bool
	leastAt   time.Time
}

const leastWindow = 5 * time.Second

// restart begins anew, as after a gap that isn't loss: a join, or packets of an
// epoch whose key wasn't there.
func (m *meter) restart(now time.Time) {
	m.openedBefore += m.opened
	m.lostBefore += m.lost()
	m.base, m.highest, m.opened, m.bytes = 0, 0, 0, 0
	m.at, m.atHighest, m.atOpened, m.atBytes, m.delays = now, 0, 0, 0, 0
}

// packet notes an opened packet of n bytes that was sent at sent (µs, low 32 bits of the session's clock).
func (m *meter) packet(now time.Time, number uint64, n int, sent uint32) {
	if m.base == 0 && m.opened == 0 {
		m.base, m.highest = number-1, number-1
		m.atHighest = m.highest
		m.at = now
	}
	if number <= m.base {
		return // older than what counts
	}
	m.highest = max(m.highest, number)
	m.opened++
	m.bytes += uint64(n)
	// The clocks differ by an unknown, the low 32 bits wrap every 71 minutes: what counts is the signed
	// difference from the first packet's.
	if m.began.IsZero() {
		m.began, m.apart = now, -sent
	}
	delay := int64(int32(uint32(now.Sub(m.began).Microseconds()) - sent - m.apart))
	if m.delays == 0 || delay < m.delayMin {
		m.delayMin = delay
	}
	m.delays++
}

// lost is how many packets are missing since the latest restart.
func (m *meter) lost() uint64 {
	expected := m.highest - m.base
	if expected < m.opened {
		return 0
	}
	return expected - m.opened
}

// period is what one period measured.
type period struct {
	delivery float64 // bytes/s
	loss     float64 // share
	packets  uint64  // expected
	delay    time.Duration
}

// period ends the current period.
func (m *meter) period(now time.Time) period {
	p := period{packets: m.highest - m.atHighest}
	if d := now.Sub(m.at).Seconds(); d > 0 {
		p.delivery = float64(m.bytes-m.atBytes) / d
	}
	if got := m.opened - m.atOpened; p.packets > got {
		p.loss = float64(p.packets-got) / float64(p.packets)
	}
	if m.delays > 0 {
		p.delay = m.aboveLeast(now)
	}
	m.at, m.atHighest, m.atOpened, m.atBytes, m.delays = now, m.highest, m.opened, m.bytes, 0
	return p
}

// aboveLeast returns the period's least delay above the least of the last 10 s: a
// queue that stands, not one that a burst makes.
func (m *meter) aboveLeast(now time.Time) time.Duration {
	if now.Sub(m.leastAt) >= leastWindow {
		m.least[1], m.leastHave[1] = m.least[0], m.leastHave[0]
		m.leastHave[0] = false
		m.leastAt = now
	}
	if !m.leastHave[0] || m.delayMin < m.least[0] {
		m.least[0], m.leastHave[0] = m.delayMin, true
	}
	least := m.least[0]
	if m.leastHave[1] {
		least = min(least, m.least[1])
	}
	return time.Duration(m.delayMin-least) * time.Microsecond
}

// window refuses packet numbers that were seen before, that are too old to tell,
// or too far ahead (section 4).
type window struct {
	newest uint64
	seen   [windowWords]uint64
}

const windowBits = 65_536

// windowWords is one word more than the bits fill: the oldest and the newest number
// may each stand anywhere in theirs.
const windowWords = windowBits/64 + 1

// check reports whether a packet number may be opened; limit is the highest acceptable.
func (w *window) check(number, limit uint64) (dropReason, bool) {
	switch {
	case number == 0 || number > limit:
		return dropWindow, false
	case number > w.newest:
		return 0, true
	case w.newest-number >= windowBits:
		return dropWindow, false
	case w.seen[number/64%windowWords]>>(number%64)&1 != 0:
		return dropDuplicate, false
	}
	return 0, true
}

// mark notes a packet number that authenticated.
func (w *window) mark(number uint64) {
	if number > w.newest {
		// Forget what falls out of the window: whole words between old and new.
		from, to := w.newest/64+1, number/64
		if to-from >= windowWords && to >= from {
			clear(w.seen[:])
		} else {
			for i := from; i <= to; i++ {
				w.seen[i%windowWords] = 0
			}
		}
		w.newest = number
	}
	w.seen[number/64%windowWords] |= 1 << (number % 64)
}
