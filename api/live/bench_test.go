package live

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// crowd is a session of so many clients that receive, with maps.
func crowd(clients int) *session.SessionInfo {
	info := &session.SessionInfo{ID: "s1", Package: "w11@2026.11", Deployment: "lab12", ImageSize: 5 << 30, Blocks: 29_789, Started: time.Now(), RateReason: session.RateLoss}
	for i := range clients {
		info.Clients = append(info.Clients, session.ClientInfo{
			Number: uint32(i + 1), Name: fmt.Sprintf("lab12-pc%03d", i), State: session.ClientReceiving, Joined: time.Now(), Map: make([]byte, 128),
		})
	}
	return info
}

// second lets a second pass as it does in a session: the reporters report 20 times, each other client once in refresh, and each tells its map as often.
func second(random *rand.Rand, info *session.SessionInfo, progress float64) {
	every := max(2, len(info.Clients)/100)
	for i := range info.Clients {
		c := &info.Clients[i]
		if i >= 8 && random.IntN(every) != 0 {
			continue
		}
		c.Progress = min(progress+0.002*random.Float64(), 1)
		c.Rate, c.Loss = 100e6+random.Float64()*10e6, 0.02*random.Float64()
		have := make([]byte, 128)
		for cell := range 256 {
			level := byte(min(15, max(0, (progress*256-float64(cell))*15+2*random.Float64())))
			if cell%2 == 0 {
				level <<= 4
			}
			have[cell/2] |= level
		}
		c.Map = have
	}
}

func describe(info *session.SessionInfo) api.Session {
	s := api.Session{ID: info.ID, Package: info.Package, Deployment: info.Deployment, Blocks: info.Blocks, Size: info.ImageSize, Started: info.Started, RateReason: string(info.RateReason), Clients: []api.Member{}}
	for i := range info.Clients {
		c := &info.Clients[i]
		s.Clients = append(s.Clients, api.Member{Number: c.Number, Name: c.Name, State: string(c.State), Progress: c.Progress, Rate: c.Rate, Loss: c.Loss})
	}
	return s
}

// TestStreamOfManyIsSmall: 500 clients take a viewer less than 100 kB/s.
func TestStreamOfManyIsSmall(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	info := crowd(500)
	var known []api.LiveClient
	sum, most := 0, 0
	const seconds = 60
	for i := range seconds {
		second(random, info, float64(i)/seconds)
		s := describe(info)
		var changed []api.LiveClient
		changed, _, known = change(uint64(i), known, clientsOf(&s, info))
		s.Clients = []api.Member{}
		n := len(encode(&api.Live{Session: s, Cells: 256, Clients: changed, Samples: []api.LiveSample{{Time: time.Now(), Rate: 112e6, Target: 113e6, Reason: "loss", Parity: 0.0213, Loss: 0.0102, Proven: 5.1e10}}}))
		if i > 0 {
			sum, most = sum+n, max(most, n)
		}
	}
	t.Logf("%d bytes a second, %d at most", sum/(seconds-1), most)
	if sum/(seconds-1) > 100_000 || sum == 0 {
		t.Errorf("%d bytes a second, want at most 100,000", sum/(seconds-1))
	}
}

// BenchmarkLook is what a second of one watched session with 500 clients costs, but for asking the session itself.
func BenchmarkLook(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	info := crowd(500)
	var known []api.LiveClient
	i := 0
	for b.Loop() {
		b.StopTimer()
		second(random, info, 0.5)
		i++
		b.StartTimer()
		s := describe(info)
		var changed []api.LiveClient
		changed, _, known = change(uint64(i), known, clientsOf(&s, info))
		s.Clients = []api.Member{}
		encode(&api.Live{Session: s, Cells: 256, Clients: changed})
	}
}

// BenchmarkSamples is what keeping the course of 32 sessions costs a second, but for asking them.
func BenchmarkSamples(b *testing.B) {
	var all [32]series
	now := time.Now()
	p := session.Pulse{}
	for b.Loop() {
		now = now.Add(time.Second)
		p.Sent.SourceBytes += 100e6
		p.Opened += 70_000
		for i := range all {
			all[i].add(now, p)
		}
	}
}
