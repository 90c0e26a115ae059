package session

import (
	"math"
	"math/rand/v2"
	"time"
)

// backoffFactor is K of RFC 5401: the back-off window in GRTTs.
const backoffFactor = 6

// backoff draws a truncated-exponential waiting time for a NACK, so that of many
// clients that lose the same packet few ask (RFC 5401, section 3.2.4,
// RandomBackoff). clients is the group's size as told in status.
func backoff(r *rand.Rand, grtt time.Duration, clients int) time.Duration {
	window := backoffFactor * grtt.Seconds()
	if window <= 0 {
		return 0
	}
	lambda := math.Log(float64(max(clients, 1))) + 1
	x := r.Float64()*(lambda/window) + lambda/(window*(math.Exp(lambda)-1))
	t := window / lambda * math.Log(x*(math.Exp(lambda)-1)*(window/lambda))
	return time.Duration(min(max(t, 0), window) * float64(time.Second))
}

// retry paces requests that are repeated until answered: 250 ms, 500 ms, then
// every second (section 6).
func retry(attempt int) time.Duration {
	switch attempt {
	case 0:
		return 250 * time.Millisecond
	case 1:
		return 500 * time.Millisecond
	}
	return time.Second
}
