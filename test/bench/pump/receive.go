//go:build linux

package pump

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// Receive receives one file and returns when it is written, or when every socket has heard all of it.
func Receive(c Config) error {
	write := func(data []byte, _ int64) error { return nil }
	if c.File != "" {
		f, err := os.OpenFile(c.File, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := f.Truncate(c.Size); err != nil {
			return err
		}
		write = func(data []byte, at int64) error {
			_, err := f.WriteAt(data, at)
			return err
		}
	} else if c.Sockets < 1 {
		return fmt.Errorf("pump: %d sockets", c.Sockets)
	}
	ifc, err := multicast.FindInterface(c.Interface, c.Group.Addr())
	if err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(c.Server))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	t := &teller{conn: conn, reached: make([]atomic.Int32, last(c.Size)/acknowledge+2), sockets: int32(max(c.Sockets, 1)), begun: make(chan struct{})}
	ended := make(chan error, t.sockets)
	for range t.sockets {
		receiver, err := multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: c.Group, Source: c.Server.Addr()})
		if err != nil {
			return err
		}
		defer func() { _ = receiver.Close() }()
		r := &receiving{c: c, write: write, teller: t, keys: keys(), receiver: receiver, full: make(chan filled, 8), free: make(chan []byte, 10), ended: make(chan error, 1)}
		for range cap(r.free) {
			r.free <- make([]byte, crypto.BlockSize+symbol)
		}
		go r.prove()
		go func() { ended <- r.run() }()
	}
	go t.hello()
	for range t.sockets {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

// last returns the number of the last packet of a file.
func last(size int64) uint64 {
	n := uint64(0)
	for b := range crypto.BlockCount(size) {
		n += uint64(symbolsOf(size, b))
	}
	return n
}

// teller tells the sender how far the last of the sockets is. Every socket passes the same marks,
// one each acknowledge packets and the last one.
type teller struct {
	conn    *net.UDPConn
	sockets int32
	reached []atomic.Int32 // how many sockets have passed each mark
	begun   chan struct{}  // closed with the first packet heard
	once    sync.Once
}

// passed says that a socket has passed the marks after from up to to, the latter at so many packets opened.
func (t *teller) passed(from, to int, opened uint64) {
	slowest := false
	for mark := from + 1; mark <= to; mark++ {
		slowest = t.reached[mark].Add(1) == t.sockets
	}
	if slowest {
		t.tell(opened)
	}
}

func (t *teller) tell(opened uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], opened)
	_, _ = t.conn.Write(b[:])
}

// hello tells the sender that all sockets are there, until the first packet comes.
func (t *teller) hello() {
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		t.tell(0)
		select {
		case <-t.begun:
			return
		case <-tick.C:
		}
	}
}

// receiving is one socket: run opens packets and puts blocks together, prove hashes and writes them.
type receiving struct {
	c        Config
	write    func(data []byte, at int64) error
	teller   *teller
	keys     *crypto.Keys
	receiver *multicast.Receiver
	full     chan filled
	free     chan []byte
	ended    chan error

	opened uint64
	marks  int // passed
	block  int
	have   int
	buf    []byte
}

type filled struct {
	block int
	data  []byte
}

func (r *receiving) run() error {
	runs := make([]multicast.Run, 32)
	r.buf = <-r.free
	for r.block < crypto.BlockCount(r.c.Size) {
		n, err := r.receiver.Receive(runs)
		if err != nil {
			return err
		}
		if r.opened == 0 {
			r.teller.once.Do(func() { close(r.teller.begun) })
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
		if to := int(r.opened / acknowledge); to > r.marks {
			r.teller.passed(r.marks, to, uint64(to)*acknowledge)
			r.marks = to
		}
	}
	r.teller.passed(r.marks, len(r.teller.reached)-1, r.opened)
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
		if err := r.write(data, int64(b.block)*crypto.BlockSize); err != nil {
			r.ended <- err
			return
		}
		r.free <- b.data
	}
	r.ended <- nil
}
