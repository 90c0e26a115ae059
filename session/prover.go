package session

import (
	"fmt"
	"iter"

	"wimcast/crypto"
	"wimcast/multicast/fec"
)

// proverQueue is how many jobs may wait for the disk; a queue longer than that
// means that the disk is late.
const proverQueue = 32

// job is work on a whole block that would hold up the receiver: decoding, hashing, the disk.
type job struct {
	kind  jobKind
	block int // stream number; image number for verify and learn

	// prove: a block whose symbols are all there.
	open *openBlock
	geo  geometry
	// fetched, seed: a block that came whole; learn: where to.
	data []byte
	from source
	// want is the hash to hold it against, nil while unknown.
	want *crypto.Hash
	// checkpoint
	have     *bitset
	manifest []byte
}

type jobKind uint8

const (
	jobProve      jobKind = iota // decode, hash, store
	jobFetched                   // hash, store
	jobVerify                    // read, hash
	jobSpill                     // store the source symbols of a block that isn't whole
	jobSeed                      // hash, store what fits
	jobLearn                     // read into data, hash
	jobCheckpoint                // make durable
	jobFinish
)

// outcome is what became of a job.
type outcome struct {
	job      job
	hash     crypto.Hash
	proven   bool // held against want
	rejected bool // want says otherwise; nothing was stored
	repaired int  // source symbols restored
	err      error
}

// prover does jobs in order, in one goroutine of its own.
type prover struct {
	jobs     chan job
	outcomes chan outcome
	stopped  chan struct{}

	target  Target
	codes   codes
	decoder *fec.Decoder
	scratch []byte // parity symbols, moved out of the way
	block   []byte
	parity  []fec.Parity
}

func newProver(target Target) *prover {
	p := &prover{
		jobs: make(chan job, proverQueue), outcomes: make(chan outcome, proverQueue+2), stopped: make(chan struct{}),
		target: target, codes: codes{}, decoder: fec.NewDecoder(), block: make([]byte, crypto.BlockSize),
	}
	go func() {
		defer close(p.stopped)
		for j := range p.jobs {
			p.outcomes <- p.do(j)
		}
	}()
	return p
}

// close waits for the jobs under way and drops their outcomes.
func (p *prover) close() {
	close(p.jobs)
	for {
		select {
		case <-p.outcomes:
		case <-p.stopped:
			return
		}
	}
}

func (p *prover) do(j job) outcome {
	out := outcome{job: j}
	switch j.kind {
	case jobProve:
		out.repaired, out.err = p.decode(j)
		if out.err == nil {
			p.settle(&out, j.open.data[:j.geo.length(j.block)], j.geo)
		}
	case jobFetched, jobSeed:
		p.settle(&out, j.data, j.geo)
	case jobVerify:
		n, err := p.target.ReadBlock(j.block, p.block)
		if out.err = err; err == nil {
			out.hash = crypto.BlockHash(p.block[:n])
			p.compare(&out)
		}
	case jobLearn:
		n, err := p.target.ReadBlock(j.block, j.data)
		if out.err = err; err == nil {
			out.hash = crypto.BlockHash(j.data[:n])
			p.compare(&out)
		}
	case jobSpill:
		out.err = p.spill(j)
	case jobCheckpoint:
		out.err = p.target.Checkpoint(j.have.all(), j.manifest)
	case jobFinish:
		out.err = p.target.Finish()
	}
	return out
}

func (p *prover) compare(out *outcome) {
	if out.job.want != nil {
		out.proven = out.hash == *out.job.want
		out.rejected = !out.proven
	}
}

// settle hashes a block and stores it, unless its hash is known to be wrong.
// Manifest blocks aren't stored: their data goes back with the outcome.
func (p *prover) settle(out *outcome, data []byte, geo geometry) {
	out.hash = crypto.BlockHash(data)
	p.compare(out)
	if !out.rejected && out.job.block >= geo.m {
		out.err = p.target.WriteBlock(out.job.block-geo.m, data)
	}
}

// decode restores the missing source symbols of a block in place.
func (p *prover) decode(j job) (repaired int, err error) {
	b, size := j.open, j.geo.symbol
	// Parity first out of the way: it lies where source symbols belong.
	if need := len(b.parity) * size; cap(p.scratch) < need {
		p.scratch = make([]byte, need)
	}
	p.parity = p.parity[:0]
	for i, slot := range b.parity {
		to := p.scratch[:cap(p.scratch)][i*size:][:size]
		copy(to, b.data[slot.slot*size:][:size])
		p.parity = append(p.parity, fec.Parity{Index: int(slot.index), Data: to})
	}
	for i := range b.k {
		if !b.spilled.has(i) {
			continue
		}
		at := b.data[i*size:][:size]
		off, n := j.geo.place(j.block, i)
		clear(at)
		if _, err := p.target.ReadAt(at[:n], off); err != nil {
			return 0, fmt.Errorf("read back symbol %d of block %d: %w", i, j.block, err)
		}
		b.present.set(i)
	}
	repaired = b.k - b.present.count()
	if repaired == 0 {
		return 0, nil
	}
	if err := p.decoder.Decode(p.codes.get(b.k), b.data, size, fec.Bitmap(b.present), p.parity); err != nil {
		return 0, fmt.Errorf("decode block %d: %w", j.block, err)
	}
	return repaired, nil
}

// place returns where source symbol i of a block lies in the image, and how long it is there.
func (g *geometry) place(block, i int) (off int64, n int) {
	off = int64(block-g.m)*crypto.BlockSize + int64(i)*int64(g.symbol)
	return off, min(g.symbol, g.length(block)-i*g.symbol)
}

func (p *prover) spill(j job) error {
	b, size := j.open, j.geo.symbol
	for i := range b.k {
		if !b.present.has(i) {
			continue
		}
		off, n := j.geo.place(j.block, i)
		if _, err := p.target.WriteAt(b.data[i*size:][:n], off); err != nil {
			return fmt.Errorf("store symbol %d of block %d: %w", i, j.block, err)
		}
	}
	return nil
}

// collect turns a sequence into a list.
func collect(seq iter.Seq[int]) []int {
	var out []int
	for i := range seq {
		out = append(out, i)
	}
	return out
}
