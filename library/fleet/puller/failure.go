package puller

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"wimcast/library"
	"wimcast/library/registry"
	"wimcast/library/release"
)

// Reason says why something failed: a closed set, and a metric's label.
type Reason string

// The reasons.
const (
	Unavailable  Reason = "unavailable"   // the registry is out of reach
	Unauthorized Reason = "unauthorized"  // it doesn't let the point
	NotFound     Reason = "not_found"     // it doesn't have what the site assigned
	WrongBytes   Reason = "wrong_bytes"   // it sent something else than was asked for, or too little
	Origin       Reason = "origin"        // what it has isn't the site's
	Replayed     Reason = "replayed"      // it has something older than the point had
	NotRecipient Reason = "not_recipient" // the package isn't for this point
	Conflict     Reason = "conflict"      // the name is taken here
	DiskFull     Reason = "disk_full"
	Other        Reason = "other"
)

// Reasons returns all of them.
func Reasons() []Reason {
	return []Reason{Unavailable, Unauthorized, NotFound, WrongBytes, Origin, Replayed, NotRecipient, Conflict, DiskFull, Other}
}

// errReplayed: assignments are older than those that the point had.
var errReplayed = errors.New("older than those that this point had")

// reasonOf tells the reason of an error.
func reasonOf(err error) Reason {
	for _, known := range []struct {
		is     error
		reason Reason
	}{
		{errReplayed, Replayed},
		{library.ErrOlder, Replayed},
		{library.ErrDiskFull, DiskFull},
		{library.ErrExists, Conflict},
		{library.ErrChunk, WrongBytes},
		{release.ErrNotRecipient, NotRecipient},
		{release.ErrOrigin, Origin},
		{registry.ErrUnauthorized, Unauthorized},
		{registry.ErrNotFound, NotFound},
		{registry.ErrDamaged, WrongBytes},
		{registry.ErrUnavailable, Unavailable},
	} {
		if errors.Is(err, known.is) {
			return known.reason
		}
	}
	return Other
}

// counts counts failures.
type counts struct {
	mu sync.Mutex
	n  map[Reason]uint64
}

func (c *counts) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[reasonOf(err)]++
}

func (c *counts) snapshot() map[Reason]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := maps.Clone(c.n)
	for _, r := range Reasons() {
		out[r] += 0
	}
	return out
}

// after returns how long to wait after so many failures in a row, the last of which is err; first is what one costs.
func after(first time.Duration, failures int, err error) time.Duration {
	d := first << min(failures-1, 10)
	return max(vary(min(d, maxBackOff)), registry.RetryAfter(err))
}

// vary varies a time a little.
func vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64())) //nolint:gosec // no secret
}

// sleep reports whether it slept so long; it ends with ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
