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

// same accepts the network of c and no other.
func (c *testCase) same(other *testCase) bool { return c.network() == other.network() }

// over returns how a figure of r's median stands to that of other's; false where there is nothing to compare.
func (r *result) over(other *result, figure func(measurement) float64) (float64, bool) {
	if other == nil || len(r.runs) == 0 || len(other.runs) == 0 {
		return 0, false
	}
	ratio := spreadOf(r.runs, figure).Median / spreadOf(other.runs, figure).Median
	return ratio, !math.IsNaN(ratio) && !math.IsInf(ratio, 0)
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

// cell returns a ratio as tables have it, empty where there is none.
func (t ratios) cell(c *testCase, digits int) string {
	value, ok := t[modeName(c.mode)][strconv.Itoa(c.clients)][c.key()]
	if !ok {
		return ""
	}
	return strconv.FormatFloat(value, 'f', digits, 64)
}

// key is a network's name in JSON: the percentage of loss where there is nothing else to say.
func (c *testCase) key() string {
	if c.burst || c.one > 0 || c.rate > 0 {
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
	Room    ratios `json:"room_time_over_link"`       // of what the limited cable needs for image, headers and ideal repair
}

// compareResults makes the ratios.
func compareResults(results []*result, size int64) compared {
	c := compared{ratios{}, ratios{}, ratios{}, ratios{}, ratios{}, ratios{}, ratios{}, ratios{}, ratios{}}
	for _, r := range results {
		if r.contender != wimcastName || len(r.runs) == 0 {
			continue
		}
		put := func(to ratios, other *result, figure func(measurement) float64) {
			if ratio, ok := r.over(other, figure); ok {
				to.set(&r.testCase, ratio)
			}
		}
		if r.rate == 0 {
			ceiling := find(results, &r.testCase, pumpName, (*testCase).clean)
			put(c.GoodputCeiling, ceiling, goodput)
			put(c.SenderCeiling, ceiling, senderCPU)
			put(c.ClientCeiling, ceiling, clientCPU)
		}
		put(c.GoodputUFTP, find(results, &r.testCase, uftpName, r.same), goodput)
		put(c.GoodputUDPCast, find(results, &r.testCase, udpcastName, r.same), goodput)
		put(c.GoodputNginx, find(results, &r.testCase, nginxName, r.same), goodput)
		c.Packets.set(&r.testCase, spreadOf(r.runs, packets).Median)
		if !r.burst && r.one == 0 {
			ideal := idealPackets(r.clients, r.loss/100)
			c.Ideal.set(&r.testCase, ideal)
			if r.rate > 0 {
				c.Room.set(&r.testCase, spreadOf(r.runs, seconds).Median/(ideal*linkSeconds(size, r.rate)))
			}
		}
	}
	return c
}

// What a packet of wimcast carries, and what it is on a cable.
const (
	symbolBytes  = 1408
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
