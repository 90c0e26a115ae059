package session

import (
	"errors"
	"io"

	"wimcast/crypto"
)

// Seed is what a client has of an image before it gets it, such as an older version of the same file. Block numbers are of
// the image. Nothing that a seed says is believed: what comes from it counts once its hash holds. The methods are called from one goroutine
// at a time, which they may hold up; an error ends the use of the seed, and nothing else.
type Seed interface {
	// Begin prepares for an image of size bytes. It returns which blocks of it the seed would like to see, as Learn does.
	Begin(size int64) (wants []int, err error)
	// Learn is called once all blocks are there that the seed wanted. It reads them from image, proven; other bytes can't be
	// read. It returns which it wants next, at most learnMost in all; none when it knows all that it can.
	Learn(image io.ReaderAt) (wants []int, err error)
	// ReadBlock reads what may be block i into dst, and returns the length of block i. Each call for a block returns another guess;
	// 0 bytes: there is none, as long as the seed doesn't learn more.
	ReadBlock(i int, dst []byte) (int, error)
	Close() error
}

// Implementation constants of a client with a seed.
const (
	seedBuffers = 4    // blocks from the seed under way: 0.7 MB; few, as the group's wait for the same disk
	learnMost   = 128  // blocks that a seed may want to see: 23 MB, 460,000 entries of a WIM's lookup table
	seedVain    = 1024 // blocks that were tried in vain, and no other, end the use of a seed: 185 MB
)

// seeder reads a seed in a goroutine of its own, so that a slow disk holds up neither group nor target.
type seeder struct {
	asks    chan seedAsk // room for all that is under way: nobody waits
	answers chan seedAnswer
	stopped chan struct{}
}

type seedAsk struct {
	kind  seedKind
	block int    // of the image, to read
	data  []byte // where to
	image provenBlocks
}

type seedKind uint8

const (
	seedRead  seedKind = iota
	seedLearn          // from image
	seedClose          // the last
)

type seedAnswer struct {
	ask   seedAsk
	n     int // bytes read
	wants []int
	err   error
}

func newSeeder(seed Seed) *seeder {
	s := &seeder{asks: make(chan seedAsk, seedBuffers+2), answers: make(chan seedAnswer, seedBuffers+2), stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		for ask := range s.asks {
			answer := seedAnswer{ask: ask}
			switch ask.kind {
			case seedRead:
				answer.n, answer.err = seed.ReadBlock(ask.block, ask.data)
			case seedLearn:
				answer.wants, answer.err = seed.Learn(ask.image)
			case seedClose:
				answer.err = seed.Close()
				s.answers <- answer
				return
			}
			s.answers <- answer
		}
	}()
	return s
}

// provenBlocks are proven blocks of an image, as much of it as a seed may read.
type provenBlocks map[int][]byte

// errUnseen says that a seed reads what it didn't ask to see.
var errUnseen = errors.New("that part of the image isn't there yet")

// ReadAt implements io.ReaderAt.
func (p provenBlocks) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		at := off + int64(n)
		block := p[int(at/crypto.BlockSize)]
		from := int(at % crypto.BlockSize)
		if at < 0 || from >= len(block) {
			return n, errUnseen
		}
		n += copy(b[n:], block[from:])
	}
	return n, nil
}
