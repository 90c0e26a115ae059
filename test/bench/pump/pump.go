//go:build linux

// Package pump is the ceiling that wimcast is measured against: it sends a file to a group as
// wimcast sends one (same reads, same symbols, sealed, UDP_SEGMENT) and receives as wimcast receives
// (UDP_GRO, opened, put together to blocks, hashed, written), and does nothing else: no membership, no
// repair, no rate. What keeps it free of loss is a window: receivers tell how many packets they
// opened, and the sender is never further ahead of the slowest than the window. A packet that
// is lost all the same ends the run.
package pump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// Constants of the pump.
const (
	// symbol and overhead are those of wimcast on Ethernet.
	symbol   = 1408
	overhead = wire.HeaderLen + wire.SymbolHeaderLen + crypto.Overhead
	packet   = overhead + symbol
	// segments is how many packets a run has.
	segments = 44
	// window is how many packets the sender may be ahead, acknowledge how often receivers tell.
	// The window is shorter than the kernel's queue of packets between two machines, 1000.
	window      = 512
	acknowledge = 64

	firstContact = 10 * time.Second
	silence      = 3 * time.Second
	helloEvery   = 20 * time.Millisecond
)

// Config says what to pump where.
type Config struct {
	Interface string
	Group     netip.AddrPort
	File      string // to send, or to write
	Size      int64  // of the file, in bytes; receivers only
	Receivers int    // how many to wait for; the sender only
	Server    netip.AddrPort
	Hash      bool // receivers hash each block
}

// keys returns the keys of every run: both ends are the bench's own.
func keys() *crypto.Keys {
	return crypto.NewKeys(crypto.Encrypted, crypto.SessionID{1}, crypto.Hash{2}, crypto.Secret{3}, 1)
}

func symbolsOf(size int64, block int) int {
	return (crypto.BlockLen(size, block) + symbol - 1) / symbol
}

// Send sends the file once to all receivers and returns when the last one has opened every packet.
func Send(c Config) error {
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	ifc, err := multicast.FindInterface(c.Interface, c.Group.Addr())
	if err != nil {
		return err
	}
	sender, err := multicast.NewSender(multicast.SenderConfig{Interface: ifc, Group: c.Group})
	if err != nil {
		return err
	}
	defer func() { _ = sender.Close() }()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(c.Server))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	acks := newAcks(conn, c.Receivers)
	if err := acks.wait(0, firstContact); err != nil {
		return err
	}
	size, k := info.Size(), keys()
	block, arena := make([]byte, crypto.BlockSize+symbol), make([]byte, segments*packet)
	number := uint64(1)
	run := arena[:0]
	flush := func() error {
		if err := sender.Send(run, packet); err != nil {
			return err
		}
		run = arena[:0]
		if number > window {
			return acks.wait(number-window, silence)
		}
		return nil
	}
	for b := range crypto.BlockCount(size) {
		n := crypto.BlockLen(size, b)
		if _, err := f.ReadAt(block[:n], int64(b)*crypto.BlockSize); err != nil {
			return err
		}
		clear(block[n:])
		for i := range symbolsOf(size, b) {
			p := run[len(run) : len(run)+packet-crypto.Overhead]
			wire.Header{Kind: wire.KindSymbol, Epoch: 1, Sent: uint32(time.Now().UnixMicro()), Number: number}.Put(p)
			wire.PutSymbol(p[wire.HeaderLen:], uint32(b), uint8(i), 0)
			copy(p[wire.HeaderLen+wire.SymbolHeaderLen:], block[i*symbol:][:symbol])
			run = run[:len(run)+len(k.Seal(p, wire.HeaderLen, number))]
			number++
			if len(run) == len(arena) {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return acks.wait(number-1, silence)
}

// acks is how far each receiver is.
type acks struct {
	mu    sync.Mutex
	opens map[netip.AddrPort]uint64
	want  int
	moved chan struct{}
}

func newAcks(conn *net.UDPConn, receivers int) *acks {
	a := &acks{opens: map[netip.AddrPort]uint64{}, want: receivers, moved: make(chan struct{}, 1)}
	go func() {
		var b [8]byte
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b[:])
			if err != nil {
				return
			}
			if n != len(b) {
				continue
			}
			a.mu.Lock()
			a.opens[from] = max(a.opens[from], binary.BigEndian.Uint64(b[:]))
			a.mu.Unlock()
			select {
			case a.moved <- struct{}{}:
			default:
			}
		}
	}()
	return a
}

// least returns what all receivers have opened; false while some haven't said a word.
func (a *acks) least() (uint64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	least := ^uint64(0)
	for _, n := range a.opens {
		least = min(least, n)
	}
	return least, len(a.opens) >= a.want
}

// wait waits until all have opened n packets.
func (a *acks) wait(n uint64, patience time.Duration) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		if least, all := a.least(); all && least >= n {
			return nil
		}
		select {
		case <-a.moved:
		case <-timeout.C:
			return errors.New("pump: a packet got lost, or a receiver is missing")
		}
	}
}

// Receive receives one file and returns when it is written.
func Receive(c Config) error {
	f, err := os.OpenFile(c.File, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(c.Size); err != nil {
		return err
	}
	ifc, err := multicast.FindInterface(c.Interface, c.Group.Addr())
	if err != nil {
		return err
	}
	receiver, err := multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: c.Group, Source: c.Server.Addr()})
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Close() }()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(c.Server))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	r := &receiving{c: c, f: f, conn: conn, keys: keys(), receiver: receiver, full: make(chan filled, 8), free: make(chan []byte, 10), ended: make(chan error, 1)}
	for range cap(r.free) {
		r.free <- make([]byte, crypto.BlockSize+symbol)
	}
	go r.prove()
	return r.run()
}

// receiving is one receiver: run opens packets and puts blocks together, prove hashes and writes them.
type receiving struct {
	c        Config
	f        *os.File
	conn     *net.UDPConn
	keys     *crypto.Keys
	receiver *multicast.Receiver
	full     chan filled
	free     chan []byte
	ended    chan error

	opened, told uint64
	block        int
	have         int
	buf          []byte
}

type filled struct {
	block int
	data  []byte
}

func (r *receiving) tell() {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], r.opened)
	_, _ = r.conn.Write(b[:])
	r.told = r.opened
}

func (r *receiving) run() error {
	hello := make(chan struct{})
	go func() { // until the first packet comes
		tick := time.NewTicker(helloEvery)
		defer tick.Stop()
		for {
			var b [8]byte
			_, _ = r.conn.Write(b[:])
			select {
			case <-hello:
				return
			case <-tick.C:
			}
		}
	}()
	runs := make([]multicast.Run, 32)
	r.buf = <-r.free
	for r.block < crypto.BlockCount(r.c.Size) {
		n, err := r.receiver.Receive(runs)
		if err != nil {
			return err
		}
		if r.opened == 0 {
			close(hello)
		}
		for _, run := range runs[:n] {
			for data := run.Data; len(data) > 0; {
				length := min(run.Segment, len(data))
				if err := r.open(data[:length]); err != nil {
					return err
				}
				data = data[length:]
			}
		}
		if r.opened-r.told >= acknowledge {
			r.tell()
		}
	}
	r.tell()
	close(r.full)
	return <-r.ended
}

// open takes one packet.
func (r *receiving) open(p []byte) error {
	header, err := wire.ParseHeader(p)
	if err != nil {
		return err
	}
	payload, err := r.keys.Open(p, wire.HeaderLen, header.Number)
	if err != nil {
		return err
	}
	s, err := wire.ParseSymbol(payload)
	if err != nil {
		return err
	}
	r.opened++
	if int(s.Block) != r.block || header.Number != r.opened {
		return fmt.Errorf("pump: packet %d came in place of %d: something was lost", header.Number, r.opened)
	}
	copy(r.buf[int(s.Index)*symbol:], s.Data)
	if r.have++; r.have == symbolsOf(r.c.Size, r.block) {
		r.full <- filled{r.block, r.buf}
		r.buf = <-r.free
		r.have = 0
		r.block++
	}
	return nil
}

// prove hashes and writes blocks.
func (r *receiving) prove() {
	var sum crypto.Hash
	for b := range r.full {
		data := b.data[:crypto.BlockLen(r.c.Size, b.block)]
		if r.c.Hash {
			h := crypto.BlockHash(data)
			for i := range sum {
				sum[i] ^= h[i]
			}
		}
		if _, err := r.f.WriteAt(data, int64(b.block)*crypto.BlockSize); err != nil {
			r.ended <- err
			return
		}
		r.free <- b.data
	}
	r.ended <- nil
}
