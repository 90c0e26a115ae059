//go:build linux

package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"wimcast/test/lab"
)

// result is what one contender did in one case.
type result struct {
	testCase
	contender string
	runs      []measurement
	failures  []string
}

// spread is the middle and the ends of what some runs gave.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the spread of one figure of some runs, which must not be none. Of an even number of runs
// the median is halfway between the two in the middle.
func spreadOf(runs []measurement, figure func(measurement) float64) spread {
	var values []float64
	for _, m := range runs {
		values = append(values, figure(m))
	}
	slices.Sort(values)
	n := len(values)
	return spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}

// The figures of a measurement.
func goodput(m measurement) float64   { return m.Goodput }
func seconds(m measurement) float64   { return m.Seconds }
func withStart(m measurement) float64 { return m.All }
func senderCPU(m measurement) float64 { return m.SenderCPU }
func clientCPU(m measurement) float64 { return m.ClientCPU }
func senderMem(m measurement) float64 { return float64(m.SenderMem) }
func clientMem(m measurement) float64 { return float64(m.ClientMem) }
func packets(m measurement) float64   { return m.Packets }
func wire(m measurement) float64      { return m.Wire }

// lateSent is what was sent for each packet of the image and of what a late joiner missed.
func lateSent(m measurement) float64 { return m.Packets / (1 + m.Missed) }

// others is when all clients but the last one were done, theOne when that was; 0 where nobody noted it.
func others(m measurement) float64 {
	if len(m.Each) < 2 {
		return 0
	}
	return slices.Max(m.Each[:len(m.Each)-1])
}

func theOne(m measurement) float64 {
	if len(m.Each) < 2 {
		return 0
	}
	return m.Each[len(m.Each)-1]
}

// find returns a contender's result in the same mode and with as many clients as a case, in the network
// that like accepts; nil when no run of it succeeded.
func find(results []*result, c *testCase, contender string, like func(*testCase) bool) *result {
	for _, r := range results {
		if r.contender == contender && r.mode == c.mode && r.clients == c.clients && like(&r.testCase) && len(r.runs) > 0 {
			return r
		}
	}
	return nil
}

// ceilingOf finds the ceiling that a case is held against: its own, or that without loss and faults. nil where a
// limited cable is the ceiling.
func ceilingOf(results []*result, c *testCase) *result {
	if c.light {
		return find(results, c, pumpName, c.same)
	}
	if c.rate > 0 {
		return nil
	}
	return find(results, c, pumpName, c.cleanOfSize)
}

// cleanOfSize accepts the clean case with c's image.
func (c *testCase) cleanOfSize(other *testCase) bool { return other.clean() && other.size == c.size }

// same accepts the network of c and no other.
func (c *testCase) same(other *testCase) bool { return c.network() == other.network() }

// over returns how a figure of r's median stands to that of other's; false where there is nothing to compare.
func (r *result) over(other *result, figure func(measurement) float64) (float64, bool) {
	return r.overOther(figure, other, figure)
}

// overOther compares r's figure with another figure of other.
func (r *result) overOther(figure func(measurement) float64, other *result, with func(measurement) float64) (float64, bool) {
	if other == nil || len(r.runs) == 0 || len(other.runs) == 0 {
		return 0, false
	}
	ratio := spreadOf(r.runs, figure).Median / spreadOf(other.runs, with).Median
	return ratio, ratio > 0 && !math.IsInf(ratio, 0)
}

// ratios are by mode, number of clients and network.
type ratios map[string]map[string]map[string]float64

func (t ratios) set(c *testCase, value float64) {
	mode, clients := modeName(c.mode), strconv.Itoa(c.clients)
	if t[mode] == nil {
		t[mode] = map[string]map[string]float64{}
	}
	if t[mode][clients] == nil {
		t[mode][clients] = map[string]float64{}
	}
	t[mode][clients][c.key()] = math.Round(value*1000) / 1000
}

// get returns a case's ratio.
func (t ratios) get(c *testCase) (float64, bool) {
	value, ok := t[modeName(c.mode)][strconv.Itoa(c.clients)][c.key()]
	return value, ok
}

// cell returns a ratio as tables have it, empty where there is none.
func (t ratios) cell(c *testCase, digits int) string {
	value, ok := t.get(c)
	if !ok {
		return ""
	}
	return strconv.FormatFloat(value, 'f', digits, 64)
}

// key is a network's name in JSON: the percentage of loss where there is nothing else to say.
func (c *testCase) key() string {
	if !c.plain() || c.size == largeSize {
		return c.network()
	}
	return strconv.FormatFloat(c.loss, 'g', -1, 64)
}

// compared are the ratios that the targets are about, all of wimcast (encrypted), all of medians of one run.
type compared struct {
	// Over the ceiling that hashes, with as many clients and no loss: it repairs nothing.
	GoodputCeiling ratios `json:"goodput_over_ceiling"`
	SenderCeiling  ratios `json:"sender_cpu_over_ceiling"`
	ClientCeiling  ratios `json:"client_cpu_over_ceiling"`
	// Over a peer in the same case.
	GoodputUFTP    ratios `json:"goodput_over_uftp"`
	GoodputUDPCast ratios `json:"goodput_over_udpcast"`
	GoodputNginx   ratios `json:"goodput_over_nginx"`

	Packets ratios `json:"packets_over_source"`
	Ideal   ratios `json:"packets_over_source_ideal"` // what no repair of single blocks can do without
	// Of what a limited cable needs for image, headers and ideal repair, all of that as wimcast sends it.
	Room      ratios `json:"room_time_over_link"` // the rate found by itself
	RoomSet   ratios `json:"room_time_over_link_ceiling_set"`
	RoomNginx ratios `json:"room_time_over_link_nginx"`

	// Of one client that loses more than the others: when those were done, and it, by the clean case's time.
	MixedOthers ratios `json:"others_time_over_clean"`
	MixedOne    ratios `json:"lossy_time_over_clean"`

	Late ratios `json:"packets_over_image_and_missed"` // of a late joiner

	// Of the time with one client on the same cable.
	Flat        ratios `json:"room_time_over_one_client"`
	FlatUFTP    ratios `json:"room_time_over_one_client_uftp"`
	FlatUDPCast ratios `json:"room_time_over_one_client_udpcast"`
}

func newCompared() compared {
	var c compared
	for _, of := range []*ratios{
		&c.GoodputCeiling, &c.SenderCeiling, &c.ClientCeiling, &c.GoodputUFTP, &c.GoodputUDPCast, &c.GoodputNginx, &c.Packets, &c.Ideal,
		&c.Room, &c.RoomSet, &c.RoomNginx, &c.MixedOthers, &c.MixedOne, &c.Late, &c.Flat, &c.FlatUFTP, &c.FlatUDPCast,
	} {
		*of = ratios{}
	}
	return c
}

// compareResults makes the ratios. size is of the image where a case doesn't say.
func compareResults(results []*result, size int64) compared {
	c := newCompared()
	for _, r := range results {
		if len(r.runs) == 0 {
			continue
		}
		switch r.contender {
		case wimcastName:
			c.compareOurs(results, r)
			r.roomTime(c.Room, size)
			r.flatTime(c.Flat, results)
		case wimcastSetName:
			r.roomTime(c.RoomSet, size)
		case nginxName:
			r.roomTime(c.RoomNginx, size)
		case uftpName:
			r.flatTime(c.FlatUFTP, results)
		case udpcastName:
			r.flatTime(c.FlatUDPCast, results)
		}
	}
	return c
}

// compareOurs makes the ratios of one case of wimcast that others have a part in.
func (c *compared) compareOurs(results []*result, r *result) {
	put := func(to ratios, figure func(measurement) float64, other *result, with func(measurement) float64) {
		if ratio, ok := r.overOther(figure, other, with); ok {
			to.set(&r.testCase, ratio)
		}
	}
	ceiling := ceilingOf(results, &r.testCase)
	put(c.GoodputCeiling, goodput, ceiling, goodput)
	put(c.SenderCeiling, senderCPU, ceiling, senderCPU)
	put(c.ClientCeiling, clientCPU, ceiling, clientCPU)
	put(c.GoodputUFTP, goodput, find(results, &r.testCase, uftpName, r.same), goodput)
	put(c.GoodputUDPCast, goodput, find(results, &r.testCase, udpcastName, r.same), goodput)
	put(c.GoodputNginx, goodput, find(results, &r.testCase, nginxName, r.same), goodput)
	c.Packets.set(&r.testCase, spreadOf(r.runs, packets).Median)
	if ideal, ok := r.ideal(); ok {
		c.Ideal.set(&r.testCase, ideal)
	}
	if r.one > 0 {
		clean := find(results, &r.testCase, wimcastName, r.cleanOfSize)
		put(c.MixedOthers, others, clean, seconds)
		put(c.MixedOne, theOne, clean, seconds)
	}
	if r.late {
		c.Late.set(&r.testCase, spreadOf(r.runs, lateSent).Median)
	}
}

// ideal returns what wimcast would send at least for each packet of the image; false where there is no formula.
func (c *testCase) ideal() (float64, bool) {
	if c.bursts || c.one > 0 || c.late {
		return 0, false
	}
	return idealPackets(c.clients, c.loss/100), true
}

// roomTime compares the time on a limited cable with what the cable needs.
func (r *result) roomTime(to ratios, size int64) {
	ideal, ok := r.ideal()
	if r.rate == 0 || !ok {
		return
	}
	if r.size > 0 {
		size = r.size
	}
	to.set(&r.testCase, spreadOf(r.runs, seconds).Median/(ideal*linkSeconds(size, r.rate)))
}

// flatTime compares the time of a point of the flat line with that of one client.
func (r *result) flatTime(to ratios, results []*result) {
	if !r.flat() {
		return
	}
	alone := r.testCase
	alone.clients = 1
	if ratio, ok := r.over(find(results, &alone, r.contender, alone.same), seconds); ok {
		to.set(&r.testCase, ratio)
	}
}

// What a packet of wimcast carries, what it is as a datagram, and on a cable.
const (
	symbolBytes  = 1408
	payloadBytes = 1448
	frameBytes   = 1476 + 14
	blockPackets = 128
)

// linkSeconds is how long a cable of a rate, bits/s, needs for an image in packets of ours.
func linkSeconds(size, rate int64) float64 {
	return float64((size+symbolBytes-1)/symbolBytes) * frameBytes * 8 / float64(rate)
}

// idealPackets returns how many packets for each source packet a sender needs that knows what each client
// lost, sends parity only, and waits for the last client: the mean of the largest of as many counts of
// packets as there are clients, each the number until blockPackets have arrived.
func idealPackets(clients int, loss float64) float64 {
	if loss == 0 {
		return 1
	}
	// One client needs exactly n packets with the probability of a negative binomial distribution;
	// within holds the sum up to n, and 1 - within^clients is that somebody needs more.
	exactly := math.Pow(1-loss, blockPackets)
	within, mean := exactly, float64(blockPackets)
	for n := blockPackets; ; n++ {
		more := 1 - math.Pow(within, float64(clients))
		if more < 1e-12 {
			return mean / blockPackets
		}
		mean += more
		exactly *= float64(n) / float64(n-blockPackets+1) * loss
		within += exactly
	}
}

// sorted returns the results by mode, case as planned, and contender, as tables list them.
func sorted(results []*result) []*result {
	var order []string // of cases, as they were measured first
	for _, r := range results {
		if !slices.Contains(order, r.name()) {
			order = append(order, r.name())
		}
	}
	results = slices.Clone(results)
	slices.SortStableFunc(results, func(a, b *result) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.name()), slices.Index(order, b.name())),
			cmp.Compare(slices.Index(contenderNames, a.contender), slices.Index(contenderNames, b.contender)),
		)
	})
	return results
}

// modes returns the modes that have results, in order.
func modes(results []*result) []lab.Frames {
	var all []lab.Frames
	for _, r := range results {
		if !slices.Contains(all, r.mode) {
			all = append(all, r.mode)
		}
	}
	return all
}
