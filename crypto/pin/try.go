package pin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"time"
)

// Enter lets in by the pass of an earlier Try of the same certificate. It costs next to nothing.
func (b *Book) Enter(who Who, shown [16]byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	// Looking it up by its hash tells nothing of the others.
	if p, ok := b.passes[sha256.Sum256(shown[:])]; !ok || p.serial != who.Serial || !time.Now().Before(p.until) {
		return false
	}
	b.counts[Pass]++
	return true
}

// Try holds a PIN against the one of the holder's room. When it is right it returns a pass, which is as good for some hours.
// Every error is a *RefusedError.
func (b *Book) Try(ctx context.Context, who Who, shown string) ([16]byte, error) {
	r, held, err := b.admit(time.Now(), who)
	if err != nil {
		return [16]byte{}, err
	}
	right, err := b.check(ctx, r, shown)
	return b.settle(time.Now(), who, r, held, right, err)
}

// tokens are what a try has taken.
type tokens struct {
	sources []*bucket
	room    *bucket
	every   time.Duration // of room
}

func (t *tokens) give() {
	for _, b := range t.sources {
		b.give(sourceEvery)
	}
	if t.room != nil {
		t.room.give(t.every)
	}
}

// admit takes what a try costs before anything is computed: the cheapest refusals first.
func (b *Book) admit(now time.Time, who Who) (*room, *tokens, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	refuse := func(result Result, again time.Duration) (*room, *tokens, error) {
		b.counts[result]++
		return nil, nil, &RefusedError{Result: result, Again: again}
	}
	r := b.find(now, who.Name)
	if r == nil {
		return refuse(Closed, closedAgain)
	}
	if r.Open {
		return r, &tokens{}, nil
	}
	held := &tokens{}
	from := []*bucket{b.sources.of(now, "address "+who.Addr.String())}
	if who.Alone {
		from = append(from, b.sources.of(now, "certificate "+who.Serial))
	}
	for _, s := range from {
		if wait := s.take(now, sourceBurst, sourceEvery); wait > 0 {
			held.give()
			return refuse(Limited, wait)
		}
		held.sources = append(held.sources, s)
	}
	room, burst, every := &r.fresh, freshBurst, freshEvery
	if at, was := r.wrong[who.Addr]; was && now.Sub(at) < wrongFor || !was && len(r.wrong) >= maxWrong {
		room, burst, every = &r.known, knownBurst, knownEvery
	}
	if wait := room.take(now, burst, every); wait > 0 {
		held.give()
		return refuse(Limited, wait)
	}
	held.room, held.every = room, every
	if wait := b.checks.take(now, checksBurst, checksEvery); wait > 0 || b.waiting >= maxWaiting {
		held.give()
		return refuse(Limited, max(wait, comeAgain))
	}
	b.waiting++
	return r, held, nil
}

// check computes the slow hash, one at a time.
func (b *Book) check(ctx context.Context, r *room, shown string) (right bool, err error) {
	if r.Open {
		return true, nil
	}
	defer func() {
		b.mu.Lock()
		b.waiting--
		b.mu.Unlock()
	}()
	select {
	case b.checking <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-b.checking }()
	if len(shown) > MaxLength {
		shown = "" // wrong, and at the same price
	}
	return subtle.ConstantTimeCompare(b.slow(shown, r.salt), r.hash) == 1, nil
}

// settle counts what came of a try.
func (b *Book) settle(now time.Time, who Who, r *room, held *tokens, right bool, err error) (shown [16]byte, _ error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err != nil: // the client went away
		b.counts[Limited]++
		return shown, &RefusedError{Result: Limited, Again: comeAgain}
	case !right:
		b.counts[Wrong]++
		r.Wrong++
		if _, was := r.wrong[who.Addr]; was || len(r.wrong) < maxWrong {
			r.wrong[who.Addr] = now
		}
		b.tell(r)
		return shown, &RefusedError{Result: Wrong}
	}
	held.give()
	b.counts[Right]++
	r.Right++
	_, _ = rand.Read(shown[:])
	b.forgetPasses(now)
	b.passes[sha256.Sum256(shown[:])] = pass{room: r.Room.Room, serial: who.Serial, until: now.Add(passFor)}
	return shown, nil
}

// forgetPasses makes room for another one: those whose time is up, else any; there are never so many honest ones. The caller holds mu.
func (b *Book) forgetPasses(now time.Time) {
	if len(b.passes) < maxPasses {
		return
	}
	maps.DeleteFunc(b.passes, func(_ [sha256.Size]byte, p pass) bool { return !now.Before(p.until) })
	for p := range b.passes {
		if len(b.passes) < maxPasses*3/4 {
			return
		}
		delete(b.passes, p)
	}
}

// firstAlarm is how many wrong tries the operator hears of; then four times as many, and so on.
const firstAlarm = 25

// tell tells the operator that somebody guesses. The caller holds mu.
func (b *Book) tell(r *room) {
	if r.Wrong < max(firstAlarm, 4*r.told) || b.alarm == nil {
		return
	}
	r.told = r.Wrong
	b.alarm(fmt.Sprintf("somebody guesses the PIN of %s: %d wrong tries from %d addresses since it was set; look at wimcast pin list, and revoke the bundle if the boot image was stolen", r.Room.Room, r.Wrong, len(r.wrong)))
}
