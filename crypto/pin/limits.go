package pin

import "time"

// Limits of tries. A try that was right is given back, so that these are limits of wrong ones; the one of checks isn't.
const (
	// Of an address, and of a certificate that is one machine's: a person who mistypes.
	sourceBurst, sourceEvery = 5, 20 * time.Second
	// Of a room, for addresses that have been wrong before: what many of them together may guess.
	knownBurst, knownEvery = 30, 10 * time.Second
	// Of a room, for addresses that haven't: a whole room that comes at once, beside somebody who guesses.
	freshBurst, freshEvery = 250, time.Second
	// Of slow hashes in all, right or wrong: some 20 ms of one core each.
	checksBurst, checksEvery = 60, 100 * time.Millisecond

	wrongFor   = time.Hour // how long an address counts as one that has been wrong
	maxSources = 8192      // addresses and certificates that are remembered; each for 100 s
	maxWrong   = 4096      // addresses that have been wrong; beyond it every other one counts as such
)

// bucket is a token bucket, told by when it is full again (the generic cell rate algorithm). The zero value is full.
type bucket struct{ full time.Time }

// take takes a token, or says how long there is none.
func (b *bucket) take(now time.Time, burst int, every time.Duration) (wait time.Duration) {
	at := b.full
	if at.Before(now) {
		at = now
	}
	at = at.Add(every)
	if over := at.Sub(now) - time.Duration(burst)*every; over > 0 {
		return over
	}
	b.full = at
	return 0
}

// give gives a token back.
func (b *bucket) give(every time.Duration) { b.full = b.full.Add(-every) }

// sources are buckets by who tries.
type sources map[string]*bucket

// of returns the bucket of a source.
func (s sources) of(now time.Time, key string) *bucket {
	if b := s[key]; b != nil {
		return b
	}
	if len(s) >= maxSources {
		for k, b := range s {
			if !b.full.After(now) {
				delete(s, k)
			}
		}
		for k := range s { // whoever has so many addresses is held by the room's limits
			if len(s) < maxSources*3/4 { // some more, so that not each newcomer has all of them looked at
				break
			}
			delete(s, k)
		}
	}
	b := new(bucket)
	s[key] = b
	return b
}
