package multicast

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// TestWatcher: another machine's packets are heard, and our own aren't even looped back.
func TestWatcher(t *testing.T) {
	c := newCable(t)
	group := netip.MustParseAddrPort("239.195.16.77:63077")
	own := netip.MustParseAddr("10.77.0.1")
	var w *Watcher
	var mine, other *Sender
	var errs []error
	c.tx.do(func() {
		var err, err2 error
		w, err = NewWatcher(c.sender, group, own)
		mine, err2 = NewSender(SenderConfig{Interface: c.sender, Group: group, Loopback: true})
		errs = append(errs, err, err2)
	})
	c.rx.do(func() {
		var err error
		other, err = NewSender(SenderConfig{Interface: c.hearer, Group: group})
		errs = append(errs, err)
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := mine.Send([]byte("own"), 3); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Send([]byte("other"), 5); err != nil {
		t.Fatal(err)
	}
	if n, from, err := w.conn.ReadFromUDPAddrPort(w.buf); err != nil || string(w.buf[:n]) != "other" || from.Addr() != netip.MustParseAddr("10.77.0.2") {
		t.Fatalf("the first packet is %q from %v, %v", w.buf[:n], from, err)
	}
	if err := other.Send([]byte("again"), 5); err != nil {
		t.Fatal(err)
	}
	if from, err := w.Next(); err != nil || from.Addr() != netip.MustParseAddr("10.77.0.2") {
		t.Fatalf("%v, %v", from, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}
