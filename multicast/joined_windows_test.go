package multicast

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/windows"
)

// message is a control message as Windows writes it.
func message(level, kind int32, data ...byte) []byte {
	b := make([]byte, (controlHeader+len(data)+wordSize-1)&^(wordSize-1))
	binary.LittleEndian.PutUint32(b, uint32(controlHeader+len(data))) // the rest of the SIZE_T is 0
	binary.LittleEndian.PutUint32(b[wordSize:], uint32(level))
	binary.LittleEndian.PutUint32(b[wordSize+4:], uint32(kind))
	copy(b[controlHeader:], data)
	return b
}

func length(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// TestJoinedSegment: what says how long joined datagrams are is found among other messages, and nothing else is taken for it.
func TestJoinedSegment(t *testing.T) {
	info := func(n uint32) []byte { return message(windows.IPPROTO_UDP, windows.UDP_COALESCED_INFO, length(n)...) }
	other := message(windows.IPPROTO_IP, 19, 1, 2, 3, 4, 5)
	broken := info(1436)
	binary.LittleEndian.PutUint32(broken, 3) // shorter than its own header
	endless := info(1436)
	binary.LittleEndian.PutUint64(endless, 1<<63)
	for _, c := range []struct {
		name    string
		control []byte
		want    int
		ok      bool
	}{
		{"nothing", nil, 0, false},
		{"alone", info(1436), 1436, true},
		{"after another", append(append([]byte(nil), other...), info(1436)...), 1436, true},
		{"before another", append(info(900), other...), 900, true},
		{"another only", other, 0, false},
		{"of another level", message(windows.IPPROTO_IP, windows.UDP_COALESCED_INFO, length(1436)...), 0, false},
		{"of another kind", message(windows.IPPROTO_UDP, 7, length(1436)...), 0, false},
		{"too short for its data", message(windows.IPPROTO_UDP, windows.UDP_COALESCED_INFO, 1, 2), 0, false},
		{"absurdly long datagrams", info(1<<32 - 1), joinedSize, true},
		{"a length below the header", broken, 0, false},
		{"a length beyond all", endless, 1436, true},
	} {
		if got, ok := joinedSegment(c.control); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
	whole := append(append([]byte(nil), other...), info(1436)...)
	for cut := range len(whole) - 4 { // the last four bytes are padding
		if got, ok := joinedSegment(whole[:cut]); ok {
			t.Errorf("cut to %d bytes: %d", cut, got)
		}
	}
}

// TestJoinedSplit: a driver that joins datagrams and doesn't say where they end is seen through by what the interface takes in one packet.
func TestJoinedSplit(t *testing.T) {
	info := func(n uint32) []byte { return message(windows.IPPROTO_UDP, windows.UDP_COALESCED_INFO, length(n)...) }
	j := joined{longest: 1500 - ipUDP}
	for _, c := range []struct {
		name    string
		n       int
		control []byte
		segment int
		ok      bool
	}{
		{"one datagram", 1436, nil, 1436, true},
		{"the longest datagram", 1472, nil, 1472, true},
		{"a run", 10 * 1436, info(1436), 1436, true},
		{"a run with a shorter last", 1436 + 100, info(1436), 1436, true},
		{"one datagram, told", 100, info(1436), 100, true},
		{"told nothing of", 2 * 1436, info(0), 2 * 1436, false},
		{"a run without a word", 2 * 1436, nil, 2 * 1436, false},
		{"datagrams that can't be", 10 * 1473, info(1473), 1473, false},
	} {
		if segment, ok := j.split(c.n, c.control); segment != c.segment || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, segment, ok, c.segment, c.ok)
		}
	}
}

// TestJoinedRead reads by the call that tells of joined datagrams, be they joined or not. One that is longer than the interface takes is
// dropped, and what comes after it is heard.
func TestJoinedRead(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s, r := newSender(t, ifc, g), newReceiver(t, ReceiverConfig{Interface: ifc, Group: g})
	t.Logf("the system joins datagrams: %v", r.reader.joined.on)
	r.reader.joined.on, r.reader.joined.longest = true, 1472
	run, runs := pattern(20, 1436, 1436), make([]Run, 4)
	send(t, s, run, 1436)
	if got, _ := collect(t, r, 20); !bytes.Equal(bytes.Join(got, nil), run) {
		t.Error("other bytes than were sent")
	}
	send(t, s, pattern(1, 3000, 3000), 3000)
	send(t, s, []byte("after it"), 8)
	if got, _ := collect(t, r, 1); string(got[0]) != "after it" {
		t.Errorf("got %d bytes", len(got[0]))
	}
	r.reader.joined.on = true
	if n := testing.AllocsPerRun(20, func() {
		send(t, s, run[:1436], 1436)
		if n, err := r.Receive(runs); err != nil || n != 1 || runs[0].Source != s.Source() {
			t.Errorf("%d runs of %v, %v", n, runs[0].Source, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a datagram", n)
	}
}
