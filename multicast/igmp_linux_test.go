package multicast

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What an IGMPv3 group record says (RFC 3376, 4.2.12).
type igmpRecord uint8

const (
	igmpLeave igmpRecord = 3 // change to include: of nobody
	igmpJoin  igmpRecord = 4 // change to exclude: nobody
)

// igmpRobustness is how often a change is reported where no querier says otherwise
// (RFC 3376, 8.1).
const igmpRobustness = 2

// igmpSniffer reads the IGMP reports that reach the sender's end of a cable.
type igmpSniffer struct{ fd int }

func newIGMPSniffer(t *testing.T, c *cable) *igmpSniffer {
	t.Helper()
	s := new(igmpSniffer)
	var err error
	c.tx.do(func() {
		protocol := binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP) // in network order
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16(protocol)))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// await reads until a report for the room's group has a record of the kind wanted.
func (s *igmpSniffer) await(t *testing.T, what string, want igmpRecord) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second) // only a broken run gets there
	buf := make([]byte, 2048)
	for {
		limit := unix.NsecToTimeval(int64(max(time.Until(deadline), time.Millisecond)))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			t.Fatal(os.NewSyscallError("setsockopt", err))
		}
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("no IGMP report that we %s: %v", what, err)
		}
		if records := igmpRecords(buf[:n]); records[want] {
			return
		}
	}
}

// igmpRecords returns the kinds of records for the room's group in an IGMPv3 report.
func igmpRecords(packet []byte) map[igmpRecord]bool {
	found := map[igmpRecord]bool{}
	if len(packet) < 20 || packet[9] != unix.IPPROTO_IGMP {
		return found
	}
	report := packet[int(packet[0]&15)*4:]
	if len(report) < 8 || report[0] != 0x22 {
		return found
	}
	group := roomGroup.Addr().As4()
	for record := report[8:]; len(record) >= 8; {
		if [4]byte(record[4:8]) == group {
			found[igmpRecord(record[0])] = true
		}
		record = record[min(len(record), 8+4*int(binary.BigEndian.Uint16(record[2:]))):]
	}
	return found
}
