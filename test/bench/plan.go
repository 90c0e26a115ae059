//go:build linux

package main

import (
	"fmt"
	"slices"

	"wimcast/test/lab"
)

// testCase is one row of the table: who sends to whom over what.
type testCase struct {
	mode    lab.Frames
	clients int
	loss    float64 // percent, at each client by itself
	burst   bool    // in place of it: 100 packets in a row, 1 % of all
	one     float64 // percent that the last client loses beside
	rate    int64   // of the server's cable, bits/s; 0 for none
	only    []string
}

func modeName(m lab.Frames) string {
	if m == lab.FramesWhole {
		return "frames whole"
	}
	return "NIC-like"
}

// network says what is wrong with the network.
func (c *testCase) network() string {
	switch {
	case c.rate > 0 && c.loss > 0:
		return fmt.Sprintf("%d Mbit/s, %g %%", c.rate/1e6, c.loss)
	case c.rate > 0:
		return fmt.Sprintf("%d Mbit/s", c.rate/1e6)
	case c.burst:
		return "bursts"
	case c.one > 0:
		return fmt.Sprintf("one loses %g %%", c.one)
	}
	return fmt.Sprintf("%g %%", c.loss)
}

func (c *testCase) name() string {
	return fmt.Sprintf("%s/%d clients/%s", modeName(c.mode), c.clients, c.network())
}

// has reports whether a contender takes part.
func (c *testCase) has(contender string) bool {
	if (contender == pumpName || contender == pumpBareName) && !c.clean() {
		return false // it repairs nothing
	}
	return len(c.only) == 0 || slices.Contains(c.only, contender)
}

// who says who takes part in a case of the matrix, so that the whole stays under an hour, and under
// three minutes if it has to be quick: peers are slow. nil is everybody.
func (b *bench) who(mode lab.Frames, clients int, loss float64) []string {
	switch {
	case b.quick && mode == lab.FramesWhole:
		return []string{pumpName, wimcastName, uftpName}
	case b.quick && clients == 8:
		return []string{pumpName, wimcastName, uftpName, udpcastName}
	case b.quick:
		return []string{pumpName, wimcastName}
	case mode == lab.FramesWhole && loss > 0:
		// A cable with loss cuts frames: for those that offload nothing this is NIC-like again.
		return []string{wimcastName, wimcastClearName}
	}
	return nil
}

func (c *testCase) clean() bool { return c.loss == 0 && !c.burst && c.one == 0 && c.rate == 0 }

// plan lists the cases of a mode.
func (b *bench) plan(mode lab.Frames) []testCase {
	var cases []testCase
	counts, losses := []int{1, 4, 8}, []float64{0, 1, 5}
	if b.quick {
		counts = []int{1, 8}
		if mode == lab.FramesWhole {
			counts, losses = []int{8}, []float64{0}
		}
	}
	for _, clients := range counts {
		for _, loss := range losses {
			if b.quick && clients == 1 && loss > 0 {
				continue
			}
			cases = append(cases, testCase{mode: mode, clients: clients, loss: loss, only: b.who(mode, clients, loss)})
		}
	}
	if mode == lab.NICLike && !b.quick {
		cases = append(cases,
			testCase{mode: mode, clients: 8, burst: true},
			testCase{mode: mode, clients: 8, one: 10},
			testCase{mode: mode, clients: 4, rate: 200e6},
			testCase{mode: mode, clients: 4, rate: 200e6, loss: 1},
		)
	}
	return slices.DeleteFunc(cases, func(c testCase) bool {
		for _, name := range contenderNames {
			if c.has(name) && b.only.MatchString(c.name()+"/"+name) {
				return false
			}
		}
		return true
	})
}
