package session

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// turn is the block that is going out: which symbols, and how far it has come.
type turn struct {
	block   int
	k       int
	source  []byte // the block, zero padded to k symbols
	indices []uint8
	at      int // next of indices
}

// parityDemand learns how many parity symbols blocks need, from what the latest
// ones did, so that most of it can go ahead of the NACKs (section 5).
type parityDemand struct {
	window [parityWindow]struct{ block, ahead, demand int }
	turns  int
}

// begin notes a turn with p proactive parity symbols.
func (d *parityDemand) begin(block, p int) {
	slot := &d.window[d.turns%parityWindow]
	// Unless a NACK says otherwise, p was enough; assuming a little less lets p fall again.
	slot.block, slot.ahead, slot.demand = block, p, max(0, p-1)
	d.turns++
}

// lacking notes that n symbols more would have been needed.
func (d *parityDemand) lacking(block, n int) {
	for i := range min(d.turns, parityWindow) {
		if slot := &d.window[i]; slot.block == block {
			slot.demand = max(slot.demand, slot.ahead+n)
		}
	}
}

// aheadShare is what share of the window's blocks needed no more parity than goes ahead of the NACKs
// (docs/design.md has the table that decided it).
const aheadShare = 0.5

// ahead returns how many parity symbols a turn of k source symbols starts with.
func (d *parityDemand) ahead(k int) int {
	n := min(d.turns, parityWindow)
	if n < parityLeast {
		return 0
	}
	var sorted [parityWindow]int
	for i := range sorted {
		sorted[i] = d.window[i].demand
	}
	slices.Sort(sorted[:n])
	return min(sorted[int(aheadShare*float64(n))], k/4)
}

// pickTurn makes sure that there is a symbol to send, in the order of section 5,
// and reports false when there is none.
func (s *sender) pickTurn(now time.Time) bool {
	if s.turn.at < len(s.turn.indices) {
		return true
	}
	for s.ending == "" {
		if block, entry := s.debts.next(); entry != nil {
			if s.repairAllowed(now, entry) {
				return s.startRepair(int(block), entry)
			}
			// One client alone has had its share: the block waits for the next pass.
			s.debts.drop(block)
			if m := s.roster.members[entry.asker]; m != nil && !s.doubted(m) {
				s.need.set(int(block))
			}
			s.info.NACKs.Limited++
			continue
		}
		block := s.nextNeeded()
		if block < 0 {
			return false
		}
		return s.startBlock(block)
	}
	return false
}

// nextNeeded returns the needed block whose turn it is, or -1: the manifest's
// first, then cyclic from the cursor.
func (s *sender) nextNeeded() int {
	if s.need.count == 0 {
		return -1
	}
	if block := s.need.next(0); block >= 0 && block < s.geo.m {
		return block
	}
	if block := s.need.next(s.cursor); block >= 0 {
		return block
	}
	return s.need.next(0)
}

// repairAllowed decides whether a debt is paid now. Repair that only a client asked
// for which loses far more than the others gets a fifth of the rate while the others lack
// something too. (Who asked first says nothing: most losses are many clients' own.)
func (s *sender) repairAllowed(now time.Time, entry *debt) bool {
	m := s.roster.members[entry.asker]
	if !entry.alone || m == nil {
		return true
	}
	if s.doubted(m) {
		return false
	}
	m.asked += int64(entry.symbols)
	if !s.outlier(now, m) {
		return true
	}
	rate := s.law.rate * aloneShare
	s.aloneOK = min(s.aloneOK+now.Sub(s.aloneAt).Seconds()*rate, rate) // a second's worth at most
	s.aloneAt = now
	if s.need.count > 0 && s.aloneOK < 0 {
		return false
	}
	s.aloneOK -= float64(entry.symbols * s.geo.packet())
	m.caused += int64(entry.symbols)
	s.checkCost(m)
	return true
}

// outlierPackets is how many packets a client's loss is measured over at least
// before the client can be called an outlier.
const outlierPackets = 2_000

// outlier reports whether a client loses far more than the median client.
func (s *sender) outlier(now time.Time, m *member) bool {
	if m.info.Opened+m.info.Lost < outlierPackets {
		return false
	}
	var losses []float64
	for _, other := range s.roster.members {
		if other.info.State == ClientReceiving && !other.quiet(now) {
			losses = append(losses, other.lossSoFar())
		}
	}
	if len(losses) < 2 {
		return false
	}
	slices.Sort(losses)
	return m.lossSoFar() > 2*losses[(len(losses)-1)/2]+0.02
}

// startBlock begins the turn of a needed block: its source symbols, then parity
// ahead of the NACKs.
func (s *sender) startBlock(block int) bool {
	if !s.load(block) {
		return false
	}
	s.need.clear(block)
	s.turnAt[block] = s.number
	if block >= s.geo.m {
		s.cursor = block
		s.manifest = nil // 32 bytes a block: not to be kept for the whole of a cast
	}
	s.turn.indices = s.turn.indices[:0]
	for i := range s.turn.k {
		s.turn.indices = append(s.turn.indices, uint8(i))
	}
	p := s.parity.ahead(s.turn.k)
	s.addParity(block, p)
	s.parity.begin(block, p)
	s.casting()
	return true
}

// startRepair begins a turn of the parity symbols owed.
func (s *sender) startRepair(block int, entry *debt) bool {
	if !s.load(block) {
		return false
	}
	s.turn.indices = s.turn.indices[:0]
	s.addParity(block, entry.symbols)
	s.casting()
	return true
}

func (s *sender) casting() {
	if s.state != wire.Casting {
		s.state = wire.Casting
	}
	s.turn.at = 0
}

// addParity adds the next n parity symbols of a block to the turn, cyclic.
func (s *sender) addParity(block, n int) {
	k := s.turn.k
	for range min(n, 256-k) {
		index := max(int(s.next[block]), k)
		s.turn.indices = append(s.turn.indices, uint8(index))
		s.next[block] = uint8(index + 1) // 255 wraps to 0, which stands for k
	}
}

// load reads a block into the turn. When the package turns out to be damaged the session ends.
func (s *sender) load(block int) bool {
	n, k := s.geo.length(block), s.geo.k(block)
	s.turn = turn{block: block, k: k, source: s.turn.source[:cap(s.turn.source)][:k*s.geo.symbol], indices: s.turn.indices[:0]}
	if block < s.geo.m {
		if s.manifest == nil {
			s.manifest = s.pkg.Content.Manifest().Marshal()
		}
		copy(s.turn.source, s.manifest[block*crypto.BlockSize:][:n])
	} else if got, err := s.pkg.Content.ReadBlock(block-s.geo.m, s.turn.source); err != nil || got != n {
		if err == nil {
			err = fmt.Errorf("read block %d: %d bytes, want %d", block-s.geo.m, got, n)
		}
		s.log.Error("package can't be read", zap.Error(err))
		s.ending = "package out of service: " + err.Error()
		s.alarm(fmt.Sprintf("session %s of %s ended, as its package can't be read: %v", s.id, s.pkg.Name, err))
		return false
	}
	clear(s.turn.source[n:])
	return true
}

// appendSymbol seals the turn's next symbol onto the run.
func (s *sender) appendSymbol(run []byte, now time.Time) []byte {
	t, size := &s.turn, s.geo.symbol
	start := len(run)
	packet := run[start : start+packetOverhead-crypto.Overhead+size]
	wire.Header{
		Kind: wire.KindSymbol, Epoch: uint8(s.epoch), Tag: tag(s.session), Sent: s.clock(now), Number: s.number,
	}.Put(packet)
	index := int(t.indices[t.at])
	follow := len(t.indices) - t.at - 1
	wire.PutSymbol(packet[wire.HeaderLen:], uint32(t.block), uint8(index), uint16(follow))
	data := packet[wire.HeaderLen+wire.SymbolHeaderLen:]
	if index < t.k {
		copy(data, t.source[index*size:][:size])
	} else {
		s.codes.get(t.k).Encode(data, index, t.source)
	}
	sealed := s.keys.Seal(packet, wire.HeaderLen, s.number)
	s.debts.paid(now, uint32(t.block), s.number, 1)
	s.count(t.block, index < t.k, len(sealed))
	s.number++
	t.at++
	return run[:start+len(sealed)]
}

func (s *sender) count(block int, source bool, bytes int) {
	sent := &s.info.Sent
	switch {
	case block < s.geo.m:
		sent.ManifestPackets++
		sent.ManifestBytes += uint64(bytes)
	case source:
		sent.SourcePackets++
		sent.SourceBytes += uint64(bytes)
	default:
		sent.ParityPackets++
		sent.ParityBytes += uint64(bytes)
	}
}
