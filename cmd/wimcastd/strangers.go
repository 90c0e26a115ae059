package main

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast"
	"wimcast/multicast/fault"
)

// Constants of hearing other senders.
const (
	// strangerMoment is how long is listened at a time, and strangerPause the time before. A machine that is a member of the group that it sends to
	// spends more on each packet: in a room of network namespaces without segmentation twice as much.
	strangerMoment = 500 * time.Millisecond
	strangerPause  = 8 * time.Second
	// strangerAlarm is how often one stranger is told of.
	strangerAlarm = 10 * time.Minute
	// strangerKept is how long one is remembered, for the doctor.
	strangerKept = 24 * time.Hour
	// strangersMost bounds how many are remembered: addresses can be forged.
	strangersMost = 64
)

// stranger is another machine that sends to a group of ours.
type stranger struct {
	group         netip.AddrPort
	addr          netip.Addr
	interfaceName string
	first, last   time.Time
	alarmed       time.Time
}

// strangers are who sends to groups of ours. Safe for concurrent use.
type strangers struct {
	log   *zap.Logger
	raise func(alarm string) // set before the first group opens; may be nil

	mu    sync.Mutex
	heard []*stranger
}

// watch listens for other senders on a group, a moment now and then and not at first, until the returned function is called. A group that can't be watched is
// cast all the same.
func (s *strangers) watch(ifc *multicast.Interface, group netip.AddrPort) (stop func()) {
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for listening := true; listening; listening = s.listen(ifc, group, ended) {
			select {
			case <-ended:
				return
			case <-time.After(strangerPause):
			}
		}
	})
	return func() { close(ended); running.Wait() }
}

// listen listens for a moment; false when it ended, or can't be done.
func (s *strangers) listen(ifc *multicast.Interface, group netip.AddrPort, ended <-chan struct{}) bool {
	w, err := multicast.NewWatcher(ifc, group, ifc.Addr(group.Addr()))
	if err != nil {
		s.log.Warn("another distribution point on the group would go unnoticed", zap.Stringer("group", group), zap.Error(err))
		return false
	}
	heard := make(chan struct{})
	var closing sync.WaitGroup
	closing.Go(func() {
		select {
		case <-ended:
		case <-heard:
		case <-time.After(strangerMoment):
		}
		_ = w.Close()
	})
	from, err := w.Next()
	close(heard)
	closing.Wait()
	if err == nil {
		s.note(time.Now(), ifc.Name, group, from.Addr())
	}
	return true
}

// note notes a packet of another sender, unless it is this machine by another address.
func (s *strangers) note(now time.Time, interfaceName string, group netip.AddrPort, from netip.Addr) {
	if all, err := multicast.Interfaces(); err == nil && slices.ContainsFunc(all, func(i *multicast.Interface) bool {
		return slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Addr() == from })
	}) {
		return
	}
	s.mu.Lock()
	s.heard = slices.DeleteFunc(s.heard, func(x *stranger) bool { return now.Sub(x.last) >= strangerKept })
	i := slices.IndexFunc(s.heard, func(x *stranger) bool { return x.group == group && x.addr == from })
	if i < 0 && len(s.heard) < strangersMost {
		i = len(s.heard)
		s.heard = append(s.heard, &stranger{group: group, addr: from, first: now})
	}
	tell := false
	if i >= 0 {
		x := s.heard[i]
		x.last, x.interfaceName = now, interfaceName
		if tell = now.Sub(x.alarmed) >= strangerAlarm; tell {
			x.alarmed = now
		}
	}
	s.mu.Unlock()
	if !tell {
		return
	}
	f := fault.SecondServer(group, from)
	s.log.Error("another machine sends to a group", zap.Stringer("group", group), zap.Stringer("from", from), zap.String("interface", interfaceName), zap.String("text", f.String()))
	if s.raise != nil {
		s.raise(f.String())
	}
}

// list returns them, the latest first.
func (s *strangers) list() []stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []stranger
	for _, x := range s.heard {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b stranger) int { return cmp.Or(b.last.Compare(a.last), a.addr.Compare(b.addr)) })
	return out
}
