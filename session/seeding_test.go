package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// simSeed is an older image in memory.
type simSeed struct {
	data  []byte
	slow  time.Duration // per read
	fails int           // read that fails, from 1; 0: none

	// What it must see before it knows of moved blocks, in steps; moved tells where a block lies in data.
	steps [][]int
	moved map[int]int

	content *simContent // to hold what it is shown against
	step    int
	known   bool
	size    int64
	tried   map[[2]int]bool // block, guess
	reads   int
	closed  int
	lies    bool // wants and lengths that make no sense
}

func (s *simSeed) Begin(size int64) ([]int, error) {
	s.size, s.tried = size, map[[2]int]bool{}
	return s.next(), nil
}

func (s *simSeed) next() []int {
	if s.lies {
		return []int{-1, 1 << 30, 0, 0}
	}
	if s.step == len(s.steps) {
		s.known = true
		return nil
	}
	s.step++
	return s.steps[s.step-1]
}

func (s *simSeed) Learn(image io.ReaderAt) ([]int, error) {
	buf := make([]byte, crypto.BlockSize)
	for _, i := range slices.Concat(s.steps[:s.step]...) {
		b := buf[:crypto.BlockLen(s.size, i)]
		if _, err := image.ReadAt(b, int64(i)*crypto.BlockSize); err != nil || !bytes.Equal(b, s.content.data[i*crypto.BlockSize:][:len(b)]) {
			return nil, fmt.Errorf("block %d: shown something else (%w)", i, err)
		}
	}
	return s.next(), nil
}

func (s *simSeed) ReadBlock(i int, dst []byte) (int, error) {
	time.Sleep(s.slow)
	guesses := []int{i}
	if at, ok := s.moved[i]; ok && s.known {
		guesses = []int{at, i}
	}
	n := crypto.BlockLen(s.size, i)
	for _, at := range guesses {
		if off := at * crypto.BlockSize; !s.tried[[2]int{i, at}] && off+n <= len(s.data) {
			s.tried[[2]int{i, at}] = true
			if s.reads++; s.reads == s.fails {
				return 0, errors.New("the disk reports a fault")
			}
			if s.lies {
				n = 1 + i%len(dst)
			}
			return copy(dst[:n], s.data[off:]), nil
		}
	}
	return 0, nil
}

func (s *simSeed) Close() error { s.closed++; return nil }

// seedOf makes a seed of the room's image in which every n-th block differs.
func (r *room) seedOf(n int) *simSeed {
	s := &simSeed{data: bytes.Clone(r.content.data), content: r.content}
	for i := 0; i*crypto.BlockSize < len(s.data); i += n {
		s.data[i*crypto.BlockSize] ^= 1
	}
	return s
}

// TestSeed counts packets: only what the seed doesn't have goes out.
func TestSeed(t *testing.T) {
	const size, perBlock = 99*crypto.BlockSize + 777, 128
	for _, test := range []struct {
		name   string
		seed   func(r *room) *simSeed
		blocks int // that must go out, the last one's 1 symbol not counted
		slack  int
	}{
		{"95 % equal", func(r *room) *simSeed { return r.seedOf(20) }, 5, 0},
		{"all equal", func(r *room) *simSeed { return &simSeed{data: r.content.data} }, 0, 0},
		{"nothing equal", func(r *room) *simSeed { return r.seedOf(1) }, 99, 3},
		{"empty", func(*room) *simSeed { return &simSeed{} }, 99, 3},
		{"half as long", func(r *room) *simSeed { return &simSeed{data: r.content.data[:50*crypto.BlockSize+5]} }, 49, 1},
		{"fails after 50", func(r *room) *simSeed { s := r.seedOf(20); s.fails = 51; return s }, 49, 4},
		{"lies about lengths", func(r *room) *simSeed { s := r.seedOf(1); s.lies, s.content = true, r.content; return s }, 99, 3},
		{"moved, by two steps", func(r *room) *simSeed {
			s := r.seedOf(1000) // the first block differs
			s.moved = map[int]int{}
			for i := 1; i < 45; i++ { // two halves change places
				a, b := s.data[i*crypto.BlockSize:][:crypto.BlockSize], bytes.Clone(s.data[(i+45)*crypto.BlockSize:][:crypto.BlockSize])
				copy(s.data[(i+45)*crypto.BlockSize:], a)
				copy(a, b)
				s.moved[i], s.moved[i+45] = i+45, i
			}
			s.steps = [][]int{{0}, {97, 98, 99}}
			return s
		}, 1, 2},
		{"wants what it has", func(r *room) *simSeed {
			s := &simSeed{data: r.content.data, content: r.content, steps: [][]int{{5, 5}}}
			return s
		}, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1, size)
				defer r.stop()
				c := r.client("pc01")
				c.seed = test.seed(r)
				c.start()
				began := time.Now()
				r.wait()
				sent := r.sent()
				t.Logf("%v: %d source packets of %d, %d parity, seed %d bytes", time.Since(began), sent.SourcePackets, r.sourcePackets(), sent.ParityPackets, c.result.Totals.Seed)
				if low, high := test.blocks*perBlock, (test.blocks+test.slack)*perBlock+1; int(sent.SourcePackets) < low || int(sent.SourcePackets) > high || sent.ParityPackets > 0 {
					t.Errorf("sent %+v, want %d to %d source packets", sent, low, high)
				}
				if c.seed.closed != 1 {
					t.Errorf("closed %d times", c.seed.closed)
				}
				if !c.event(EventSeed) {
					t.Error("nothing was said of the seed")
				}
				server, _ := r.server.Totals()
				if got := server["w11@1"].ProvenSeed; got != uint64(c.result.Totals.Seed) {
					t.Errorf("the server counts %d bytes from seeds, the client %d", got, c.result.Totals.Seed)
				}
			})
		})
	}
}

// TestSeedBeside has a client with a seed beside one without, at once and late, with a fast seed and a slow one: the
// other's image costs no more for it.
func TestSeedBeside(t *testing.T) {
	longUnderRace(t)
	for _, late := range []time.Duration{0, 300 * time.Millisecond, time.Second} {
		for _, slow := range []time.Duration{0, 20 * time.Millisecond} {
			t.Run(fmt.Sprintf("late %v, slow %v", late, slow), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRoom(t, 2, 199*crypto.BlockSize+777)
					defer r.stop()
					plain, seeded := r.client("pc01"), r.client("pc02")
					seeded.seed = r.seedOf(20)
					seeded.seed.slow = slow
					plain.start()
					time.Sleep(late)
					seeded.start()
					r.wait()
					sent := r.sent()
					t.Logf("source packets / image %.3f; %d bytes from the seed, %d multicast; %v after %v", float64(sent.SourcePackets)/float64(r.sourcePackets()),
						seeded.result.Totals.Seed, seeded.result.Totals.Multicast, seeded.result.Elapsed, plain.result.Elapsed)
					if float64(sent.SourcePackets) > 1.05*float64(r.sourcePackets()) {
						t.Errorf("sent %d source packets for an image of %d", sent.SourcePackets, r.sourcePackets())
					}
					if slow == 0 && seeded.result.Totals.Seed < r.content.Size()/2 {
						t.Errorf("%d bytes from the seed", seeded.result.Totals.Seed)
					}
				})
			})
		}
	}
}

// TestSeedVain ends the use of a seed that has nothing, without looking at all of it.
func TestSeedVain(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 3, 1500*crypto.BlockSize)
		defer r.stop()
		r.ceiling = 400e6
		c := r.client("pc01")
		c.seed = r.seedOf(1)
		c.start()
		r.wait()
		if c.seed.reads > seedVain+seedBuffers {
			t.Errorf("%d blocks read of a seed that has nothing", c.seed.reads)
		}
	})
}

// TestSeedEvils has seeds in rooms under every evil at once: all that counts is that each client ends with the right bytes,
// and that seeds are closed.
func TestSeedEvils(t *testing.T) {
	seeds := 100
	if testing.Short() || raceEnabled {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 11))
				r := newRoom(t, seed, 1+random.IntN(30*crypto.BlockSize))
				defer r.stop()
				blocks := crypto.BlockCount(r.content.Size())
				for i := range 1 + random.IntN(5) {
					c := r.client(fmt.Sprintf("pc%02d", i))
					c.link.loss = []float64{0, 0.05, 0.3}[random.IntN(3)]
					c.link.control = []float64{0, 0.1}[random.IntN(2)]
					c.link.jitter = []time.Duration{0, 10 * time.Millisecond}[random.IntN(2)]
					c.link.deaf = random.IntN(8) == 0
					if random.IntN(4) > 0 {
						c.seed = r.seedOf(1 + random.IntN(10))
						c.seed.slow = time.Duration(random.Int64N(int64(50 * time.Millisecond)))
						c.seed.lies = random.IntN(6) == 0
						if random.IntN(4) == 0 {
							c.seed.fails = 1 + random.IntN(30)
						}
						if random.IntN(2) == 0 {
							c.seed.steps = [][]int{{0}, {blocks - 1, random.IntN(blocks)}}
							c.seed.moved = map[int]int{random.IntN(blocks): random.IntN(blocks), 0: 0}
						}
					}
					if blocks > 5 && random.IntN(4) == 0 { // of an earlier try, one of them bad
						c.target.data, c.target.digest, c.target.have = bytes.Clone(r.content.data), r.content.Digest(), []int{0, 2, 3}
						c.target.data[2*crypto.BlockSize] ^= 1
						clear(c.target.data[4*crypto.BlockSize:])
						clear(c.target.data[crypto.BlockSize : 2*crypto.BlockSize])
					}
					c.start()
					time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
				}
				if random.IntN(3) == 0 {
					r.kill()
					time.Sleep(time.Duration(random.Int64N(int64(5 * time.Second))))
					r.start()
				}
				r.wait()
				for _, c := range r.clients {
					if c.seed != nil && c.seed.closed != 1 {
						t.Errorf("%s: seed closed %d times", c.name, c.seed.closed)
					}
				}
			})
		})
	}
}

// TestSeedNeverBegun closes a seed that no image came for.
func TestSeedNeverBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 4, 1000)
		r.kill()
		c := r.client("pc01")
		c.seed = &simSeed{}
		c.start()
		c.stop()
		if c.seed.closed != 1 {
			t.Errorf("closed %d times", c.seed.closed)
		}
	})
}

// TestSeedSpill: symbols of a block that the seed is tried for don't go to the target, where they could get over what the
// seed proves.
func TestSeedSpill(t *testing.T) {
	s := newImageState(crypto.Hash{}, newGeometry(10*crypto.BlockSize, defaultSymbol))
	s.seed = &seeding{trying: map[int]bool{3: true}, left: newBitset(10)}
	for i, age := range map[int]int{3: 9, 4: 5, 5: 1} {
		b, _ := s.opened(s.geo.m+i, time.Unix(0, 0))
		b.seen = time.Unix(int64(100-age), 0)
	}
	if b := s.oldest(); b == nil || b.block != s.geo.m+4 {
		t.Errorf("the victim is %+v, want the oldest that isn't tried", b)
	}
}
