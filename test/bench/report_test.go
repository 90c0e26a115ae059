//go:build linux

package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"wimcast/test/lab"
)

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{9, 4}, spread{6.5, 4, 9}},
		{[]float64{5, 100, 1}, spread{5, 1, 100}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		var runs []measurement
		for _, v := range test.values {
			runs = append(runs, measurement{Goodput: v})
		}
		if got := spreadOf(runs, goodput); got != test.want {
			t.Errorf("spread of %v: %v, want %v", test.values, got, test.want)
		}
	}
}

// made is a result whose runs have these goodputs, and a tenth of that as the sender's CPU.
func made(c testCase, contender string, goodputs ...float64) *result {
	r := &result{testCase: c, contender: contender}
	for _, g := range goodputs {
		r.runs = append(r.runs, measurement{Goodput: g, Seconds: 1000 / g, SenderCPU: g / 10, ClientCPU: 1, Packets: 1.05})
	}
	return r
}

func TestCompare(t *testing.T) {
	clean := testCase{mode: lab.NICLike, clients: 8}
	lossy := testCase{mode: lab.NICLike, clients: 8, loss: 5}
	bursts := testCase{mode: lab.NICLike, clients: 8, bursts: true}
	whole := testCase{mode: lab.FramesWhole, clients: 8}
	limited := testCase{mode: lab.NICLike, clients: 8, rate: 200e6}
	results := []*result{
		made(clean, pumpName, 90, 100, 500), made(clean, pumpBareName, 1),
		made(clean, wimcastName, 80), made(clean, wimcastClearName, 1), made(clean, uftpName, 40), made(clean, udpcastName, 20),
		made(lossy, wimcastName, 60, 70), made(lossy, uftpName, 13), made(lossy, udpcastName), made(lossy, nginxName, 130),
		made(bursts, wimcastName, 50), made(bursts, uftpName, 10),
		made(whole, wimcastName, 300), made(whole, pumpName, 400),
		made(limited, wimcastName, 20),
		made(testCase{mode: lab.NICLike, clients: 4, loss: 1}, wimcastName, 33), // beside nobody
		made(testCase{mode: lab.NICLike, clients: 1}, wimcastName),              // which failed
		made(testCase{mode: lab.NICLike, clients: 1}, uftpName, 1),
	}
	// What clients at 20 bytes/s for 1000 bytes need on a cable is nothing: the size is one packet.
	c := compareResults(results, symbolBytes)
	link := float64(frameBytes*8) / 200e6
	for _, test := range []struct {
		name string
		got  ratios
		want map[string]float64
	}{
		{"goodput / ceiling", c.GoodputCeiling, map[string]float64{
			"NIC-like/8/0": 0.8, "NIC-like/8/5": 0.65, "NIC-like/8/bursts": 0.5, "frames whole/8/0": 0.75,
		}},
		{"sender CPU / ceiling", c.SenderCeiling, map[string]float64{
			"NIC-like/8/0": 0.8, "NIC-like/8/5": 0.65, "NIC-like/8/bursts": 0.5, "frames whole/8/0": 0.75,
		}},
		{"client CPU / ceiling", c.ClientCeiling, map[string]float64{
			"NIC-like/8/0": 1, "NIC-like/8/5": 1, "NIC-like/8/bursts": 1, "frames whole/8/0": 1,
		}},
		{"goodput / uftp", c.GoodputUFTP, map[string]float64{"NIC-like/8/0": 2, "NIC-like/8/5": 5, "NIC-like/8/bursts": 5}},
		{"goodput / udpcast", c.GoodputUDPCast, map[string]float64{"NIC-like/8/0": 4}},
		{"goodput / nginx", c.GoodputNginx, map[string]float64{"NIC-like/8/5": 0.5}},
		{"packets / source", c.Packets, map[string]float64{
			"NIC-like/8/0": 1.05, "NIC-like/8/5": 1.05, "NIC-like/8/bursts": 1.05, "frames whole/8/0": 1.05,
			"NIC-like/8/200 Mbit/s": 1.05, "NIC-like/4/1": 1.05,
		}},
		{"ideal", c.Ideal, map[string]float64{
			"NIC-like/8/0": 1, "NIC-like/8/5": 1.084, "frames whole/8/0": 1, "NIC-like/8/200 Mbit/s": 1,
			"NIC-like/4/1": math.Round(1000*idealPackets(4, 0.01)) / 1000,
		}},
		{"room time / link", c.Room, map[string]float64{"NIC-like/8/200 Mbit/s": math.Round(1000*50/link) / 1000}},
	} {
		got := map[string]float64{}
		for mode, byClients := range test.got {
			for clients, byLoss := range byClients {
				for loss, ratio := range byLoss {
					got[mode+"/"+clients+"/"+loss] = ratio
				}
			}
		}
		for key := range got {
			if _, ok := test.want[key]; !ok {
				t.Errorf("%s has %s: %v", test.name, key, got[key])
			}
		}
		for key, want := range test.want {
			if math.Abs(got[key]-want) > 1e-9 {
				t.Errorf("%s of %s: %v, want %v", test.name, key, got[key], want)
			}
		}
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

// TestIdealPackets holds the formula against throws of dice.
func TestIdealPackets(t *testing.T) {
	if got := idealPackets(8, 0); got != 1 {
		t.Errorf("without loss: %v", got)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		clients int
		loss    float64
	}{{1, 0.01}, {8, 0.01}, {8, 0.05}, {50, 0.05}, {2, 0.2}} {
		const blocks = 2000
		var sum int
		for range blocks {
			most := 0
			for range test.clients {
				sent := 0
				for arrived := 0; arrived < blockPackets; sent++ {
					if dice.Float64() >= test.loss {
						arrived++
					}
				}
				most = max(most, sent)
			}
			sum += most
		}
		thrown := float64(sum) / blocks / blockPackets
		if got := idealPackets(test.clients, test.loss); math.Abs(got-thrown) > 0.003 {
			t.Errorf("%d clients, loss %v: %.4f, thrown %.4f", test.clients, test.loss, got, thrown)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, test := range []struct {
		largest float64
		want    []float64
	}{
		{0, []float64{0, 1}},
		{6, []float64{0, 1, 2, 3, 4, 5, 6}},
		{6.1, []float64{0, 2, 4, 6, 8}},
		{366.9, []float64{0, 100, 200, 300, 400}},
		{0.9, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
	} {
		got := niceTicks(test.largest)
		if !slices.EqualFunc(got, test.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("ticks for %v: %v, want %v", test.largest, got, test.want)
		}
	}
	for largest := 0.001; largest < 1e6; largest *= 1.07 {
		ticks := niceTicks(largest)
		if last := ticks[len(ticks)-1]; last < largest || len(ticks) < 4 || len(ticks) > 7 {
			t.Errorf("ticks for %v: %v", largest, ticks)
		}
	}
}

func TestBetween(t *testing.T) {
	text := "head\n" + markBegin + "\nold\n" + markEnd + "\ntail\n"
	want := "head\n" + markBegin + "\n\nnew\n\n" + markEnd + "\ntail\n"
	for range 2 {
		got, err := between(text, "new\n")
		if err != nil || got != want {
			t.Fatalf("got %q, %v", got, err)
		}
		text = got
	}
	for _, text := range []string{"", markBegin, markEnd, markEnd + "\n" + markBegin} {
		if _, err := between(text, "new"); err == nil {
			t.Errorf("no error of %q", text)
		}
	}
}

// TestWriting makes a report of results that miss what may be missing, and looks whether it holds together.
func TestWriting(t *testing.T) {
	clean := testCase{mode: lab.NICLike, clients: 8}
	failed := made(clean, udpcastName)
	failed.failures = []string{"hung"}
	half := made(clean, uftpName, 40e6)
	half.failures = []string{"hung", "hung"}
	b := &bench{size: 64 << 20, results: sorted([]*result{
		made(clean, wimcastName, 80e6, 90e6, 70e6), half, failed, made(clean, pumpName, 100e6),
		made(testCase{mode: lab.NICLike, clients: 8, loss: 1}, wimcastName, 60e6),
		made(testCase{mode: lab.FramesWhole, clients: 1}, nginxName, 1e6),
	})}
	if got := b.results[0].contender; got != pumpName {
		t.Errorf("the first row is of %s", got)
	}
	var text, tables strings.Builder
	if err := b.writeText(&text); err != nil {
		t.Fatal(err)
	}
	b.markdownTables(&tables)
	for _, want := range []string{"80.0 (70.0–90.0)", "80 %", "1 of 1", "2 of 3", "8 clients, 1 % lost"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(tables.String(), want) {
			t.Errorf("%q is missing from a table", want)
		}
	}
	width := 0
	for line := range strings.Lines(tables.String()) {
		bars := strings.Count(line, "|")
		if width > 0 && bars > 0 && bars != width {
			t.Errorf("a row with %d bars, not %d: %s", bars, width, line)
		}
		width = bars
	}
	for _, svg := range []string{b.plotGoodput(), b.plotRoom()} {
		decoder := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
		if !strings.Contains(svg, wimcastName) || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("a plot without us, or with what is no number: %s", svg)
		}
	}
	if svg := (&bench{}).plotGoodput() + (&bench{}).plotRoom(); svg != "" {
		t.Errorf("plots of nothing: %s", svg)
	}
}
