package main

import (
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// Bounds of what others can make the daemon write. The journal takes 10,000 lines in 30 s from a service and then drops what comes,
// whatever it says (journald.conf(5), RateLimitBurst): strangers mustn't get it there.
const (
	strangerEvery, strangerFirst, strangerThen = time.Second, 10, 1000
	// A room of 500 joins in a second, and all of it is written.
	clientEvery, clientFirst, clientThen = 30 * time.Second, 3000, 100
)

// fromStrangers are the messages that anybody who reaches a port can cause.
func fromStrangers() []string { return []string{"client refused", "connection failed"} }

// fromClients are those that a holder of a certificate can cause as often as it likes. All others are never left out.
func fromClients() []string {
	return []string{
		"client joined", "client ended", "client goes unicast", "client waits for a place", "client applied", "the group doesn't get to a client", "client is slow", "a slow client loses packets",
		"client is muted: it asks for more than it can lack", "client can't hear the group of a multicast-only package", "join refused", "join failed", "PIN refused",
		"probe refused", "probe failed", "probe burst", "client log received", "client log not taken", "admin request failed",
	}
}

// bound lets the first lines of a span through, and then each of so many.
type bound struct {
	every       time.Duration
	first, then int

	mu    sync.Mutex
	until time.Time // the span's end
	n     int       // lines in it
}

func (b *bound) lets(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !now.Before(b.until) {
		b.until, b.n = now.Add(b.every), 0
	}
	b.n++
	return b.n <= b.first || (b.n-b.first)%b.then == 0
}

// boundedCore lets everything through but for what is bounded by its message.
type boundedCore struct {
	zapcore.Core
	bounds  map[string]*bound
	leftOut func(message string)
}

// newBoundedCore bounds what goes to core; leftOut hears of each line that doesn't.
func newBoundedCore(core zapcore.Core, leftOut func(message string)) zapcore.Core {
	b := &boundedCore{core, map[string]*bound{}, leftOut}
	for _, message := range fromStrangers() {
		b.bounds[message] = &bound{every: strangerEvery, first: strangerFirst, then: strangerThen}
	}
	for _, message := range fromClients() {
		b.bounds[message] = &bound{every: clientEvery, first: clientFirst, then: clientThen}
	}
	return b
}

// With implements zapcore.Core. The bounds stay common.
func (b *boundedCore) With(fields []zapcore.Field) zapcore.Core {
	return &boundedCore{b.Core.With(fields), b.bounds, b.leftOut}
}

// Check implements zapcore.Core.
func (b *boundedCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if bound := b.bounds[entry.Message]; bound != nil && b.Enabled(entry.Level) && !bound.lets(entry.Time) {
		b.leftOut(entry.Message)
		return checked
	}
	return b.Core.Check(entry, checked)
}
