package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// watcher follows the live stream of a session, and keeps what a page would show.
type watcher struct {
	mu       sync.Mutex
	kinds    []string
	latest   api.Live // its session and cells
	clients  map[uint32]api.LiveClient
	samples  []api.LiveSample
	shrunk   []string // clients whose map lost something
	ended    bool
	finished chan error
}

// watch begins to follow a session on the daemon's socket.
func (s *stage) watch(session string) *watcher {
	w := &watcher{clients: map[uint32]api.LiveClient{}, finished: make(chan error, 1)}
	ctx, cancel := context.WithCancel(s.ctx)
	s.t.Cleanup(cancel)
	go func() {
		w.finished <- api.NewClient(filepath.Join(s.daemon.Dir, "admin.sock")).Live(ctx, session, w.take)
	}()
	return w
}

func (w *watcher) take(kind string, l api.Live) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == api.LiveSnapshot {
		clear(w.clients)
		w.samples = nil
	}
	w.kinds = append(w.kinds, kind)
	w.samples = append(w.samples, l.Samples...)
	for _, c := range l.Clients {
		was := w.clients[c.Number].Map
		if c.Map == nil {
			c.Map = was
		}
		for i := range was {
			if c.Map[i]>>4 < was[i]>>4 || c.Map[i]&15 < was[i]&15 {
				w.shrunk = append(w.shrunk, c.Name)
				break
			}
		}
		w.clients[c.Number] = c
	}
	l.Clients, l.Samples = nil, nil
	w.latest, w.ended = l, !l.Session.Ended.IsZero()
	return nil
}

// client returns a client as it is known now, the latest of that name, with the number of cells of its map.
func (w *watcher) client(name string) (api.LiveClient, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var latest api.LiveClient
	for number, c := range w.clients {
		if c.Name == name && number > latest.Number {
			latest = c
		}
	}
	return latest, w.latest.Cells
}

// held reads the have-map that a client keeps beside its file, as the cells of an image that has no more blocks than cells.
func held(name string) ([]byte, error) {
	b, err := os.ReadFile(name + ".part.have")
	if err != nil {
		return nil, err
	}
	const header = len("wimcast have-map\x00\x01") + 8 + 4 + 32 // client/havemap.go
	if len(b) < header+8 {
		return nil, errors.New("the have-map is too short")
	}
	blocks := int(binary.BigEndian.Uint64(b[header:]))
	bits := b[header+8:]
	cells := make([]byte, (blocks+1)/2)
	for i := range blocks {
		if bits[i/8]>>(i%8)&1 != 0 {
			cells[i/2] |= 0xf0 >> (i % 2 * 4)
		}
	}
	return cells, nil
}

// TestOperationsLive: two machines receive with loss while somebody watches. Their maps grow and never shrink; of one that is stopped it is what
// it leaves on its disk. When it has come back and all is over they are full, and the stream says so and ends.
func TestOperationsLive(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "4 MB/s"`, Top: together(2)})
	for _, host := range s.room.Clients() {
		if err := host.SetLoss(s.ctx, 3); err != nil {
			t.Fatal(err)
		}
	}
	gets := []*rig.Get{s.get(0), s.get(1)}
	if err := gets[0].AwaitProven(s.ctx, 0.1); err != nil {
		t.Fatal(err)
	}
	w := s.watch("s1")
	for _, g := range gets {
		name := g.Place.Name()
		s.await("a map of "+name, func() bool { c, _ := w.client(name); return c.Map != nil })
		if err := g.AwaitProven(s.ctx, 0.4); err != nil {
			t.Fatal(err)
		}
	}
	if err := gets[0].Cmd().Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-gets[0].Done()
	name := gets[0].Place.Name()
	s.await(name+" to have left", func() bool { c, _ := w.client(name); return c.State == "left" })
	have, err := held(s.file(name))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := w.client(name)
	if !bytes.Equal(have, c.Map) {
		t.Errorf("%s shows %x, and has on its disk %x", name, c.Map, have)
	}
	some := 0
	for _, b := range have {
		some += bits.OnesCount8(b) / 4
	}
	if share := float64(some) / float64(2*len(have)); share < 0.3 || share == 1 {
		t.Errorf("%s has %.2f of the image on its disk when it had proven 0.4 and a little more", name, share)
	}
	gets[0] = s.get(0)
	s.await(name+" to be back", func() bool { c, _ := w.client(name); return c.State == "receiving" })
	for _, g := range gets {
		s.proven(g)
	}
	select {
	case err := <-w.finished:
		if err != nil {
			t.Errorf("the stream ends with %v", err)
		}
	case <-s.ctx.Done():
		t.Fatal("the session ended, and its stream didn't")
	}
	for _, g := range gets {
		c, cells := w.client(g.Place.Name())
		full := bytes.Repeat([]byte{0xff}, (cells+1)/2)
		if cells%2 != 0 {
			full[cells/2] = 0xf0
		}
		if c.State != "proven" || c.Proven != 1 || c.Path != "multicast" || !bytes.Equal(c.Map, full) {
			t.Errorf("at the end: %+v", c)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended || w.kinds[0] != api.LiveSnapshot || len(w.shrunk) > 0 {
		t.Errorf("ended %v, first a %s; maps that shrank: %v", w.ended, w.kinds[0], w.shrunk)
	}
	var most, loss, parity, proven float64
	for i, sample := range w.samples {
		most, loss, parity, proven = max(most, sample.Rate), max(loss, sample.Loss), max(parity, sample.Parity), proven+sample.Proven
		if i > 0 && sample.Time.Sub(w.samples[i-1].Time) < time.Second/10 {
			t.Errorf("samples at %v and %v", w.samples[i-1].Time, sample.Time)
		}
	}
	if most < 1e6 || most > 6e6 || loss == 0 || parity == 0 || proven < float64(s.size) {
		t.Errorf("%d samples: %.0f B/s at most, loss up to %v, parity up to %v, %.0f B/s proven in sum", len(w.samples), most, loss, parity, proven)
	}
}
