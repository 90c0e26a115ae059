package session

import (
	"fmt"
	"slices"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// want returns the hash of a block, or nil while it isn't known.
func (h *hearing) want(block int) *crypto.Hash {
	s := h.image
	switch {
	case block < s.geo.m && s.rootsWhole:
		return &s.roots[block]
	case block >= s.geo.m && s.manifest != nil:
		return &s.manifest.Blocks[block-s.geo.m]
	}
	return nil
}

// feedProver hands jobs to the prover until its queue is full.
func (h *hearing) feedProver() {
	s := h.image
	sent := 0
	defer func() { // the queue keeps its memory
		s.ready = slices.Delete(s.ready, 0, sent)
	}()
	for _, j := range s.ready {
		if j.want == nil && (j.kind == jobProve || j.kind == jobFetched) {
			j.want = h.want(j.block)
		}
		if j.want == nil && j.kind == jobVerify {
			j.want = h.want(j.block + s.geo.m)
		}
		select {
		case h.prover.jobs <- j:
			sent++
		default:
			return
		}
	}
}

// manifestWhole settles everything that was stored before its hash could be checked.
func (r *Receiver) manifestWhole() {
	s := r.image
	manifest, err := crypto.ParseManifest(s.manifestData)
	if err != nil || manifest.Size != s.geo.image {
		// The digest covers it: the server's own manifest is bad.
		r.log.Error("manifest proven but malformed")
		return
	}
	s.manifest = manifest
	r.notify(EventManifest, "manifest proven: %d blocks", s.geo.b)
	for i, hash := range s.unproven {
		if hash == manifest.Blocks[i] {
			r.proven(i, s.sources[i])
		} else {
			r.rejected(i + s.geo.m)
		}
	}
	clear(s.unproven)
	clear(s.sources)
	for block := range s.open {
		if block < s.geo.m {
			s.giveBack(s.open[block])
			delete(s.open, block)
		}
	}
}

// proven notes that an image block is stored and its hash holds.
func (r *Receiver) proven(i int, from source) {
	if !r.image.have.set(i) {
		return
	}
	r.image.cells.add(i)
	n := int64(crypto.BlockLen(r.image.geo.image, i))
	switch from {
	case fromMulticast:
		r.totals.Multicast += n
	case fromUnicast:
		r.totals.Unicast += n
	case fromHeld:
		r.totals.Held += n
	case fromSeed:
		r.totals.Seed += n
	}
}

// rejected notes that a block's content was wrong; it is asked for again.
func (r *Receiver) rejected(block int) {
	r.totals.Rejected++
	delete(r.image.spilled, block)
	r.notify(EventRejected, "block %d failed its hash and is fetched again", block)
}

// hearOutcome takes back a job from the prover.
func (h *hearing) hearOutcome(out outcome) {
	s, j := h.image, out.job
	switch j.kind {
	case jobCheckpoint:
		h.checkpoint = false
	case jobSpill:
		s.giveBack(j.open)
	case jobVerify:
		delete(s.claims, j.block)
		switch {
		case out.err != nil:
			// What can't be read isn't there.
			out.err = nil
		case out.proven:
			h.proven(j.block, fromHeld)
		case !out.rejected:
			h.unprovenBlock(j.block, out.hash, fromHeld)
		}
		h.tellAgain(j.block + s.geo.m)
	case jobProve, jobFetched:
		delete(s.busy, j.block)
		if out.err == nil {
			h.settled(out)
		}
		if j.open != nil {
			s.giveBack(j.open)
		} else if h.unicast != nil {
			h.unicast.giveBack(j.data)
		}
		h.totals.Repaired += uint64(out.repaired)
	case jobSeed:
		h.seedProven(out)
	case jobLearn:
		h.seedLearns(out)
	case jobFinish:
		if out.err == nil {
			h.notify(EventProven, "every block is proven")
			h.done = &wire.Done{}
		}
	}
	if out.err != nil && h.fatal == nil {
		h.fatal = fmt.Errorf("%w: %w", ErrTarget, out.err)
	}
}

// tellAgain makes sure that a claimed block that turned out not to be there is
// asked for: the join's need left it out.
func (h *hearing) tellAgain(block int) {
	if h.image.settled(block) || len(h.image.claims) > 0 {
		return
	}
	h.tellAll(0, max(h.window.newest, h.welcome.Position-1))
}

// settled takes a block whose hash is known.
func (h *hearing) settled(out outcome) {
	s, block := h.image, out.job.block
	if out.rejected {
		h.rejected(block)
		return
	}
	if block < s.geo.m {
		data := out.job.data
		if out.job.open != nil {
			data = out.job.open.data
		}
		copy(s.manifestData[block*crypto.BlockSize:], data[:s.geo.length(block)])
		switch {
		case !s.rootsWhole: // compared once the roots are there
			s.manifestHash[block] = out.hash
		case out.hash == s.roots[block]:
			s.manifestHave.set(block)
			h.checkManifest()
		default:
			h.rejected(block)
		}
		return
	}
	image := block - s.geo.m
	h.bytesSince += int64(s.geo.length(block))
	if out.proven {
		h.proven(image, out.job.from)
	} else {
		h.unprovenBlock(image, out.hash, out.job.from)
	}
}

// unprovenBlock remembers the hash of a stored block until the manifest is there; it may have come meanwhile.
func (h *hearing) unprovenBlock(image int, hash crypto.Hash, from source) {
	s := h.image
	switch {
	case s.manifest == nil:
		s.unproven[image], s.sources[image] = hash, from
	case hash == s.manifest.Blocks[image]:
		h.proven(image, from)
	default:
		h.rejected(image + s.geo.m)
	}
}
