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
	bursts  bool    // in place of it: 100 packets in a row every 2 s
	one     float64 // percent that the last client loses beside
	late    bool    // the last client starts when half of the image has gone out
	rate    int64   // of the server's cable, bits/s; 0 for none
	light   bool    // the clients are one program on one machine, and keep nothing
	size    int64   // of the image, bytes; 0: the run's
	only    []string
}

// Rates of the server's cable, bits/s.
const (
	// limitedRate is a link that a room of four can fill on any machine.
	limitedRate = 200e6
	// flatRate leaves a machine of two cores time for 32 clients: what is to be seen is what
	// grows with their number by design, not the machine's end. At 10 Mbit/s 32 of them took 0.7 of both cores.
	flatRate = 5e6
	// lightRate is what light clients are sent at, by wimcast and by the pump, UDP payload counted: at what such a machine
	// just can't hear, a sender would mostly repair. The length of a run, which decides what a packet costs, follows from it.
	lightRate = 32e6
)

// Sizes of images, bytes.
const (
	fullSize  = 256 << 20
	quickSize = 64 << 20
	largeSize = 1 << 30
	flatSize  = 4 << 20
	lightSize = 32 << 20
)

// lightClients is how many light clients there are, flatClients the points of the flat line.
const lightClients = 200

var flatClients = []int{1, 2, 4, 8, 16, 32}

func modeName(m lab.Frames) string {
	if m == lab.FramesWhole {
		return "frames whole"
	}
	return "NIC-like"
}

// network says what is wrong with the network, and what else is particular to a case.
func (c *testCase) network() string {
	var name string
	switch {
	case c.rate > 0 && c.loss > 0:
		name = fmt.Sprintf("%d Mbit/s, %g %%", c.rate/1e6, c.loss)
	case c.rate > 0:
		name = fmt.Sprintf("%d Mbit/s", c.rate/1e6)
	case c.bursts:
		name = "bursts"
	case c.one > 0:
		name = fmt.Sprintf("one loses %g %%", c.one)
	case c.late:
		name = "one joins late"
	case c.light:
		name = "light"
	default:
		name = fmt.Sprintf("%g %%", c.loss)
	}
	if c.size == largeSize {
		name += ", 1 GiB"
	}
	return name
}

func (c *testCase) name() string {
	return fmt.Sprintf("%s/%d clients/%s", modeName(c.mode), c.clients, c.network())
}

// has reports whether a contender takes part.
func (c *testCase) has(contender string) bool {
	switch contender {
	case pumpName, pumpBareName:
		if !c.clean() && !c.light {
			return false // it repairs nothing
		}
	case wimcastSetName:
		if c.rate == 0 {
			return false // there is no ceiling to be told
		}
	}
	return len(c.only) == 0 || slices.Contains(c.only, contender)
}

// hosts is how many of the room's clients a case takes.
func (c *testCase) hosts() int {
	if c.light {
		return 1
	}
	return c.clients
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
	case mode == lab.FramesWhole && loss > 0 && clients == 8:
		// A cable with loss cuts frames: for those that offload nothing this is NIC-like again.
		return []string{wimcastName, wimcastClearName}
	case mode == lab.FramesWhole && loss > 0:
		return []string{wimcastName}
	case loss > 0 && clients < 8:
		return []string{wimcastName, uftpName, udpcastName, nginxName}
	}
	return nil
}

// clean is a network without any fault or limit, and clients as they come.
func (c *testCase) clean() bool { return c.plain() && c.loss == 0 }

// plain is a case of the matrix, of any size.
func (c *testCase) plain() bool { return !c.bursts && c.one == 0 && !c.late && c.rate == 0 && !c.light }

// flat is a point of the flat line.
func (c *testCase) flat() bool { return c.rate == flatRate }

// roomPlan is what is measured in one room.
type roomPlan struct {
	mode  lab.Frames
	cases []testCase
}

// plan lists what there is to measure: the matrix in both modes, what is particular, and the flat line, whose
// room is larger.
func (b *bench) plan() []roomPlan {
	rooms := []roomPlan{
		{lab.NICLike, append(b.matrix(lab.NICLike), b.particular()...)},
		{lab.NICLike, b.flatLine()},
		{lab.FramesWhole, b.matrix(lab.FramesWhole)},
	}
	for i := range rooms {
		rooms[i].cases = slices.DeleteFunc(rooms[i].cases, func(c testCase) bool {
			return !slices.ContainsFunc(contenderNames, func(name string) bool { return b.wants(&c, name) })
		})
	}
	return slices.DeleteFunc(rooms, func(r roomPlan) bool { return len(r.cases) == 0 })
}

// wants reports whether a contender is to be measured in a case.
func (b *bench) wants(c *testCase, contender string) bool {
	return c.has(contender) && b.only.MatchString(c.name()+"/"+contender)
}

func (b *bench) matrix(mode lab.Frames) []testCase {
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
	return cases
}

// particular are the cases beside the matrix, all NIC-like.
func (b *bench) particular() []testCase {
	if b.quick {
		return nil
	}
	ours := []string{pumpName, wimcastName}
	peers := []string{wimcastName, uftpName, udpcastName, nginxName}
	rates := []string{wimcastName, wimcastSetName, nginxName}
	return []testCase{
		{clients: 8, bursts: true, only: peers},
		{clients: 8, one: 10, only: peers},
		{clients: 8, late: true, only: ours}, // the others know no late joiners
		{clients: 4, rate: limitedRate, only: rates},
		{clients: 4, rate: limitedRate, loss: 1, only: rates[:2]}, // a download for each is four times the link anyway
		{clients: 8, size: largeSize, only: ours},
		{clients: 8, size: largeSize, loss: 1, only: ours},
		{clients: lightClients, light: true, size: lightSize, only: ours},
	}
}

// flatLine is how long a room takes by the number of its clients, on a slow link.
func (b *bench) flatLine() []testCase {
	if b.quick {
		return nil
	}
	var cases []testCase
	for _, loss := range []float64{0, 1} {
		for _, clients := range flatClients {
			who := []string{wimcastName}
			switch {
			case clients == slices.Max(flatClients) && loss > 0:
				who = append(who, uftpName) // udpcast took 90 to 115 s there at 10 Mbit/s
			case clients == 1, clients == 8, clients == slices.Max(flatClients):
				who = append(who, uftpName, udpcastName) // they are slow, and their lines need no more
			}
			cases = append(cases, testCase{clients: clients, rate: flatRate, loss: loss, size: flatSize, only: who})
		}
	}
	return cases
}
