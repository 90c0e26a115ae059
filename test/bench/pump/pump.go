//go:build linux

// Package pump is the ceiling that wimcast is measured against: it sends a file to a group as
// wimcast sends one (same reads, same symbols, sealed, UDP_SEGMENT) and receives as wimcast receives
// (UDP_GRO, opened, put together to blocks, hashed, written), and does nothing else: no membership, no
// repair, no rate. What keeps it free of loss is a window: receivers tell how many packets they
// opened, and the sender is never further ahead of the slowest than the window; with a rate, it is paced besides. A packet that
// is lost all the same ends the run.
//
// A receiver may have many sockets, each of which hears, opens and hashes everything and keeps nothing: the
// ceiling of a large room.
package pump

import (
	"encoding/binary"
	"errors"
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
	File      string // to send, or to write; a receiver without one keeps nothing
	Size      int64  // of the file, in bytes; receivers only
	Receivers int    // how many processes to wait for; the sender only
	Sockets   int    // of a receiver; more than one only without a file
	Server    netip.AddrPort
	Hash      bool  // receivers hash each block
	Rate      int64 // bits/s, UDP payload counted, paced as wimcast paces; 0: as fast as it goes; the sender only
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
	run, most := arena[:0], segments*packet
	var pacer *multicast.Pacer
	if c.Rate > 0 {
		pacer = multicast.NewPacer(float64(c.Rate)/8, packet, 0)
		most = min(most, pacer.Burst()/packet*packet)
	}
	flush := func() error {
		for pacer != nil {
			wait := pacer.Take(time.Now(), len(run))
			if wait == 0 {
				break
			}
			time.Sleep(wait)
		}
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
			if len(run) >= most {
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
