package session

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// TestCells holds the counted map against section 6.11 read word for word, for every number of blocks about the number of cells, and large ones.
func TestCells(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var sizes []int
	for b := range 3*wire.MaxCells + 2 {
		sizes = append(sizes, b)
	}
	for _, b := range append(sizes, 30_001, 1_000_000) {
		c := newCellCounts(b)
		cells := min(256, b)
		if len(c.proven) != cells {
			t.Fatalf("%d blocks: %d cells", b, len(c.proven))
		}
		have := make([]bool, b)
		for _, i := range random.Perm(b)[:random.IntN(b+1)] {
			have[i] = true
			c.add(i)
		}
		p, n := make([]int, cells), make([]int, cells)
		for i := range b {
			cell := i * cells / b
			n[cell]++
			if have[i] {
				p[cell]++
			}
		}
		got := c.levels()
		for cell := range cells {
			want := byte(0)
			switch {
			case p[cell] == n[cell]:
				want = 15
			case p[cell] > 0:
				want = byte(max(1, 15*p[cell]/n[cell]))
			}
			if is := levelAt(got, cell); is != want || n[cell] == 0 {
				t.Fatalf("%d blocks, cell %d: %d of %d proven is %d, want %d", b, cell, p[cell], n[cell], is, want)
			}
		}
		for i := range b {
			if !have[i] {
				c.add(i)
			}
		}
		if !bytes.Equal(c.levels(), fullLevels(cells)) {
			t.Fatalf("%d blocks, all proven: %x", b, c.levels())
		}
	}
}

func levelAt(levels []byte, cell int) byte {
	if cell%2 == 0 {
		return levels[cell/2] >> 4
	}
	return levels[cell/2] & 15
}

// mapCounter counts the maps that clients of a room send, and holds them against what they have.
type mapCounter struct {
	mu  sync.Mutex
	at  map[string][]time.Time // by client
	all int
}

// countMaps has each client's maps counted. It is called before clients start.
func (r *room) countMaps() *mapCounter {
	c := &mapCounter{at: map[string][]time.Time{}}
	r.said = func(client string, message []byte) {
		if wire.Type(message[0]) == wire.TypeHaveMap {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.at[client] = append(c.at[client], time.Now())
			c.all++
		}
	}
	return c
}

func (c *mapCounter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// has is the map of what a client has stored by now of an image of so many blocks: it can't have proven more.
func (c *roomClient) has(blocks int) []byte {
	counts := newCellCounts(blocks)
	c.target.mu.Lock()
	defer c.target.mu.Unlock()
	for i := range c.target.stored {
		counts.add(i)
	}
	return counts.levels()
}

// looked returns what a watch sees of a client.
func looked(t *testing.T, w *Watch, name string) ClientInfo {
	t.Helper()
	info, running := w.Look()
	i := slices.IndexFunc(info.Clients, func(c ClientInfo) bool { return c.Name == name })
	if !running || i < 0 {
		t.Fatalf("no %s in %+v", name, info.Clients)
	}
	return info.Clients[i]
}

// TestMapsWhileWatched: no map goes over the wire while nobody watches; while somebody does the server's follows what
// a client has, within the pace; then it stops, and is forgotten. Done clients show all of it, and tell nothing.
func TestMapsWhileWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const blocks = 601
		r := newRoom(t, 1, (blocks-1)*crypto.BlockSize+77)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 4e6, 4e6 // 27 s
		maps := r.countMaps()
		one, two := r.client("pc01"), r.client("pc02")
		two.link.loss = 0.05
		one.start()
		two.start()
		time.Sleep(5 * time.Second)
		if n := maps.count(); n != 0 {
			t.Errorf("%d maps, and nobody watches", n)
		}
		w, err := r.server.Watch("s1")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		last := map[string]int{}
		for range 8 {
			for _, c := range []*roomClient{one, two} {
				is := c.has(blocks)
				got := looked(t, w, c.name).Map
				sum := 0
				for cell := range wire.MaxCells {
					level := levelAt(got, cell)
					if level > levelAt(is, cell) {
						t.Errorf("%s: cell %d is %d, it has %d", c.name, cell, level, levelAt(is, cell))
					}
					sum += int(level)
				}
				if sum <= last[c.name] {
					t.Errorf("%s: the map doesn't grow: %d, then %d", c.name, last[c.name], sum)
				}
				last[c.name] = sum
			}
			time.Sleep(1500 * time.Millisecond)
		}
		if n := maps.count(); n < 2*8 || n > 2*20 {
			t.Errorf("%d maps of 2 clients in 14 s", n)
		}
		w.Close()
		w.Close()
		time.Sleep(time.Second)
		before := maps.count()
		time.Sleep(2 * time.Second)
		if n := maps.count(); n != before {
			t.Errorf("%d maps more, and nobody watches any more", n-before)
		}
		if info, _ := r.server.Sessions(); len(info) != 1 || info[0].Clients[0].Map == nil {
			t.Errorf("right after nobody watched the maps are gone already")
		}
		r.wait()
		info, ended := r.server.Sessions()
		for _, c := range append(info, ended...)[0].Clients {
			if !bytes.Equal(c.Map, fullLevels(wire.MaxCells)) || c.State != ClientProven {
				t.Errorf("%s is %s: %x", c.Name, c.State, c.Map)
			}
		}
	})
}

// TestMapsAreForgotten some time after nobody watches any more.
func TestMapsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 2, 600*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 4e6, 4e6
		r.client("pc01").start()
		r.client("pc02").start()
		time.Sleep(time.Second)
		w, err := r.server.Watch("s1")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if looked(t, w, "pc01").Map == nil {
			t.Error("no map")
		}
		w.Close()
		time.Sleep(mapsKept + time.Second)
		if info, _ := r.server.Sessions(); len(info) != 1 || info[0].Clients[0].Map != nil || info[0].Clients[1].Map != nil {
			t.Errorf("maps of %v ago: %+v", mapsKept, info)
		}
		r.wait()
		if _, err := r.server.Watch("s2"); err == nil {
			t.Error("a session is watched that isn't there")
		}
	})
}

// TestMapsWithoutTheGroup: clients that hear no status tell their maps too, where what they fetched by unicast and what an earlier try
// left is in them.
func TestMapsWithoutTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 3, 20_000*crypto.BlockSize/100)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 1e6, 1e6
		deaf, hears := r.client("deaf"), r.client("hears")
		deaf.link.deaf = true
		deaf.fetcher.slow = 100 * time.Millisecond
		// An earlier try left the first half, of which a block is bad.
		deaf.target.data, deaf.target.digest = slices.Clone(r.content.data), r.content.Digest()
		for i := range 100 {
			deaf.target.have = append(deaf.target.have, i)
		}
		deaf.target.data[3*crypto.BlockSize]++
		deaf.target.manifest = r.content.manifest.Marshal()
		deaf.start()
		hears.start()
		time.Sleep(time.Second)
		w, err := r.server.Watch("s1")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		time.Sleep(7 * time.Second) // deaf for 2 s, then told by a notice to its next report
		got := looked(t, w, "deaf").Map
		for cell := range 200 {
			want := byte(0)
			if cell < 100 && cell != 3 {
				want = 15
			}
			if got == nil || levelAt(got, cell) != want {
				t.Fatalf("before unicast, cell %d isn't %d: %x", cell, want, got)
			}
		}
		time.Sleep(8 * time.Second)
		got = looked(t, w, "deaf").Map
		if levelAt(got, 136) != 15 || levelAt(got, 3) != 0 || levelAt(got, 100) != 0 {
			t.Errorf("on unicast, which begins with the last 64: %x", got)
		}
		hears.cancel(nil)
		<-hears.done
		r.clients = r.clients[:1]
		r.wait()
	})
}

// TestMapsOfManyAreBounded: two hundred clients together tell no more than so many maps a second, and each in its turn.
func TestMapsOfManyAreBounded(t *testing.T) {
	many := 200
	if raceEnabled {
		many = 40
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 4, 300*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 2e5, 2e5 // nobody gets done
		maps := r.countMaps()
		for i := range many {
			r.client(fmt.Sprintf("pc%03d", i)).start()
		}
		time.Sleep(1500 * time.Millisecond)
		w, err := r.server.Watch("s1")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		const seconds = 5
		time.Sleep(seconds * time.Second)
		period := periodOf(many)
		if n, most := maps.count(), int(float64(many)*(1+seconds/(0.75*period.Seconds()))); n > most || n < many {
			t.Errorf("%d maps in %d s, at most %d", n, seconds, most)
		}
		maps.mu.Lock()
		for name, at := range maps.at {
			for i := range at[1:] {
				if d := at[i+1].Sub(at[i]); d < period*3/4-tickEvery {
					t.Errorf("%s: %v between two maps, a period is %v", name, d, period)
				}
			}
		}
		maps.mu.Unlock()
		info, _ := w.Look()
		for _, c := range info.Clients {
			if c.Map == nil {
				t.Errorf("%s told no map", c.Name)
			}
		}
		if _, dropped := r.server.Totals(); dropped["map_ignored"] != 0 {
			t.Errorf("%d maps were ignored", dropped["map_ignored"])
		}
		for _, c := range r.clients {
			c.cancel(nil)
			<-c.done
		}
	})
}

// TestLyingMaps: a client may lie about itself, and about nobody else; what doesn't fit, or comes too often, is ignored and counted.
func TestLyingMaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 5, 300*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 1e6, 1e6
		one := r.client("pc01").start()
		two := r.client("pc02").start()
		time.Sleep(time.Second)
		number := func(name string) uint32 {
			info, _ := r.server.Sessions()
			for _, c := range info[0].Clients {
				if c.Name == name {
					return c.Number
				}
			}
			return 0
		}
		say := func(m *wire.HaveMap) { // as pc01
			one.control.in.put(simItem{at: time.Now(), data: m.Append(nil)})
		}
		full := fullLevels(wire.MaxCells)
		lie := func(client, sequence uint32) *wire.HaveMap {
			return &wire.HaveMap{Client: client, Sequence: sequence, Cells: wire.MaxCells, Levels: full}
		}
		dropped := func(reason string) uint64 {
			synctest.Wait()
			time.Sleep(300 * time.Millisecond) // the session reads its mail
			_, all := r.server.Totals()
			return all[reason]
		}
		say(lie(number("pc01"), 1000))
		if n := dropped("map_ignored"); n != 1 {
			t.Errorf("nobody watches: %d ignored", n)
		}
		w, err := r.server.Watch("s1")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		say(lie(number("pc02"), 1000))
		if n := dropped("stranger"); n != 1 || bytes.Equal(looked(t, w, "pc02").Map, full) {
			t.Errorf("in the name of another: %d refused", n)
		}
		say(&wire.HaveMap{Client: number("pc01"), Sequence: 1001, Cells: 255, Levels: fullLevels(255)})
		if n := dropped("range"); n != 1 {
			t.Errorf("of another image: %d refused", n)
		}
		say(lie(number("pc01"), 1002))
		if n := dropped("map_ignored"); n != 1 || !bytes.Equal(looked(t, w, "pc01").Map, full) {
			t.Errorf("about itself: %d ignored", n)
		}
		for i := range uint32(100) {
			say(lie(number("pc01"), 2000+i))
		}
		if n := dropped("map_ignored"); n < 98 || n > 101 {
			t.Errorf("of 100 at once %d are ignored", n-1)
		}
		if proven := looked(t, w, "pc01"); proven.State != ClientReceiving || proven.Progress == 1 {
			t.Errorf("the lie did something: %+v", proven)
		}
		for _, c := range []*roomClient{one, two} {
			c.cancel(nil)
			<-c.done
		}
	})
}

// BenchmarkPulse is what a session of 500 clients costs that is looked at each second, and BenchmarkSnapshot one that is watched besides.
func BenchmarkPulse(b *testing.B) {
	s := crowded(500)
	for b.Loop() {
		_ = s.pulse()
	}
}

func BenchmarkSnapshot(b *testing.B) {
	s := crowded(500)
	for b.Loop() {
		_ = s.snapshot()
	}
}

// BenchmarkHearMap is what a map costs at the server, from the wire on.
func BenchmarkHearMap(b *testing.B) {
	s := crowded(1)
	s.watched.Store(1)
	m := s.roster.members[0]
	now, message := time.Now(), (&wire.HaveMap{Client: 1, Sequence: 1, Cells: wire.MaxCells, Levels: fullLevels(wire.MaxCells)}).Append(nil)
	for b.Loop() {
		parsed, err := wire.Parse(message)
		if err != nil {
			b.Fatal(err)
		}
		now, m.maps.sequence = now.Add(time.Second), 0
		s.hearMap(now, m, parsed.(*wire.HaveMap))
	}
	if m.info.Map == nil {
		b.Fatal("none was taken")
	}
}

// BenchmarkTellMap is what a map of a million blocks costs a client.
func BenchmarkTellMap(b *testing.B) {
	c := newCellCounts(1_000_000)
	for i := range 500_000 {
		c.add(i)
	}
	for b.Loop() {
		_ = c.levels()
	}
}

// crowded is a session with so many clients, of which none does anything.
func crowded(clients int) *sender {
	s := &sender{server: &Server{}, roster: newRoster(), law: newRateLaw(1e8), geo: newGeometry(5<<30, defaultSymbol)}
	for i := range uint32(clients) {
		s.roster.members[i] = &member{number: i, info: ClientInfo{State: ClientReceiving}}
	}
	return s
}
