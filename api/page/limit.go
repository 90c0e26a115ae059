package page

import (
	"net/netip"
	"sync"
	"time"
)

// How often an address may try to log in. Guessing 256 bits needs no limit; the log and the processor do.
const (
	triesAtOnce  = 10
	tryEvery     = 6 * time.Second // then one more
	maxAddresses = 1024            // that are told apart; beyond it new ones share one account
)

// limit counts tries to log in by address. Safe for concurrent use.
type limit struct {
	mu     sync.Mutex
	spent  map[netip.Addr]time.Time // when an address's account is full again
	others time.Time                // likewise, of those beyond maxAddresses
}

// allow reports whether an address may try now, and counts the try. An IPv6 address counts with its /64.
func (l *limit) allow(from netip.Addr, now time.Time) bool {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		if p, err := from.Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.spent[from]
	if !known && len(l.spent) >= maxAddresses {
		for a, at := range l.spent {
			if !at.After(now) {
				delete(l.spent, a)
			}
		}
		if len(l.spent) >= maxAddresses {
			return charge(&l.others, now)
		}
	}
	ok := charge(&full, now)
	if l.spent == nil {
		l.spent = map[netip.Addr]time.Time{}
	}
	l.spent[from] = full
	return ok
}

// charge takes one try from an account that is full again at a time.
func charge(full *time.Time, now time.Time) bool {
	if full.Before(now) {
		*full = now
	}
	if full.Sub(now) > (triesAtOnce-1)*tryEvery {
		return false
	}
	*full = full.Add(tryEvery)
	return true
}
