package session

import (
	"slices"
	"time"

	"wimcast/crypto"
)

// seedNews is how often need is told of what the seed turned out not to have.
const seedNews = 100 * time.Millisecond

// seeding is a client's taking from its seed, across connections. At first no block of the image is asked for but those that the seed wants
// to see; each that it turns out not to have is let go, and asked for. What the group brings meanwhile is taken. Block numbers are of the image
// where nothing else is said.
type seeding struct {
	seeder *seeder
	left   *bitset      // not asked for, as the seed may have it
	next   *bitset      // of them, what is to be tried
	cursor int          // in next
	trying map[int]bool // with the seeder or the prover

	freed *bitset   // stream blocks let go and not told yet
	newAt time.Time // they aren't told before

	learning bool  // the seed will know more
	wants    []int // and wants to see these first,
	reading  int   // of which so many are being read by the prover,
	seen     provenBlocks

	buffers     [][]byte
	asked       int // of the seeder, not answered
	tried, hits int // blocks
	closing     bool
	over        bool // the seed is closed
}

// beginSeed prepares the seed for the image. The client's first need leaves out what the seed may have.
func (r *Receiver) beginSeed() {
	s := r.image
	if r.cfg.Seed == nil {
		return
	}
	wants, err := r.cfg.Seed.Begin(s.geo.image)
	if err != nil {
		r.notify(EventSeed, "the seed is of no use, all is asked of the group: %v", err)
		_ = r.cfg.Seed.Close() // it was only read
		r.cfg.Seed = nil
		return
	}
	d := &seeding{
		seeder: newSeeder(r.cfg.Seed), left: newBitset(s.geo.b), next: newBitset(s.geo.b), trying: map[int]bool{}, freed: newBitset(s.geo.blocks()), seen: provenBlocks{},
	}
	for i := range s.geo.b {
		d.left.set(i)
		d.next.set(i)
	}
	for range seedBuffers {
		d.buffers = append(d.buffers, make([]byte, crypto.BlockSize))
	}
	s.seed = d
	r.notify(EventSeed, "what the seed has of the image isn't asked for")
	d.want(s, wants)
}

// endSeed closes the seed, and waits for what is being read of it.
func (r *Receiver) endSeed() {
	switch {
	case r.cfg.Seed == nil:
	case r.image == nil || r.image.seed == nil: // it never came to that
		_ = r.cfg.Seed.Close()
	default:
		r.image.seed.close()
	}
}

func (d *seeding) close() {
	if !d.closing {
		d.ask(seedAsk{kind: seedClose})
	}
	<-d.seeder.stopped
}

func (d *seeding) ask(a seedAsk) {
	d.closing = d.closing || a.kind == seedClose
	d.asked++
	d.seeder.asks <- a
}

// want notes what the seed wants to see before it can say more, and lets go of it.
func (d *seeding) want(s *imageState, wants []int) {
	wants = slices.DeleteFunc(wants, func(i int) bool { return i < 0 || i >= s.geo.b || d.seen[i] != nil })
	if len(wants)+len(d.seen) > learnMost {
		wants = nil
	}
	d.wants, d.learning = wants, len(wants) > 0
	if !d.learning { // what it had no guess for may have one now
		d.seen = nil
		d.again()
		return
	}
	for _, i := range wants {
		d.letGo(s, i)
	}
}

// again has all that is left tried once more.
func (d *seeding) again() {
	for i := range d.left.all() {
		if !d.trying[i] {
			d.next.set(i)
		}
	}
	d.cursor = 0
}

// letGo has a block asked for, unless it is there.
func (d *seeding) letGo(s *imageState, i int) {
	d.next.clear(i)
	if d.left.clear(i) && !s.settled(i+s.geo.m) {
		d.freed.set(i + s.geo.m)
	}
}

// giveUp lets go of all.
func (d *seeding) giveUp(s *imageState) {
	for i := range d.left.all() {
		d.letGo(s, i)
	}
	d.wants, d.learning, d.seen = nil, false, nil
}

// pick returns the next block to try, or -1.
func (d *seeding) pick(s *imageState) int {
	for i := d.next.next(d.cursor); i >= 0; i = d.next.next(i) {
		d.next.clear(i)
		d.cursor = i
		if !s.settled(i + s.geo.m) {
			return i
		}
		d.left.clear(i)
	}
	return -1
}

// feedSeed keeps the seeder busy once the manifest is there, and what an earlier try left is proven. It reports whether there is more for the prover.
func (h *hearing) feedSeed() (more bool) {
	s := h.image
	d := s.seed
	if d == nil || d.closing || s.manifest == nil || len(s.claims) > 0 {
		return false
	}
	if s.done() {
		d.giveUp(s)
	}
	for len(d.wants) > 0 && s.have.has(d.wants[0]) {
		i := d.wants[0]
		d.wants = d.wants[1:]
		d.reading++
		more = true
		s.ready = append(s.ready, job{kind: jobLearn, block: i, geo: s.geo, data: make([]byte, crypto.BlockLen(s.geo.image, i)), want: &s.manifest.Blocks[i]})
	}
	for len(d.buffers) > 0 {
		i := d.pick(s)
		if i < 0 {
			break
		}
		last := len(d.buffers) - 1
		d.trying[i] = true
		d.ask(seedAsk{kind: seedRead, block: i, data: d.buffers[last]})
		d.buffers = d.buffers[:last]
	}
	if !d.learning && len(d.trying) == 0 && d.asked == 0 {
		h.notify(EventSeed, "%d of %d blocks came from the seed", d.hits, s.geo.b)
		d.ask(seedAsk{kind: seedClose})
	}
	return more
}

// hearSeed takes an answer of the seeder.
func (h *hearing) hearSeed(a seedAnswer) {
	s := h.image
	d := s.seed
	d.asked--
	if a.err != nil && a.ask.kind != seedClose {
		h.notify(EventSeed, "the seed is of no more use, the rest is asked of the group: %v", a.err)
		d.giveUp(s)
	}
	switch a.ask.kind {
	case seedClose:
		d.over = true
	case seedLearn:
		if a.err == nil && d.learning {
			d.want(s, a.wants)
		}
	case seedRead:
		i := a.ask.block
		if a.n > 0 && a.n == s.geo.length(i+s.geo.m) && a.err == nil && !s.settled(i+s.geo.m) {
			s.ready = append(s.ready, job{kind: jobSeed, block: i + s.geo.m, data: a.ask.data[:a.n], geo: s.geo, from: fromSeed, want: &s.manifest.Blocks[i]})
			return
		}
		d.doneTrying(i, a.ask.data)
		switch {
		case s.settled(i + s.geo.m):
			d.left.clear(i)
		case a.n > 0: // of no length that fits: another guess
			d.retry(i)
		case !d.learning:
			d.letGo(s, i)
		}
	}
}

func (d *seeding) doneTrying(i int, data []byte) {
	delete(d.trying, i)
	d.buffers = append(d.buffers, data[:cap(data)])
}

// retry asks the seed for another guess of a block.
func (d *seeding) retry(i int) {
	if d.left.has(i) {
		d.next.set(i)
		d.cursor = min(d.cursor, i)
	}
}

// seedProven takes back a block of the seed from the prover.
func (h *hearing) seedProven(out outcome) {
	s, block := h.image, out.job.block
	d, i := s.seed, block-s.geo.m
	d.doneTrying(i, out.job.data)
	if out.err != nil {
		return
	}
	d.tried++
	if !out.proven {
		d.retry(i)
		if d.hits == 0 && d.tried == seedVain {
			h.notify(EventSeed, "none of the first %d blocks tried fits: the seed is of no use, all is asked of the group", d.tried)
			d.giveUp(s)
		}
		return
	}
	d.left.clear(i)
	if b := s.open[block]; b != nil {
		s.giveBack(b)
		delete(s.open, block)
	}
	delete(s.spilled, block)
	if !s.have.has(i) {
		d.hits++
		h.bytesSince += int64(s.geo.length(block))
		h.proven(i, fromSeed)
	}
}

// seedLearns takes back a block that the seed wanted to see, and shows them to it when they are all there.
func (h *hearing) seedLearns(out outcome) {
	s := h.image
	d := s.seed
	d.reading--
	if !d.learning {
		return
	}
	if out.err != nil || !out.proven { // the target's, which shows elsewhere
		d.want(s, nil)
		return
	}
	d.seen[out.job.block] = out.job.data
	if d.reading == 0 && len(d.wants) == 0 {
		d.ask(seedAsk{kind: seedLearn, image: d.seen})
	}
}

// tellFreed tells need of what the seed turned out not to have.
func (h *hearing) tellFreed(now time.Time) {
	s, a := h.image, &h.asker
	d := s.seed
	if d == nil || d.freed.count == 0 || len(a.parts) > 0 || now.Before(d.newAt) {
		return
	}
	highest := max(h.window.newest, h.welcome.Position-1)
	if highest <= a.told { // answers to what was told before couldn't be told from answers to this
		return
	}
	lacks := s.lacks()
	lacks.keep(d.freed)
	d.freed.clearAll()
	if lacks.count == 0 {
		return
	}
	a.tell(h.welcome.Client, 0, highest, lacks)
	d.newAt = now.Add(seedNews)
	if until := now.Add(retry(0)); until.After(a.tellAt) {
		a.tellAt = until // the pass end that was told is over with this
	}
}
