package session

import (
	"time"

	"wimcast/multicast/wire"
)

// The server remembers what it sent for 10 s at least, so that a NACK can be set off
// against symbols that its client hadn't seen yet (section 5). A run is forgotten by the time of its
// first symbol, and its last may be as much younger as runSpan.
const (
	runSpan    = time.Second
	debtMemory = 10*time.Second + runSpan
)

// debtBook holds what the server owes: for each block the largest of what NACKs
// ask for, less what was sent since. It is a pure data structure.
type debtBook struct {
	owed  map[uint32]*debt
	queue []waiting // what is owed, the oldest first
	asked uint64    // debts ever
	sent  map[uint32]sentRuns
	log   []sentAt // what to forget when
}

type debt struct {
	symbols int    // 0 once paid, until the queue comes to it
	asker   uint32 // client number of the first who asked
	alone   bool   // nobody else has asked
	since   time.Time
	place   uint64 // of its place in the queue
}

// waiting is a place in the queue. It is void when its debt has got another place since.
type waiting struct {
	block uint32
	place uint64
}

// sentRun is a run of symbols of one block with successive packet numbers.
type sentRun struct {
	first uint64
	n     int
	at    time.Time // of the first
}

// sentRuns are the runs of one block, the oldest first. Most blocks have one: it takes no allocation.
type sentRuns struct {
	oldest sentRun
	later  []sentRun
}

// newest returns the newest run, which may be changed before r is stored again.
func (r *sentRuns) newest() *sentRun {
	if n := len(r.later); n > 0 {
		return &r.later[n-1]
	}
	return &r.oldest
}

// above counts the symbols of a run with packet numbers above h.
func (r *sentRun) above(h uint64) int {
	switch last := r.first + uint64(r.n) - 1; {
	case r.first > h:
		return r.n
	case last > h:
		return int(last - h)
	}
	return 0
}

type sentAt struct {
	block uint32
	at    time.Time
}

func newDebtBook() *debtBook {
	return &debtBook{owed: map[uint32]*debt{}, sent: map[uint32]sentRuns{}}
}

// ask notes that a client lacks n symbols of a block, having seen packet numbers
// up to highest, and reports whether that added to what is owed.
func (d *debtBook) ask(now time.Time, client, block uint32, n int, highest uint64) bool {
	n -= d.sentAbove(block, highest)
	if n <= 0 {
		return false
	}
	entry := d.owed[block]
	if entry == nil {
		entry = new(debt)
		d.owed[block] = entry
	}
	if entry.symbols == 0 { // new, or paid: it goes to the end
		d.asked++
		*entry = debt{symbols: n, asker: client, alone: true, since: now, place: d.asked}
		d.queue = append(d.queue, waiting{block, d.asked})
		return true
	}
	if entry.asker != client {
		entry.alone = false
	}
	if n > entry.symbols {
		entry.symbols = n
		return true
	}
	return false
}

// sentAbove counts the symbols of a block sent with packet numbers above h.
func (d *debtBook) sentAbove(block uint32, h uint64) int {
	runs, ok := d.sent[block]
	if !ok {
		return 0
	}
	total := runs.oldest.above(h)
	for i := range runs.later {
		total += runs.later[i].above(h)
	}
	return total
}

// paid notes that n symbols of a block went out from packet number first on.
func (d *debtBook) paid(now time.Time, block uint32, first uint64, n int) {
	runs, ok := d.sent[block]
	if newest := runs.newest(); ok && newest.first+uint64(newest.n) == first && now.Sub(newest.at) < runSpan {
		newest.n += n
	} else {
		run := sentRun{first: first, n: n, at: now}
		if ok {
			runs.later = append(runs.later, run)
		} else {
			runs.oldest = run
		}
		d.log = append(d.log, sentAt{block: block, at: now})
	}
	d.sent[block] = runs
	if entry := d.owed[block]; entry != nil {
		entry.symbols = max(0, entry.symbols-n)
	}
}

// drop forgets what is owed of a block.
func (d *debtBook) drop(block uint32) {
	if entry := d.owed[block]; entry != nil {
		entry.symbols = 0
	}
}

// next returns the oldest debt, or nil.
func (d *debtBook) next() (uint32, *debt) {
	for len(d.queue) > 0 {
		q := d.queue[0]
		if entry := d.owed[q.block]; entry != nil && entry.place == q.place {
			if entry.symbols > 0 {
				return q.block, entry
			}
			delete(d.owed, q.block)
		}
		d.queue = d.queue[1:]
	}
	d.queue = nil // lets go of the array
	return 0, nil
}

// promises returns up to limit debts, the oldest first.
func (d *debtBook) promises(limit int) []wire.Promise {
	var out []wire.Promise
	for _, q := range d.queue {
		if len(out) == limit {
			break
		}
		if entry := d.owed[q.block]; entry != nil && entry.place == q.place && entry.symbols > 0 {
			out = append(out, wire.Promise{Block: q.block, Symbols: uint8(min(entry.symbols, 255))})
		}
	}
	return out
}

// forget drops the record of what was sent more than debtMemory ago.
func (d *debtBook) forget(now time.Time) {
	for len(d.log) > 0 && now.Sub(d.log[0].at) > debtMemory {
		block := d.log[0].block
		if runs := d.sent[block]; len(runs.later) == 0 {
			delete(d.sent, block)
		} else {
			runs.oldest, runs.later = runs.later[0], runs.later[1:]
			d.sent[block] = runs
		}
		d.log = d.log[1:]
	}
}
