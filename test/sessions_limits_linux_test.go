package test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/crypto/keyex"
	"wimcast/multicast/wire"
	"wimcast/test/rig"
)

// member is a client as far as its control channel goes: real credentials and handshake, but nothing of the group.
type member struct {
	*keyex.Conn
	welcome *wire.Welcome
}

// listening returns where the daemon takes clients, since it was last started.
func (s *stage) listening() netip.AddrPort {
	s.t.Helper()
	found := regexp.MustCompile(`"listen":"([^"]+)"`).FindAllStringSubmatch(s.daemon.Log(), -1)
	if found == nil {
		s.t.Fatalf("the log doesn't say where the daemon listens:\n%s", s.daemon.Log())
	}
	return netip.MustParseAddrPort(found[len(found)-1][1])
}

// joins dials and joins as a machine of that name; the error says what came in place of a welcome.
func (s *stage) joins(to netip.AddrPort, credentials *keyex.Credentials, name string) (*member, error) {
	conn, err := s.dials(to, credentials)
	if err != nil {
		return nil, err
	}
	join := &wire.Join{Request: 1, MaxPayload: 1472, Machine: wire.Machine{Host: name, Serial: name}, Package: "w11"}
	_, _ = rand.Read(join.Nonce[:])
	answer := make(chan error, 1)
	m := &member{Conn: conn}
	go func() {
		buf := make([]byte, wire.MaxControl+1)
		for {
			n, err := conn.Receive(buf)
			if err != nil {
				answer <- err
				return
			}
			switch message, _ := wire.Parse(buf[:n]); message := message.(type) {
			case *wire.Welcome:
				m.welcome = message
				answer <- nil
				return
			case *wire.Refused:
				answer <- fmt.Errorf("refused: %s", message.Text)
				return
			case *wire.Queued:
				answer <- fmt.Errorf("queued: %s", message.Text)
				return
			}
		}
	}()
	for {
		if err := conn.Send(join.Append(nil)); err != nil {
			return nil, err
		}
		select {
		case err := <-answer:
			if err != nil {
				_ = conn.Close()
			}
			return m, err
		case <-time.After(time.Second): // it may be lost
		case <-s.ctx.Done():
			_ = conn.Close()
			return nil, s.ctx.Err()
		}
	}
}

// dials dials as `wimcast get` does: an attempt takes 10 s at most, and on a machine that is too busy for all of them at once
// there is another. A refusal is the last word.
func (s *stage) dials(to netip.AddrPort, credentials *keyex.Credentials) (*keyex.Conn, error) {
	for {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		conn, err := keyex.Dial(ctx, to, credentials)
		cancel()
		if err == nil || !errors.Is(err, keyex.ErrUnreachable) || s.ctx.Err() != nil {
			return conn, err
		}
	}
}

func (s *stage) credentials() *keyex.Credentials {
	s.t.Helper()
	bundle, err := keyex.ReadBundle(s.daemon.Bundle())
	if err != nil {
		s.t.Fatal(err)
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		s.t.Fatal(err)
	}
	return credentials
}

// TestSessionsBurst: 1,000 machines shake hands and join at once, and nobody is turned away; with a limit of 200, 200 get in and the others are
// queued, none refused.
func TestSessionsBurst(t *testing.T) {
	for _, tc := range []struct{ clients, limit int }{{1000, 0}, {220, 200}} {
		t.Run(fmt.Sprintf("%d, limit %d", tc.clients, tc.limit), func(t *testing.T) {
			// Scheduled, so that nobody is cast to.
			s := onLoopback(t, rig.Config{Top: fmt.Sprintf("[session]\nstart = \"scheduled\"\nmax_clients = %d", tc.limit)})
			to, credentials := s.listening(), s.credentials()
			var all sync.WaitGroup
			var mu sync.Mutex
			in, queued := 0, 0
			for i := range tc.clients {
				all.Go(func() {
					m, err := s.joins(to, credentials, fmt.Sprintf("pc%04d", i))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						in++
						t.Cleanup(func() { _ = m.Close() })
					case tc.limit > 0 && strings.HasPrefix(err.Error(), "queued: "):
						queued++
					default:
						t.Errorf("pc%04d: %v", i, err)
					}
				})
			}
			all.Wait()
			want := tc.clients
			if tc.limit > 0 {
				want = tc.limit
			}
			if in != want || in+queued != tc.clients {
				t.Errorf("%d in, %d queued of %d", in, queued, tc.clients)
			}
			if list := s.sessions(); len(list) != 1 || len(list[0].Clients) != want {
				t.Errorf("%d sessions, %d clients", len(list), len(list[0].Clients))
			}
		})
	}
}

// TestSessionsTen: ten packages at once, each to a client of its own, all under one ceiling.
func TestSessionsTen(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "40 MB/s"`})
	const packages = 10
	images := make([]string, packages)
	for i := range images {
		source := filepath.Join(s.dir, fmt.Sprintf("source%d", i))
		if err := os.Mkdir(source, 0o700); err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 4<<20)
		_, _ = rand.Read(noise)
		if err := os.WriteFile(filepath.Join(source, "noise"), noise, 0o600); err != nil {
			t.Fatal(err)
		}
		images[i] = source + ".wim"
		if out, err := exec.CommandContext(s.ctx, "wimlib-imagex", "capture", source, images[i], "noise", "--compress=none", "--no-acls").CombinedOutput(); err != nil {
			t.Fatalf("capture: %v: %s", err, out)
		}
		if _, err := s.daemon.AddImage(s.ctx, images[i], fmt.Sprintf("p%d", i), "--version", "1"); err != nil {
			t.Fatal(err)
		}
	}
	var gets []*rig.Get
	for i := range packages {
		place := rig.Loopback(fmt.Sprintf("pc%02d", i))
		g, err := rig.StartGet(s.ctx, place, s.programs, fmt.Sprintf("p%d", i), "--bundle", s.daemon.Bundle(), "--output", s.file(place.Name()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Kill)
		gets = append(gets, g)
	}
	for i, g := range gets {
		if _, totals := s.ended(g, 0); totals.Unicast > 0 {
			t.Errorf("p%d: %+v", i, totals)
		}
		if sum(t, s.file(g.Place.Name())) != sum(t, images[i]) {
			t.Errorf("p%d: content differs", i)
		}
	}
	if list := s.sessions(); len(list) != packages {
		t.Errorf("%d sessions for %d packages", len(list), packages)
	}
}

// TestSessionsLiar: a member with good credentials that NACKs without end and claims to have what it hasn't harms nobody else: it is muted, shown, and
// nobody evicts it.
func TestSessionsLiar(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "8 MB/s"`})
	first := s.get(0)
	if err := first.AwaitProven(s.ctx, 0.1); err != nil {
		t.Fatal(err)
	}
	m, err := s.joins(s.listening(), s.credentials(), "liar")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var lying sync.WaitGroup
	lying.Go(func() {
		for n := uint32(1); ; n++ {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			nack := &wire.NACK{Client: m.welcome.Client}
			for i := range uint32(wire.MaxNACKBlocks) {
				nack.Lacks = append(nack.Lacks, wire.Lack{Block: (n*wire.MaxNACKBlocks + i) % 200, Symbols: 60})
			}
			_ = m.Send(nack.Append(nil))
			_ = m.Send((&wire.Report{Client: m.welcome.Client, Sequence: n, Proven: 1 << 30, Highest: 1 << 62, Opened: 1 << 40, Delivery: 1 << 62}).Append(nil))
		}
	})
	defer func() { close(done); lying.Wait(); _ = m.Close() }()
	s.await("the liar shown as muted", func() bool {
		var list []struct {
			Clients []struct {
				Name  string `json:"name"`
				State string `json:"state"`
				Muted bool   `json:"muted"`
			} `json:"clients"`
		}
		if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
			t.Fatal(err)
		}
		for _, c := range list[0].Clients {
			if c.Name == "liar" && c.State != "receiving" {
				t.Fatalf("the liar is %s", c.State)
			}
			if c.Name == "liar" && c.Muted {
				return true
			}
		}
		return false
	})
	_, totals := s.proven(first)
	// Repair that serves one alone has at most a fifth of the rate.
	if ratio := s.packetsOverSource(); totals.Unicast > 0 || ratio > 1.3 {
		t.Errorf("beside a liar: %.2f packets for each of the source, %+v", ratio, totals)
	}
}

// TestSessionsSilentRoom: a switch that forwards no group makes one alarm that names the likely cause, and a queue for unicast slots, not a
// storm of downloads.
func TestSessionsSilentRoom(t *testing.T) {
	t.Parallel()
	const clients = 5
	s := inRoom(t, clients, rig.Config{Multicast: `ceiling = "4 MB/s"`, Top: "[unicast]\nslots = 1\nbudget = \"500 kB/s\""})
	for _, c := range s.room.Clients() {
		if err := c.SetPruned(s.ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	var gets []*rig.Get
	for i := range clients {
		gets = append(gets, s.get(i))
	}
	for _, g := range gets { // nobody has all of it before the last has asked
		s.told(g, "unicast", "nothing of group")
	}
	s.hurry(rig.Config{Multicast: `ceiling = "4 MB/s"`, Top: "[unicast]\nslots = 1\nbudget = \"20 MB/s\""})
	queued := 0
	for _, g := range gets {
		if _, totals := s.proven(g); totals.UnicastReason != "group_silent" {
			t.Errorf("%s: %+v", g.Place.Name(), totals)
		}
		if _, ok := g.Happened("queued"); ok {
			queued++
		}
	}
	if queued < clients-2 {
		t.Errorf("%d of %d waited for the one slot", queued, clients)
	}
	if n := strings.Count(s.daemon.Log(), "many clients can't hear the group"); n != 1 {
		t.Errorf("%d alarms", n)
	}
	var list []struct {
		Alarm string `json:"alarm"`
	}
	if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 || !strings.Contains(list[0].Alarm, "querier") || !strings.Contains(list[0].Alarm, "firewall") || !strings.Contains(list[0].Alarm, "TTL") {
		t.Errorf("%+v", list)
	}
}
