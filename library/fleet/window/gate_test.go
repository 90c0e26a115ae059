package window

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"wimcast/library/release"
)

// endless gives zeros for ever, without taking time.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// pull reads through a gate until it is told to stop, and counts.
type pull struct {
	mu    sync.Mutex
	bytes int
}

func (p *pull) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// start reads from r in pieces of 32 KiB until it fails.
func (p *pull) start(r io.Reader) {
	go func() {
		b := make([]byte, 32<<10)
		for {
			n, err := r.Read(b)
			p.mu.Lock()
			p.bytes += n
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// inTime runs a test in virtual time, which begins on a Saturday at 00:00 UTC.
func inTime(t *testing.T, f func(t *testing.T, ctx context.Context, now func() time.Time)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer func() { cancel(); synctest.Wait() }()
		f(t, ctx, func() time.Time { return time.Now().UTC() })
	})
}

// after lets time pass, and everybody do what they do at its end.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// near holds that a number of bytes is what a rate gives in a time, and a slice or two.
func near(t *testing.T, says string, got int, rate float64, d time.Duration) {
	t.Helper()
	want := rate * d.Seconds()
	if math.Abs(float64(got)-want) > 2*rate*slice.Seconds()+leastRead {
		t.Errorf("%s: %d bytes in %v, want %.0f", says, got, d, want)
	}
}

// TestLimitIsShared: two readers together get the limit, and no more than a slice at once.
func TestLimitIsShared(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{entry(t, "all", "00:00", "24:00", 1e6, "all")}, now)
		var a, b pull
		a.start(g.Reader(ctx, release.Medium, endless{}))
		b.start(g.Reader(ctx, release.Medium, endless{}))
		synctest.Wait()
		// What is made up for a late wake-up is there at the start, and one read goes beyond it.
		if burst := a.count() + b.count(); float64(burst) > 1e6*(lateness+slice).Seconds() {
			t.Errorf("%d bytes at once", burst)
		}
		after(60 * time.Second)
		near(t, "both", a.count()+b.count(), 1e6, 60*time.Second)
		if one := float64(a.count()); math.Abs(one-30e6) > 3e6 { // who comes first at a moment is chance
			t.Errorf("one of both has %.0f bytes in a minute", one)
		}
		if g.Limit() != 1e6 {
			t.Errorf("limit %v", g.Limit())
		}
	})
}

// TestThinAndThick: limits at both ends are kept.
func TestThinAndThick(t *testing.T) {
	for _, limit := range []float64{LeastLimit, 3e4, 1e7, 1e9} {
		inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
			g := New([]Hours{entry(t, "all", "00:00", "24:00", limit, "all")}, now)
			var a pull
			a.start(g.Reader(ctx, release.Low, endless{}))
			after(4 * time.Second)
			near(t, "alone", a.count(), limit, 4*time.Second)
		})
	}
}

// TestHigherGoesFirst: as long as a higher priority wants all of it, it gets all of it.
func TestHigherGoesFirst(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{entry(t, "all", "00:00", "24:00", 1e6, "all")}, now)
		var high, medium, low pull
		low.start(g.Reader(ctx, release.Low, endless{}))
		after(10 * time.Second)
		near(t, "low alone", low.count(), 1e6, 10*time.Second)
		was := low.count()
		highCtx, stop := context.WithCancel(ctx)
		medium.start(g.Reader(ctx, release.Medium, endless{}))
		high.start(g.Reader(highCtx, release.High, endless{}))
		after(10 * time.Second)
		near(t, "high", high.count(), 1e6, 10*time.Second)
		near(t, "medium beside it", medium.count(), 1e6, 0)
		near(t, "low beside both", low.count()-was, 1e6, 0)
		stop()
		after(10 * time.Second)
		near(t, "medium after it", medium.count(), 1e6, 10*time.Second)
		near(t, "low beside medium", low.count()-was, 1e6, 0)
	})
}

// TestWhoMayNotHoldsUpNobody: whoever waits for the hours is passed by those who needn't.
func TestWhoMayNotHoldsUpNobody(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{entry(t, "all", "00:00", "24:00", 1e6, "high")}, now)
		var high, low pull
		low.start(g.Reader(ctx, release.Low, endless{}))
		after(time.Second)
		high.start(g.Reader(ctx, release.High, endless{}))
		after(10 * time.Second)
		near(t, "high", high.count(), 1e6, 10*time.Second)
		if low.count() != 0 {
			t.Errorf("low has %d bytes", low.count())
		}
	})
}

// TestFollowsTheHours: a running read slows down, stops and goes on with the clock, within a second.
func TestFollowsTheHours(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{
			entry(t, "all", "00:00", "00:10", 1e6, "all"),
			entry(t, "all", "00:10", "00:20", 1e5, "all"),
			entry(t, "all", "00:20", "00:30", 0, "high"),
			entry(t, "all", "00:30", "24:00", 2e6, "all"),
		}, now)
		var a pull
		a.start(g.Reader(ctx, release.Medium, endless{}))
		was := 0
		for _, tt := range []struct {
			rate float64
			d    time.Duration
		}{{1e6, 10 * time.Minute}, {1e5, 10 * time.Minute}, {0, 10 * time.Minute}, {2e6, 10 * time.Minute}} {
			after(tt.d)
			got := a.count()
			if want := tt.rate * tt.d.Seconds(); math.Abs(float64(got-was)-want) > 2e6 {
				t.Errorf("%d bytes at %.0f B/s, want %.0f", got-was, tt.rate, want)
			}
			was = got
		}
	})
}

// TestFollowsSet: new entries hold for what reads and for what waits, at once.
func TestFollowsSet(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		always := func(limit float64, allow string) []Hours {
			return []Hours{entry(t, "all", "00:00", "24:00", limit, allow)}
		}
		g := New(always(LeastLimit, "all"), now)
		var a pull
		a.start(g.Reader(ctx, release.Medium, endless{}))
		after(10 * time.Second)
		was := a.count()
		g.Set(always(1e6, "all"))
		after(10 * time.Second)
		near(t, "faster", a.count()-was, 1e6, 10*time.Second)
		g.Set(always(0, "none"))
		after(time.Second)
		was = a.count()
		after(time.Hour)
		if a.count() != was {
			t.Errorf("%d bytes while closed", a.count()-was)
		}
		g.Set(always(1e6, "medium"))
		synctest.Wait()
		if a.count() == was {
			t.Error("it doesn't go on at once")
		}
	})
}

// TestUnlimited: nothing waits, and one read is what it would have been.
func TestUnlimited(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		from := time.Now()
		g := New(nil, now)
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		got, err := io.ReadAll(g.Reader(ctx, release.Low, bytes.NewReader(content)))
		if err != nil || !bytes.Equal(got, content) || time.Since(from) != 0 || g.Limit() != 0 {
			t.Errorf("%d bytes in %v, %v, limit %v", len(got), time.Since(from), err, g.Limit())
		}
		if n, err := g.Reader(ctx, release.Low, bytes.NewReader(content)).Read(make([]byte, 5)); n != 5 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if n, err := g.Reader(ctx, release.Low, endless{}).Read(nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// TestWhatWasntReadIsGivenBack: a source that gives little at a time gets the whole limit, not a slice for each read.
func TestWhatWasntReadIsGivenBack(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{entry(t, "all", "00:00", "24:00", 1e5, "all")}, now)
		from := time.Now()
		n, err := io.Copy(io.Discard, g.Reader(ctx, release.Low, iotest.OneByteReader(io.LimitReader(endless{}, 1e5))))
		if took := time.Since(from); err != nil || n != 1e5 || took > 1050*time.Millisecond || took < 900*time.Millisecond {
			t.Errorf("%d bytes in %v, %v", n, took, err)
		}
	})
}

// TestErrorsGoThrough, and a wait ends with its context.
func TestErrorsGoThrough(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		broken, stopped := errors.New("broken"), errors.New("stopped")
		open := New(nil, now)
		if _, err := open.Reader(ctx, release.Low, iotest.ErrReader(broken)).Read(make([]byte, 1)); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		closed := New([]Hours{entry(t, "all", "00:00", "24:00", 0, "none")}, now)
		inner, stop := context.WithCancelCause(ctx)
		time.AfterFunc(time.Minute, func() { stop(stopped) })
		from := time.Now()
		if n, err := closed.Reader(inner, release.Low, endless{}).Read(make([]byte, 1)); n != 0 || !errors.Is(err, stopped) || time.Since(from) != time.Minute {
			t.Errorf("%d, %v after %v", n, err, time.Since(from))
		}
		if _, err := open.Reader(inner, release.Low, endless{}).Read(make([]byte, 1)); !errors.Is(err, stopped) {
			t.Errorf("an ended context reads: %v", err)
		}
	})
}

// TestClockIsSet: a clock that is set by days changes which hours hold, within a second, to both sides; a limit goes on as it is.
func TestClockIsSet(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		var mu sync.Mutex
		var wrong time.Duration
		set := func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			wrong = d
		}
		clock := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now().Add(wrong).Round(0) // without the monotonic reading: the worst case
		}
		g := New([]Hours{entry(t, "sat", "00:00", "24:00", 0, "none"), entry(t, "sun-fri", "00:00", "24:00", 1e6, "all")}, clock)
		var a pull
		a.start(g.Reader(ctx, release.Medium, endless{}))
		after(time.Minute)
		if a.count() != 0 {
			t.Fatal("it is open on a Saturday")
		}
		for _, d := range []time.Duration{3 * 24 * time.Hour, 40 * 365 * 24 * time.Hour, -3 * 24 * time.Hour, 2 * 24 * time.Hour} {
			set(d)
			if open, _ := g.Allowed(release.Medium); !open {
				t.Fatalf("%v isn't open", clock())
			}
			was := a.count()
			after(time.Second)
			if a.count() == was {
				t.Errorf("set by %v: nothing comes for a second", d)
			}
			was = a.count()
			after(10 * time.Second)
			near(t, "afterwards", a.count()-was, 1e6, 10*time.Second)
		}
		set(0)
		after(time.Second)
		was := a.count()
		after(time.Minute)
		if a.count() != was {
			t.Error("it is open on a Saturday again")
		}
	})
}

// TestLateWakeUps are made up for: of a clock of 4 ms, as timers of some machines are, nothing is lost.
func TestLateWakeUps(t *testing.T) {
	inTime(t, func(t *testing.T, ctx context.Context, now func() time.Time) {
		g := New([]Hours{entry(t, "all", "00:00", "24:00", 1e8, "all")}, func() time.Time { return now().Truncate(4 * time.Millisecond) })
		var a pull
		a.start(g.Reader(ctx, release.Low, endless{}))
		after(4 * time.Second)
		near(t, "alone", a.count(), 1e8, 4*time.Second)
	})
}
