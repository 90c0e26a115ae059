//go:build !linux

package multicast

import (
	"net"
	"net/netip"
)

// growReadBuffer asks for a receive buffer. The system takes any reasonable size
// and doesn't say what it made of it.
func growReadBuffer(conn *net.UDPConn, want int) (got int, err error) {
	for got = want; ; got /= 2 {
		if err = conn.SetReadBuffer(got); err == nil || got < 64<<10 {
			return got, err
		}
	}
}

// batchReader reads one run at a time, which is one datagram where nothing joins them.
type batchReader struct {
	conn   *net.UDPConn
	buffer []byte
	joined joined
}

func (b *batchReader) init(conn *net.UDPConn, mtu int) error {
	b.conn, b.buffer = conn, make([]byte, 64<<10)
	b.joined.init(conn, mtu)
	return nil
}

func (b *batchReader) read(runs []Run) (int, error) {
	for {
		n, segment, from, err := b.joined.read(b.conn, b.buffer)
		if err != nil {
			if passing(err) {
				continue
			}
			return 0, err
		}
		if n > 0 {
			runs[0] = Run{Data: b.buffer[:n], Segment: segment, Source: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
			return 1, nil
		}
	}
}

// dropped isn't told by these systems.
func (*batchReader) dropped() uint64 { return 0 }
