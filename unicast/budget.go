package unicast

import "time"

// budgetBurst is what may be sent at once after a pause, in time at full budget.
const budgetBurst = 50 * time.Millisecond

// budget spreads bytes over time: one for all transfers, first come, first
// served. The zero value knows no limit. It is a pure data structure.
type budget struct {
	rate int64     // bytes/s; 0: no limit. It may change
	next time.Time // when all that was taken so far is paid for
}

// take takes n bytes and returns how long to wait before sending them.
func (b *budget) take(now time.Time, n int) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	if earliest := now.Add(-budgetBurst); b.next.Before(earliest) {
		b.next = earliest
	}
	wait := max(0, b.next.Sub(now))
	b.next = b.next.Add(time.Duration(float64(n) / float64(b.rate) * float64(time.Second)))
	return wait
}

// chunk returns how many bytes to send at a time: large, but no more than a
// twentieth of a second's budget, so that transfers take fair turns.
func (b *budget) chunk() int {
	if b.rate <= 0 {
		return maxChunk
	}
	return int(min(max(b.rate/20, minChunk), maxChunk))
}

// Bounds of a chunk, in bytes.
const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)
