package session

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"wimcast/multicast/wire"
)

// asker decides when a client asks for what it lacks (section 5). It is pure but
// for its random source.
type asker struct {
	grtt     time.Duration
	clients  int
	expected func(block int) bool // not to be asked for, as it may be there; nil: none is

	roundAt time.Time // no NACK before
	fireAt  time.Time // the back-off that is running, zero for none

	told   uint64    // highest number that need was told with as pass 0
	pass   uint32    // the newest pass end told by status
	tellAt time.Time // no need told before, at a pass end

	missed map[int]time.Time // blocks that went by without a symbol; no NACK before
	passed []int             // went by between the latest two statuses: missed if nothing comes until the next

	parts   []*wire.Need // not heard yet
	partsAt time.Time    // when they are sent next
	tries   int
}

func (a *asker) round() time.Duration { return max(20*time.Millisecond, 4*a.grtt) }

// hold is how long a block isn't asked for again after a NACK of one's own. At a pass end nothing else is
// sent that its repair would have to wait for.
func (a *asker) hold(passEnded bool) time.Duration {
	if passEnded {
		return a.round()
	}
	return max(100*time.Millisecond, 4*a.grtt)
}

// candidates lists open blocks that a NACK may name now: their turn has ended, a
// hold-off ago, and nothing holds them back. The oldest first.
func (a *asker) candidates(now time.Time, open map[int]*openBlock, highest uint64, passEnded bool) []*openBlock {
	var out []*openBlock
	for _, b := range open {
		n := b.lacking()
		if a.expected != nil && a.expected(b.block) {
			continue
		}
		if n <= 0 || now.Before(b.held) || now.Sub(b.seen) < a.grtt {
			continue
		}
		if highest <= b.end && !passEnded {
			continue
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *openBlock) int {
		return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.block, b.block))
	})
	return out[:min(len(out), wire.MaxNACKBlocks)]
}

// nack returns the NACK that is due, if any.
func (a *asker) nack(now time.Time, random *rand.Rand, open map[int]*openBlock, highest uint64, passEnded bool) []wire.Lack {
	if now.Before(a.roundAt) {
		return nil
	}
	candidates := a.candidates(now, open, highest, passEnded)
	missed := a.missedNow(now)
	if len(candidates)+len(missed) == 0 {
		a.fireAt = time.Time{}
		return nil
	}
	if a.fireAt.IsZero() {
		a.fireAt = now.Add(backoff(random, a.grtt, a.clients))
	}
	if now.Before(a.fireAt) {
		return nil
	}
	a.fireAt, a.roundAt = time.Time{}, now.Add(a.round())
	var lacks []wire.Lack
	for _, b := range candidates {
		lacks = append(lacks, wire.Lack{Block: uint32(b.block), Symbols: uint8(b.lacking())})
		b.held = now.Add(a.hold(passEnded))
	}
	for _, block := range missed[:min(len(missed), wire.MaxNACKBlocks-len(lacks))] {
		lacks = append(lacks, wire.Lack{Block: uint32(block), Symbols: math.MaxUint8})
		a.missed[block] = now.Add(missedAgain)
	}
	return lacks
}

// missedAgain is how long a block that was missed whole isn't asked for again: its
// turn comes when the cursor does.
const missedAgain = 5 * time.Second

// missedNow lists missed blocks that may be asked for, in order.
func (a *asker) missedNow(now time.Time) []int {
	var out []int
	for block, after := range a.missed {
		if !now.Before(after) {
			out = append(out, block)
		}
	}
	slices.Sort(out)
	return out
}

// cursor notes how far the server's cursor went since the status before: what it
// passed and nothing is there of by the next status was missed. wanted tells whether
// nothing is there.
func (a *asker) cursor(now time.Time, from, to, blocks int, wanted func(block int) bool) {
	if a.missed == nil {
		a.missed = map[int]time.Time{}
	}
	for block := range a.missed {
		if !wanted(block) {
			delete(a.missed, block)
		}
	}
	for _, block := range a.passed {
		if _, known := a.missed[block]; !known && wanted(block) {
			a.missed[block] = now
		}
	}
	a.passed = a.passed[:0]
	for i := 0; from != to && i < blocks && len(a.passed) < missedMost; i++ {
		if wanted(from) {
			a.passed = append(a.passed, from)
		}
		if from++; from == blocks {
			from = 0
		}
	}
}

// missedMost bounds what is looked at between two statuses.
const missedMost = 1024

// promise holds back what the server has promised already.
func (a *asker) promise(now time.Time, promises []wire.Promise, open map[int]*openBlock) {
	for _, p := range promises {
		if b := open[int(p.Block)]; b != nil && int(p.Symbols) >= b.lacking() {
			if until := now.Add(2 * a.grtt); until.After(b.held) {
				b.held = until
			}
		}
	}
}

// tell starts telling need for a pass: at join (0) or at a pass end; highest is the
// newest packet number seen.
func (a *asker) tell(client, pass uint32, highest uint64, lacks *bitset) {
	a.parts, a.tries, a.partsAt = nil, 0, time.Time{}
	if pass == 0 {
		a.told = highest
	}
	if lacks.count > 0 || pass == 0 {
		a.parts = wire.SplitNeed(client, pass, highest, lacks.runs())
	}
}

// heard notes that a part arrived.
func (a *asker) heard(m *wire.NeedHeard) {
	a.parts = slices.DeleteFunc(a.parts, func(p *wire.Need) bool { return p.Pass == m.Pass && p.Highest == m.Highest && p.Part == m.Part })
}

// due returns the parts of need to send now: the first few that haven't been heard.
func (a *asker) due(now time.Time) []*wire.Need {
	if len(a.parts) == 0 || now.Before(a.partsAt) {
		return nil
	}
	a.partsAt = now.Add(retry(a.tries))
	a.tries++
	return a.parts[:min(len(a.parts), 16)]
}
