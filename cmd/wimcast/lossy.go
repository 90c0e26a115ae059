package main

import (
	"math/rand/v2"

	"wimcast/multicast"
	"wimcast/session"
)

// lossy throws away a share of a group's packets, as a bad network does: for the
// demo and for tests where there is no lab.
type lossy struct {
	session.Hearer
	share float64
}

func newLossy(h session.Hearer, share float64) *lossy { return &lossy{Hearer: h, share: share} }

// Receive implements session.Hearer. What survives of a run is moved together in place.
func (l *lossy) Receive(runs []multicast.Run) (int, error) {
	for {
		n, err := l.Hearer.Receive(runs)
		if err != nil {
			return 0, err
		}
		kept := 0
		for i := range n {
			run := &runs[i]
			size := run.Segment
			if size <= 0 {
				size = len(run.Data)
			}
			to := 0
			for from := 0; from < len(run.Data); from += size {
				packet := run.Data[from:min(from+size, len(run.Data))]
				if rand.Float64() >= l.share {
					to += copy(run.Data[to:], packet)
				}
			}
			if run.Data = run.Data[:to]; to > 0 {
				runs[kept], runs[i] = runs[i], runs[kept]
				kept++
			}
		}
		if kept > 0 {
			return kept, nil
		}
	}
}
