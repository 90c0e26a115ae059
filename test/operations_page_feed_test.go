package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	webpage "wimcast/api/page"
)

// feed is an API that the web page is shown: it answers with whatever a test wants, as fast as the test wants. The page in front of it is
// the real one.
type feed struct {
	t      *testing.T
	page   *webpage.Page
	server *httptest.Server

	mu      sync.Mutex
	answers map[string]any      // by path
	streams map[string][]string // events of live streams so far, by path
	wake    chan struct{}
	cut     chan struct{} // closed to cut off streams
	gone    bool          // connections break
}

// newFeed starts one on loopback.
func newFeed(t *testing.T) *feed {
	t.Helper()
	f := &feed{t: t, answers: map[string]any{}, streams: map[string][]string{}, wake: make(chan struct{}), cut: make(chan struct{})}
	f.page = webpage.New(webpage.Config{API: f, Names: func() []string { return nil }, Now: time.Now, Log: zap.NewNop()})
	f.server = httptest.NewServer(f.page)
	t.Cleanup(func() {
		f.mu.Lock()
		close(f.cut)
		f.mu.Unlock()
		f.server.Close()
	})
	f.set("/v1/status", api.Status{Version: "1.2.3", Started: time.Now().Add(-26 * time.Hour), Interface: "eth1"})
	for _, path := range []string{"/v1/sessions", "/v1/queue", "/v1/images", "/v1/deployments", "/v1/points", "/v1/history/sessions"} {
		f.set(path, []int{})
	}
	f.set("/v1/doctor", api.Doctor{Findings: []api.Finding{}})
	f.set("/v1/fleet", api.Fleet{Points: []api.FleetPoint{}})
	return f
}

// link is a link that opens the page.
func (f *feed) link() string {
	token, _ := f.page.Link(api.Caller{Name: "ann", UID: 1000})
	return f.server.URL + "/#token=" + token
}

// set has a path answer with a value.
func (f *feed) set(path string, value any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[path] = value
}

// send puts an event into a live stream.
func (f *feed) send(path, kind string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[path] = append(f.streams[path], fmt.Sprintf("event: %s\ndata: %s\n\n", kind, data))
	close(f.wake)
	f.wake = make(chan struct{})
}

// away has it be away, or back: streams end, and connections break.
func (f *feed) away(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = is
	close(f.cut)
	f.cut = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	gone := f.gone
	f.mu.Unlock()
	if gone {
		panic(http.ErrAbortHandler)
	}
	if r.URL.Path == "/v1/events" || strings.HasSuffix(r.URL.Path, "/live") {
		f.stream(w, r)
		return
	}
	f.mu.Lock()
	value, ok := f.answers[r.URL.Path]
	f.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		value = api.Problem{Status: http.StatusNotFound, Detail: "no such thing"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func (f *feed) stream(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	f.mu.Lock()
	cut := f.cut
	f.mu.Unlock()
	for next := 0; ; {
		f.mu.Lock()
		list, more := f.streams[r.URL.Path], f.wake
		f.mu.Unlock()
		for ; next < len(list); next++ {
			if _, err := w.Write([]byte(list[next])); err != nil {
				return
			}
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case <-more:
		}
	}
}

// madeRoom is a session with made-up clients whose maps fill up.
type madeRoom struct {
	api.Session
	random  *rand.Rand
	clients []*roomClient
	samples []api.LiveSample
	now     time.Time
}

type roomClient struct {
	api.LiveClient

	cells [256]float64
	speed float64
	joint float64 // where in the image it came in
}

// newRoom makes a room of so many clients; the same each time.
func newRoom(id string, clients int) *madeRoom {
	r := &madeRoom{random: rand.New(rand.NewPCG(7, uint64(clients))), now: time.Now().Add(-4 * time.Minute)}
	r.Session = api.Session{
		ID: id, Package: "w11-education@2026.11", Deployment: "lab12", Digest: "sha256:ab", Mode: "encrypted", State: "casting", Group: "239.195.16.1:63000", Start: "auto",
		Started: r.now, Size: 5_400_000_000, Blocks: 29963, Ceiling: 112_500_000, SlowPolicy: "demote", Floor: 20e6, Grace: 30, RateReason: "probing", GRTT: 0.0031, States: map[string]int{},
		Clients: []api.Member{},
	}
	for i := range clients {
		c := &roomClient{LiveClient: api.LiveClient{Number: uint32(i + 1), Name: fmt.Sprintf("pc%03d", i+1), State: "receiving", Path: "multicast"}, speed: 0.9 + 0.1*r.random.Float64()}
		if i%7 == 3 {
			c.joint = r.random.Float64()
		}
		if i == 17 || clients >= 3 && i == 2 {
			c.Cause, c.speed = "receive_buffer", 0.45
			c.Reason = "6.1 MB/s  receive_buffer 4.2% → slow for 12.4s (floor 20.0 MB/s, grace 30s)"
		}
		r.clients = append(r.clients, c)
	}
	return r
}

// step goes on by a second, in which a share of the image goes out. It returns who changed.
func (r *madeRoom) step(share float64) []api.LiveClient {
	r.now = r.now.Add(time.Second)
	var changed []api.LiveClient
	states := map[string]int{}
	least, most := 1.0, 0.0
	for _, c := range r.clients {
		if c.State == "receiving" {
			from := c.joint + c.Proven
			for cell := range c.cells {
				at := (float64(cell) + 0.5) / 256
				behind := from - at
				if behind < 0 {
					behind += 1
				}
				if behind < share+0.01 || at < from && at > c.joint || from > 1 && at < from-1 {
					c.cells[cell] = min(1, c.cells[cell]+0.4+0.6*r.random.Float64()*c.speed)
				}
			}
			c.Proven = min(1, c.Proven+share*c.speed)
			c.Rate, c.Loss = 109e6*c.speed, 0.002*r.random.Float64()
			if c.Cause != "" {
				c.Loss = 0.042
			}
			if c.Proven >= 1 {
				c.State, c.Cause, c.Reason = "proven", "", ""
				for cell := range c.cells {
					c.cells[cell] = 1
				}
			}
			packed := make([]byte, 128)
			for cell, v := range c.cells {
				level := byte(15 * v)
				if cell%2 == 0 {
					packed[cell/2] |= level << 4
				} else {
					packed[cell/2] |= level
				}
			}
			c.Map = packed
			changed = append(changed, c.LiveClient)
		}
		states[c.State]++
		least, most = min(least, c.Proven), max(most, c.Proven)
	}
	wave := r.random.Float64()
	reason, target := "probing", 104e6+6e6*wave
	if s := r.now.Unix() % 60; s < 9 {
		reason, target = "loss", 78e6+2e6*float64(s)
	} else if s > 40 {
		reason, target = "ceiling", 112.5e6
	}
	r.samples = append(r.samples, api.LiveSample{Time: r.now, Rate: target * (0.94 + 0.05*wave), Target: target, Reason: reason, Parity: 0.018 + 0.02*wave*wave, Loss: 0.003 + 0.004*wave, Proven: target * float64(len(changed)) * 0.9})
	r.States, r.Rate, r.RateReason, r.Progress, r.Most = states, target, reason, least, most
	r.Median = r.clients[len(r.clients)/2].Proven
	r.Sent = api.Sent{SourcePackets: 1_000_000, ParityPackets: 24_000, Bytes: 1_400_000_000}
	return changed
}

// all is every client.
func (r *madeRoom) all() (list []api.LiveClient) {
	for _, c := range r.clients {
		list = append(list, c.LiveClient)
	}
	return list
}

// snapshot is all of it.
func (r *madeRoom) snapshot() api.Live {
	return api.Live{Session: r.Session, Cells: 256, Clients: r.all(), Samples: r.samples}
}

// change is what a second brought.
func (r *madeRoom) change(clients []api.LiveClient) api.Live {
	return api.Live{Session: r.Session, Cells: 256, Clients: clients, Samples: r.samples[len(r.samples)-1:]}
}
