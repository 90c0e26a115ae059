package session

import (
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// hearRun takes a run of datagrams apart.
func (h *hearing) hearRun(now time.Time, run *multicast.Run) {
	data := run.Data
	for len(data) > 0 {
		n := len(data)
		if run.Segment > 0 {
			n = min(n, run.Segment)
		}
		h.hearPacket(now, data[:n])
		data = data[n:]
	}
}

// hearPacket refuses in the order of section 4, the cheapest first; only a packet
// that opened moves any state.
func (h *hearing) hearPacket(now time.Time, packet []byte) {
	header, err := wire.ParseHeader(packet)
	if err != nil {
		h.dropped.add(dropLength)
		return
	}
	switch {
	case header.Kind == wire.KindSymbol && len(packet) != h.image.geo.packet():
		h.dropped.add(dropLength)
		return
	case header.Kind != wire.KindSymbol && header.Kind != wire.KindStatus:
		h.dropped.add(dropKind)
		return
	case header.Tag != tag(h.welcome.Session):
		h.dropped.add(dropTag)
		return
	}
	keys := h.keys[header.Epoch]
	if keys == nil {
		h.dropped.add(dropEpoch)
		if !now.Before(h.epochAt) {
			h.epochAt = now.Add(retry(0))
			h.channel.send(&wire.EpochWanted{Client: h.welcome.Client, Seen: header.Epoch})
		}
		return
	}
	ahead := max(windowBits, h.rateLimit/uint64(h.image.geo.packet()))
	if reason, ok := h.window.check(header.Number, h.signed+ahead); !ok {
		h.dropped.add(reason)
		return
	}
	payload, err := keys.Open(packet, wire.HeaderLen, header.Number)
	if err != nil {
		h.dropped.add(dropSeal)
		return
	}
	if header.Kind == wire.KindStatus {
		h.hearStatus(now, header, packet[:wire.HeaderLen], payload)
		return
	}
	symbol, err := wire.ParseSymbol(payload)
	if err != nil {
		h.dropped.add(dropMalformed)
		return
	}
	h.opened(now, header, len(packet))
	h.hearSymbol(now, header.Number, symbol)
}

// opened marks a packet as heard.
func (h *hearing) opened(now time.Time, header wire.Header, n int) {
	h.tellForgotten(now, header.Number)
	h.window.mark(header.Number)
	h.meter.packet(now, header.Number, n, header.Sent)
	h.heardAt = now
	if !h.anything {
		h.anything, h.firstAt = true, now
		if header.Number > h.welcome.Position && h.unicast == nil {
			h.tellAll(0, header.Number)
		}
		h.notify(EventMulticast, "hearing group %v", h.welcome.Group)
	}
}

// A switch that forgot this machine sends again as soon as it hears a join: that is told from a server or a line that was silent by the time, and by what
// was sent meanwhile.
const (
	forgottenBack  = 500 * time.Millisecond // after the join, and the group is here: cheap switches take a while
	forgottenLeast = 100                    // packets that were missed: status alone is a few
	forgottenTold  = 2                      // once may be somebody at the switch
)

// tellForgotten takes note of a silence that ends with packet number, and tells once of a switch that forgets.
func (h *hearing) tellForgotten(now time.Time, number uint64) {
	if !h.rejoinAt.After(h.heardAt) || now.Sub(h.rejoinAt) > forgottenBack || number < h.window.newest+forgottenLeast {
		return
	}
	h.forgot++
	h.silenced += number - h.window.newest - 1
	if h.forgot == forgottenTold {
		h.notify(EventNotice, "%s", fault.Forgotten(h.welcome.Group, h.forgot))
	}
}

func (h *hearing) hearStatus(now time.Time, header wire.Header, raw, payload []byte) {
	status, err := wire.ParseStatus(payload, h.welcome.Session, raw, h.welcome.PublicKey[:])
	if err != nil {
		h.dropped.add(dropStatus)
		return
	}
	h.opened(now, header, len(raw)+len(payload)+crypto.Overhead)
	if h.status != nil && header.Number <= h.signed {
		return // an older one
	}
	if h.status != nil && h.unicast == nil && int64(status.Cursor) < int64(h.image.geo.blocks()) && int64(h.status.Cursor) < int64(h.image.geo.blocks()) {
		h.asker.cursor(now, int(h.status.Cursor), int(status.Cursor), h.image.geo.blocks(), func(block int) bool {
			return !h.image.settled(block) && h.image.open[block] == nil && !h.image.expected(block)
		})
	}
	h.signed, h.signedAt, h.status = header.Number, now, status
	h.rateLimit = status.RateLimit
	switch {
	case status.Scheduled:
		h.hearWaiting(now, status)
	case status.State == wire.Casting || status.State == wire.PassEnded:
		h.begun = true
	}
	h.asker.grtt, h.asker.clients = max(status.GRTT, grttFloor), int(status.Clients)
	h.asker.promise(now, status.Promises, h.image.open)
	h.asker.pass = status.Pass
}

func (h *hearing) hearSymbol(now time.Time, number uint64, symbol wire.Symbol) {
	s := h.image
	block := int(symbol.Block)
	if int64(symbol.Block) >= int64(s.geo.blocks()) {
		h.dropped.add(dropRange)
		return
	}
	if s.settled(block) {
		h.totals.Duplicate++
		return
	}
	b, victim := s.opened(block, now)
	if b == nil && victim != nil {
		h.spill(victim)
		b, _ = s.opened(block, now)
	}
	if b == nil {
		h.totals.DiskDrops++ // every buffer waits for the disk
		return
	}
	b.seen = now
	if end := number + uint64(symbol.Follow); end > b.end {
		if end > b.end+uint64(b.k) || b.end == 0 {
			b.held = time.Time{} // a new turn answers what was asked
		}
		b.end = end
	}
	if !b.add(int(symbol.Index), symbol.Data) {
		h.totals.Duplicate++
		return
	}
	if b.lacking() == 0 {
		delete(s.open, block)
		delete(s.spilled, block)
		s.busy[block] = true
		s.ready = append(s.ready, job{kind: jobProve, block: block, open: b, geo: s.geo, from: fromMulticast, want: h.want(block)})
		h.feedProver()
	}
}

// spill makes room: the source symbols of a block that isn't whole go to their place in the target.
func (h *hearing) spill(b *openBlock) {
	s := h.image
	delete(s.open, b.block)
	all := b.spilled
	for i := range all {
		all[i] |= b.present[i]
	}
	s.spilled[b.block] = &all
	s.ready = append(s.ready, job{kind: jobSpill, block: b.block, open: b, geo: s.geo})
	h.feedProver()
}
