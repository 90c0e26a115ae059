//go:build linux

// Package light is many clients in one process: what a large room asks of a server, on a machine that
// couldn't hold as many whole clients.
//
// Each is package session's own receiver: it joins over a control channel of its own, opens every packet, reports, NACKs, tells need
// and is done as any client. It has a socket of its own in the group. What it lacks of a client is the
// disk: nothing that was received is kept. Blocks are hashed all the same, because a receiver
// has no way not to; without loss there is nothing to decode.
package light

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"sync"

	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// dialAtOnce is how many clients shake hands at a time.
const dialAtOnce = 8

// Config says who joins what.
type Config struct {
	Bundle    string // path of a join bundle
	Package   string
	Interface string // to hear the group on
	Clients   int
	First     int // number of the first one: several groups at a time must not claim to be the same machines
}

// Run makes the control channels of all clients, writes a line to out, waits for one from in, and then
// gets the package with all clients at once. It returns when the last one has proven every block.
func Run(ctx context.Context, c Config, in io.Reader, out io.Writer) error {
	bundle, err := keyex.ReadBundle(c.Bundle)
	if err != nil {
		return err
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		return err
	}
	if len(bundle.Servers) == 0 {
		return fmt.Errorf("light clients: %s names no server", c.Bundle)
	}
	server, err := net.ResolveUDPAddr("udp4", bundle.Servers[0])
	if err != nil {
		return fmt.Errorf("light clients: %w", err)
	}
	addr := server.AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	clients := make([]*client, c.Clients)
	err = each(len(clients), dialAtOnce, func(i int) error {
		conn, err := keyex.Dial(ctx, addr, credentials)
		clients[i] = &client{Config: c, number: c.First + i, addr: addr, credentials: credentials, first: conn}
		return err
	})
	if err != nil {
		return fmt.Errorf("light clients: %w", err)
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return fmt.Errorf("light clients: wait for the start: %w", err)
	}
	return each(len(clients), len(clients), func(i int) error { return clients[i].run(ctx) })
}

// each calls do for 0 to n-1, some at once.
func each(n, atOnce int, do func(i int) error) error {
	errs := make([]error, n)
	places := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		running.Go(func() {
			errs[i] = do(i)
			<-places
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// client is one of them.
type client struct {
	Config
	number      int
	addr        netip.AddrPort
	credentials *keyex.Credentials
	first       *keyex.Conn // until the first dial took it
}

func (c *client) run(ctx context.Context) error {
	machine := wire.Machine{Host: fmt.Sprintf("light%03d", c.number), Serial: fmt.Sprintf("light %d", c.number)}
	binary.BigEndian.PutUint64(machine.UUID[:], uint64(c.number)+1)
	receiver := session.NewReceiver(session.ReceiverConfig{
		Package: c.Package, Machine: machine, Dial: c.dial, Hear: c.hear, Target: nowhere{},
	})
	_, err := receiver.Run(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", machine.Host, err)
	}
	return err
}

func (c *client) dial(ctx context.Context) (session.Control, error) {
	if conn := c.first; conn != nil {
		c.first = nil
		return conn, nil
	}
	return keyex.Dial(ctx, c.addr, c.credentials)
}

func (c *client) hear(group netip.AddrPort, source netip.Addr) (session.Hearer, error) {
	ifc, err := multicast.FindInterface(c.Interface, group.Addr())
	if err != nil {
		return nil, err
	}
	return multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: group, Source: source})
}

// nowhere is a target that keeps nothing.
type nowhere struct{}

var _ session.Target = nowhere{}

var errKeepsNothing = errors.New("light clients: nothing is kept to be read again")

// Begin has nothing of an earlier try.
func (nowhere) Begin(crypto.Hash, int64) (iter.Seq[int], []byte, error) { return nil, nil, nil }

// WriteBlock drops the block, which was proven before or will be by its hash.
func (nowhere) WriteBlock(int, []byte) error { return nil }

// ReadBlock fails.
func (nowhere) ReadBlock(int, []byte) (int, error) { return 0, errKeepsNothing }

// WriteAt drops symbols.
func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// ReadAt fails, and so does a client that had more than 256 blocks open.
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, errKeepsNothing }

// Checkpoint makes nothing durable.
func (nowhere) Checkpoint(iter.Seq[int], []byte) error { return nil }

// Finish does nothing.
func (nowhere) Finish() error { return nil }
