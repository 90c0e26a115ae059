package fleet

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace: at a rate, with another rate in the middle, while somebody casts, and without any.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := false
		p := newPace(func() bool { return busy })
		send := func(n int) time.Duration {
			t.Helper()
			began := time.Now()
			for range n {
				if err := p.wait(t.Context(), pacedPiece); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began)
		}
		near := func(what string, got, want time.Duration) {
			t.Helper()
			if got < want*9/10 || got > want*11/10 {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		if d := send(1000); d != 0 {
			t.Errorf("without a limit it took %v", d)
		}
		p.set(1 << 20)
		near("64 MiB at 1 MiB/s", send(1024), 64*time.Second)
		<-time.After(time.Hour) // isn't made up for
		near("after a pause", send(1024), 64*time.Second)
		p.set(2 << 20)
		near("at twice the rate", send(1024), 32*time.Second)
		p.set(0)
		busy = true
		<-time.After(askEvery)
		rate := float64(castingRate)
		near("while somebody casts", send(4000), time.Duration(4000*pacedPiece/rate*float64(time.Second)))
		p.set(1 << 20)
		near("while somebody casts, with a lower limit", send(1024), 64*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx, pacedPiece); err == nil {
			t.Error("it waits for a context that has ended")
		}
	})
}

func TestBackoff(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: mostRetry, 1000: mostRetry} {
		if got := backoff(failures, 0); got != want {
			t.Errorf("%d failures: %v, want %v", failures, got, want)
		}
	}
	if got := backoff(1, time.Minute); got != time.Minute {
		t.Errorf("%v", got)
	}
}
