//go:build linux

package prometheus

import (
	"context"
	"io"
	"net"
	"sync"
)

// inside is a place with a network of its own. *lab.Host is one.
type inside interface{ Do(fn func() error) error }

// forward is a way from this machine's loopback to an address in a network of its own: a connection here is one there.
type forward struct {
	listener net.Listener

	mu   sync.Mutex
	host inside
	to   string
	open map[net.Conn]bool
}

func newForward() (*forward, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &forward{listener: listener, open: map[net.Conn]bool{}}
	go f.run()
	return f, nil
}

func (f *forward) address() string { return f.listener.Addr().String() }

// lead says where connections go from now on. Those that are open stay.
func (f *forward) lead(host inside, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.host, f.to = host, to
}

func (f *forward) run() {
	for {
		near, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		go f.carry(near)
	}
}

// carry is one connection. Nobody there closes it here too, as a target that is down does.
func (f *forward) carry(near net.Conn) {
	defer near.Close()
	f.mu.Lock()
	host, to := f.host, f.to
	f.mu.Unlock()
	var far net.Conn
	if host.Do(func() (err error) {
		far, err = (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
		return err
	}) != nil {
		return
	}
	defer far.Close()
	if !f.keep(near, far) {
		return
	}
	defer f.forget(near, far)
	var both sync.WaitGroup
	both.Go(func() { pump(far, near) })
	both.Go(func() { pump(near, far) })
	both.Wait()
}

// pump copies one way until that ends, and then ends the other too.
func pump(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}

// keep notes connections for close; false once that was called.
func (f *forward) keep(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		return false
	}
	for _, c := range conns {
		f.open[c] = true
	}
	return true
}

func (f *forward) forget(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(f.open, c)
	}
}

func (f *forward) close() {
	_ = f.listener.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.open {
		_ = c.Close()
	}
	f.open = nil
}
