package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// simLock is a room's lock with one PIN.
type simLock struct {
	mu     sync.Mutex
	pin    string // "": the room is closed
	late   int    // tries that are put off
	tries  []string
	passes map[[16]byte]bool
}

func (l *simLock) Held(Peer) *RefusedError {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pin == "" {
		return &RefusedError{Code: wire.PINLater, Text: "the room is closed"}
	}
	return &RefusedError{Code: wire.PINWanted, Text: "a PIN is wanted"}
}

func (l *simLock) Unlock(_ context.Context, peer Peer, pin string, pass [16]byte) ([16]byte, *RefusedError, time.Duration) {
	held := l.Held(peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.passes[pass]:
		return pass, nil, 0
	case pass != [16]byte{}:
		return pass, held, 0
	}
	l.tries = append(l.tries, pin)
	switch {
	case l.pin == "":
		return pass, held, time.Second
	case l.late > 0:
		l.late--
		return pass, &RefusedError{Code: wire.PINLater, Text: "too many"}, 3 * time.Second
	case pin != l.pin:
		return pass, &RefusedError{Code: wire.PINWrong, Text: "another PIN"}, 0
	}
	next := randomToken[[16]byte]()
	if l.passes == nil {
		l.passes = map[[16]byte]bool{}
	}
	l.passes[next] = true
	return next, nil, 0
}

func (l *simLock) set(pin string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pin = pin
}

// forget forgets passes and PIN, as a restart does.
func (l *simLock) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pin, l.passes = "", nil
}

func (l *simLock) tried() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.tries)
}

// lockedRoom is a room whose clients all want a PIN.
func lockedRoom(t *testing.T, pin string, size int) (*room, *simLock) {
	t.Helper()
	r := newRoom(t, 3, size)
	r.kill()
	l := &simLock{pin: pin}
	r.lock, r.ceiling = l, 2e6 // slow enough that something can happen meanwhile
	r.start()
	return r, l
}

// types has somebody type these PINs, one for each time that they are asked.
func types(asked *atomic.Int32, pins ...string) func(context.Context, string) (string, error) {
	return func(context.Context, string) (string, error) {
		n := int(asked.Add(1))
		if n > len(pins) {
			return "", errors.New("nobody is there")
		}
		return pins[n-1], nil
	}
}

// TestPINUnderLoss: control messages are lost and repeated. Each PIN is tried once, each person asked once, and a server that was
// killed, and its room opened again, has them all back without asking.
func TestPINUnderLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, l := lockedRoom(t, "123456", 150*crypto.BlockSize)
		defer r.stop()
		var asked atomic.Int32
		for i := range 3 {
			c := r.client(fmt.Sprintf("pc%02d", i))
			c.link.control, c.link.repeat = 0.2, 0.3
			var own atomic.Int32
			pin := types(&own, "123456")
			c.askPIN = func(ctx context.Context, reason string) (string, error) { asked.Add(1); return pin(ctx, reason) }
			c.start()
		}
		time.Sleep(5 * time.Second)
		if tried := l.tried(); len(tried) != 3 {
			t.Errorf("tried were %q, want each client's PIN once", tried)
		}
		r.kill()
		l.forget()
		r.start()
		time.Sleep(time.Minute)
		if done := r.clients[0].target.finished; done {
			t.Error("done before the server died: this shows nothing")
		}
		l.set("123456")
		r.wait()
		if n, tried := asked.Load(), l.tried(); n != 3 || len(tried) != 6 {
			t.Errorf("asked %d times, tried %q", n, tried)
		}
	})
}

func TestPINAsked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		types []string
		late  int
		asks  int32
		tries int
		ends  string // "": well
	}{
		{name: "right at once", types: []string{"123456"}, asks: 1, tries: 1},
		{name: "mistyped", types: []string{"123457", "123456"}, asks: 2, tries: 2},
		{name: "put off", types: []string{"123456"}, late: 3, asks: 1, tries: 4},
		{name: "given up", types: []string{"1", "2"}, asks: 3, tries: 2, ends: "another PIN: nobody is there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, l := lockedRoom(t, "123456", 3*crypto.BlockSize)
				defer r.stop()
				l.late = tt.late
				var asked atomic.Int32
				c := r.client("pc01")
				c.askPIN = types(&asked, tt.types...)
				c.start()
				if tt.ends == "" {
					r.wait()
				} else if <-c.done; !errors.Is(c.err, ErrRefused) || !strings.Contains(c.err.Error(), tt.ends) {
					t.Errorf("it ends with %v", c.err)
				}
				if asked.Load() != tt.asks || len(l.tried()) != tt.tries {
					t.Errorf("asked %d times, tried %q", asked.Load(), l.tried())
				}
			})
		})
	}
}

// TestClosedRoom: who comes before the room is open waits, and not for ever.
func TestClosedRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, l := lockedRoom(t, "", 3*crypto.BlockSize)
		defer r.stop()
		var asked atomic.Int32
		c := r.client("pc01")
		c.askPIN = types(&asked, "123456")
		c.start()
		time.Sleep(9 * time.Minute)
		if asked.Load() != 0 || !c.event(EventLocked) {
			t.Errorf("asked %d times in a room that is closed; events %v", asked.Load(), c.events())
		}
		l.set("123456")
		r.wait()
		l.set("")
		late := r.client("pc02")
		late.askPIN = types(&asked, "123456")
		began := time.Now()
		late.start()
		<-late.done
		if took := time.Since(began); !errors.Is(late.err, ErrRefused) || took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("after %v: %v", took, late.err)
		}
	})
}

// TestPassOutlivesTheHour: a client whose channel breaks after the room was closed goes on.
func TestPassOutlivesTheHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, l := lockedRoom(t, "123456", 150*crypto.BlockSize)
		defer r.stop()
		var asked atomic.Int32
		c := r.client("pc01")
		c.askPIN = types(&asked, "123456")
		c.start()
		time.Sleep(time.Second)
		l.set("")
		r.mu.Lock()
		control := c.control
		r.mu.Unlock()
		_ = control.Close()
		r.wait()
		if c.result.Totals.Reconnects != 1 || asked.Load() != 1 || len(l.tried()) != 1 {
			t.Errorf("%d reconnects, asked %d times, tried %q", c.result.Totals.Reconnects, asked.Load(), l.tried())
		}
	})
}

// TestNobodyToAsk: without a way to ask there is an end.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := lockedRoom(t, "123456", 3*crypto.BlockSize)
		defer r.stop()
		c := r.client("pc01").start()
		<-c.done
		if !errors.Is(c.err, ErrRefused) || !strings.Contains(c.err.Error(), "a PIN is wanted") {
			t.Errorf("%v", c.err)
		}
	})
}

// TestHeldChannel: before the PIN a channel gets nothing, whatever it sends; a repeated try is one.
func TestHeldChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, l := lockedRoom(t, "123456", 3*crypto.BlockSize)
		defer r.stop()
		c := r.client("pc01")
		control, err := c.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer control.Close()
		ask := func(m wire.Message) wire.Message {
			t.Helper()
			if err := control.Send(m.Append(nil)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, wire.MaxControl)
			n, err := control.Receive(buf)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := wire.Parse(buf[:n])
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		join := &wire.Join{Request: 1, Package: "w11", MaxPayload: 1472}
		for _, pkg := range []string{"w11", "nothing"} { // not even whether it is there
			join.Package = pkg
			if m, ok := ask(join).(*wire.Refused); !ok || m.Code != wire.PINWanted {
				t.Errorf("%s: %+v", pkg, m)
			}
		}
		for range 5 {
			if m, ok := ask(&wire.Unlock{Request: 1, PIN: "1"}).(*wire.Unlocked); !ok || m.Code != wire.PINWrong || m.Pass != [16]byte{} {
				t.Errorf("%+v", m)
			}
		}
		if m, ok := ask(&wire.Unlock{Request: 2, Pass: [16]byte{1}}).(*wire.Unlocked); !ok || m.Code != wire.PINWanted {
			t.Errorf("a pass of nobody's: %+v", m)
		}
		if m, ok := ask(&wire.Unlock{Request: 3, PIN: "123456"}).(*wire.Unlocked); !ok || m.Code != 0 || m.Pass == [16]byte{} {
			t.Errorf("%+v", m)
		}
		if tried := l.tried(); len(tried) != 2 {
			t.Errorf("tried %q", tried)
		}
		join.Package = "w11"
		if m, ok := ask(join).(*wire.Welcome); !ok {
			t.Errorf("%T", m)
		}
	})
}

// TestMachineOfItsOwn: a certificate with a UUID wants a machine that claims it.
func TestMachineOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1, 3*crypto.BlockSize)
		defer r.stop()
		other := r.client("pc01")
		other.machine, other.bound = 2, 1
		other.start()
		<-other.done
		if !errors.Is(other.err, ErrRefused) || !strings.Contains(other.err.Error(), "is for the machine with UUID 00000000-0000-0000-0000-000000000001") {
			t.Errorf("%v", other.err)
		}
		r.clients = nil
		own := r.client("pc01")
		own.machine, own.bound = 1, 1
		own.start()
		r.wait()
	})
}

// TestPINDeployments: a machine that asks what it may have shows its PIN first, and the join after that asks nobody again.
func TestPINDeployments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, room := lockedRoom(t, "", 4*crypto.BlockSize)
		defer r.stop()
		one := []Deployed{{Name: "lab12", Package: "w11@1", Size: 1 << 30, Digest: crypto.Hash{1}}}
		r.deployed = func(Peer) ([]Deployed, error) { return one, nil }
		c := r.client("pc01")
		control, err := c.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if list, err := Deployments(t.Context(), control, NewKey(nil), func(string) { room.set("123456") }); !errors.Is(err, ErrRefused) || list != nil {
			t.Errorf("without a PIN: %v, %v", list, err)
		}
		asked := 0
		key := NewKey(func(context.Context, string) (string, error) { asked++; return "123456", nil })
		for range 2 {
			if control, err = c.dial(t.Context()); err != nil {
				t.Fatal(err)
			}
			if list, err := Deployments(t.Context(), control, key, nil); err != nil || !slices.Equal(list, one) {
				t.Errorf("with the PIN: %v, %v", list, err)
			}
		}
		if asked != 1 || len(room.tried()) != 1 {
			t.Errorf("asked %d times, %d PINs shown; want one, and the pass after that", asked, len(room.tried()))
		}
	})
}
