package multicast

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cable is two network namespaces with one veth between them:
//
//	sender  veth0 10.77.0.1/24 ───── veth1 10.77.0.2/24  receiver
//
// The namespaces have no names: they go with the threads and descriptors that hold
// them, even when a test dies.
type cable struct {
	tx, rx         *namespace
	sender, hearer *Interface
}

// namespace runs functions on a thread of its own in a network namespace of its own.
type namespace struct {
	calls chan func()
	path  string
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	n := &namespace{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for call := range n.calls {
			call()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(n.calls) })
	return n
}

// do runs call in the namespace and waits for it.
func (n *namespace) do(call func()) {
	done := make(chan struct{})
	n.calls <- func() { defer close(done); call() }
	<-done
}

// run runs a command in the namespace.
func (n *namespace) run(t testing.TB, command string) {
	t.Helper()
	var out []byte
	var err error
	words := strings.Fields(command)
	n.do(func() { out, err = exec.Command(words[0], words[1:]...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}

func needRoot(t testing.TB, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
}

func newCable(t testing.TB) *cable {
	t.Helper()
	needRoot(t, "ip")
	c := &cable{tx: newNamespace(t), rx: newNamespace(t)}
	c.tx.run(t, "ip link add veth0 type veth peer name veth1 netns "+c.rx.path)
	c.tx.run(t, "ip addr add 10.77.0.1/24 dev veth0")
	c.tx.run(t, "ip addr add 10.77.0.3/24 dev veth0")
	c.tx.run(t, "ip link set veth0 up")
	c.rx.run(t, "ip addr add 10.77.0.2/24 dev veth1")
	c.rx.run(t, "ip link set veth1 up")
	c.sender, c.hearer = c.find(t, c.tx), c.find(t, c.rx)
	return c
}

// find waits until the namespace's end of the cable has its carrier: the kernel
// loses what is sent before.
func (c *cable) find(t testing.TB, n *namespace) (ifc *Interface) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { //nolint:forbidigo // the kernel tells of a carrier only when asked
		var err error
		n.do(func() { ifc, err = FindInterface("", roomGroup.Addr()) })
		if err != nil {
			t.Fatal(err)
		}
		if ifc.running {
			return ifc
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s gets no carrier", ifc.Name)
		}
	}
}

var roomGroup = netip.MustParseAddrPort("239.195.16.1:63001")

func (c *cable) newSender(t testing.TB) (s *Sender) {
	t.Helper()
	c.tx.do(func() { s = newSender(t, c.sender, roomGroup) })
	return s
}

func (c *cable) newReceiver(t testing.TB, cfg ReceiverConfig) (r *Receiver) {
	t.Helper()
	cfg.Interface = c.hearer
	if !cfg.Group.IsValid() {
		cfg.Group = roomGroup
	}
	c.rx.do(func() { r = newReceiver(t, cfg) })
	return r
}

func TestCable(t *testing.T) {
	c := newCable(t)
	if c.sender.Name != "veth0" || c.hearer.Name != "veth1" {
		t.Fatalf("found %s and %s", c.sender.Name, c.hearer.Name)
	}
	s := c.newSender(t)
	r := c.newReceiver(t, ReceiverConfig{Source: s.Source().Addr()})
	if got := s.Source().Addr().String(); got != "10.77.0.1" {
		t.Errorf("source %s", got)
	}
	run := pattern(43, 1472, 1000)
	send(t, s, run, 1472)
	got, longest := collect(t, r, 43)
	if !bytes.Equal(bytes.Join(got, nil), run) {
		t.Error("other bytes than were sent")
	}
	if calls := s.Counters().Calls; s.Offload() && (calls != 1 || longest != 43) {
		t.Errorf("sent with %d calls, longest run received %d: want 1 and 43", calls, longest)
	} else if !s.Offload() {
		t.Errorf("this kernel refused UDP_SEGMENT: %+v", s.Counters())
	}
}

// TestCableNotTooLong holds that a datagram longer than the MTU is an error that says
// so, and doesn't cost the offload.
func TestCableNotTooLong(t *testing.T) {
	c := newCable(t)
	s := c.newSender(t)
	for range 2 {
		err := s.Send(pattern(10, 1473, 1473), 1473)
		if err == nil || !strings.Contains(err.Error(), "don't fit veth0, whose MTU is 1500") {
			t.Errorf("got %v", err)
		}
	}
	if !s.Offload() || s.Counters().Errors[SendTooLarge] != 2 || s.Counters().Packets != 0 {
		t.Errorf("offload %t, counters %+v", s.Offload(), s.Counters())
	}
	send(t, s, pattern(10, 1472, 1472), 1472)
}

func TestCableSource(t *testing.T) {
	c := newCable(t)
	s := c.newSender(t)
	other := netip.MustParseAddr("10.77.0.3")
	right := c.newReceiver(t, ReceiverConfig{Source: s.Source().Addr()})
	wrong := c.newReceiver(t, ReceiverConfig{Source: other})
	if !right.SourceSpecific() || !wrong.SourceSpecific() {
		t.Error("no source-specific join")
	}
	filter := readIn(t, c.rx, "mcfilter")
	if !strings.Contains(filter, "0xefc31001 0x0a4d0001") {
		t.Errorf("/proc/net/mcfilter lacks our source:\n%s", filter)
	}
	send(t, s, []byte("from 1"), 6)
	var from3 *Sender
	c.tx.do(func() {
		ifc := *c.sender
		ifc.Prefixes = ifc.Prefixes[1:]
		from3 = newSender(t, &ifc, roomGroup)
	})
	send(t, from3, []byte("from 3"), 6)
	send(t, s, []byte("end"), 6)
	send(t, from3, []byte("end"), 6)
	for r, want := range map[*Receiver]string{right: "from 1", wrong: "from 3"} {
		got, _ := collect(t, r, 2)
		if string(got[0]) != want || string(got[1]) != "end" || len(got) != 2 {
			t.Errorf("got %q, want %q and end", got, want)
		}
	}
}

// TestCableUserSource takes source-specific joining away: the check in user space holds.
func TestCableUserSource(t *testing.T) {
	c := newCable(t)
	s := c.newSender(t)
	r := c.newReceiver(t, ReceiverConfig{})
	r.source = netip.MustParseAddr("10.77.0.3")
	send(t, s, []byte("wrong"), 5)
	var from3 *Sender
	c.tx.do(func() {
		ifc := *c.sender
		ifc.Prefixes = ifc.Prefixes[1:]
		from3 = newSender(t, &ifc, roomGroup)
	})
	send(t, from3, []byte("right"), 5)
	if got, _ := collect(t, r, 1); string(got[0]) != "right" {
		t.Errorf("got %q", got)
	}
}

func TestCableOtherGroup(t *testing.T) {
	c := newCable(t)
	elsewhere := netip.AddrPortFrom(netip.MustParseAddr("239.195.16.2"), roomGroup.Port())
	r := c.newReceiver(t, ReceiverConfig{})
	_ = c.newReceiver(t, ReceiverConfig{Group: elsewhere})
	var other *Sender
	c.tx.do(func() { other = newSender(t, c.sender, elsewhere) })
	send(t, other, []byte("other"), 5)
	send(t, c.newSender(t), []byte("ours"), 4)
	if got, _ := collect(t, r, 1); string(got[0]) != "ours" {
		t.Errorf("got %q", got)
	}
}

// TestCableRejoin watches the membership in the kernel and the IGMP reports on the
// other end of the cable.
func TestCableRejoin(t *testing.T) {
	c := newCable(t)
	sniffer := newIGMPSniffer(t, c)
	r := c.newReceiver(t, ReceiverConfig{})
	const hex = "0110C3EF" // 239.195.16.1 as /proc/net/igmp writes it
	if got := readIn(t, c.rx, "igmp"); !strings.Contains(got, hex) {
		t.Fatalf("not a member after joining:\n%s", got)
	}
	for range igmpRobustness {
		sniffer.await(t, "joined", igmpJoin)
	}
	if err := r.Rejoin(); err != nil {
		t.Fatal(err)
	}
	// Linux thinks better of the leave when a join follows at once; the join is told again.
	sniffer.await(t, "joined again", igmpJoin)
	if got := readIn(t, c.rx, "igmp"); !strings.Contains(got, hex) {
		t.Errorf("not a member after rejoining:\n%s", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	sniffer.await(t, "left", igmpLeave)
	if got := readIn(t, c.rx, "igmp"); strings.Contains(got, hex) {
		t.Errorf("still a member after Close:\n%s", got)
	}
}

func TestCableDrops(t *testing.T) {
	c := newCable(t)
	s := c.newSender(t)
	r := c.newReceiver(t, ReceiverConfig{ReadBuffer: 64 << 10})
	const packets = 2000
	s.offload = false // each drop is one datagram
	for range packets / 40 {
		send(t, s, pattern(40, 1400, 1400), 1400)
	}
	dropped := r.Dropped()
	if dropped == 0 || dropped >= packets {
		t.Fatalf("%d of %d dropped by a 64 KiB buffer", dropped, packets)
	}
	got, _ := collect(t, r, packets-int(dropped))
	if len(got) != packets-int(dropped) {
		t.Errorf("%d sent, %d dropped, %d received", packets, dropped, len(got))
	}
	if r.Dropped() != dropped {
		t.Errorf("%d dropped now, %d before", r.Dropped(), dropped)
	}
	if err := r.Close(); err != nil || r.Dropped() != dropped {
		t.Errorf("after Close: %d dropped, %v", r.Dropped(), err)
	}
}

// TestCableReadBuffer holds that root gets what it asks for, beyond rmem_max.
func TestCableReadBuffer(t *testing.T) {
	c := newCable(t)
	r := c.newReceiver(t, ReceiverConfig{ReadBuffer: 16 << 20})
	if r.ReadBufferGot() != 16<<20 || r.ReadBufferAsked() != 16<<20 {
		t.Errorf("got %d of %d", r.ReadBufferGot(), r.ReadBufferAsked())
	}
}

// TestCableDown holds that a link that goes down is an error and that the Sender
// works again when it comes back.
func TestCableDown(t *testing.T) {
	c := newCable(t)
	s, r := c.newSender(t), c.newReceiver(t, ReceiverConfig{})
	c.tx.run(t, "ip link set veth0 down")
	if err := s.Send([]byte("lost"), 4); err == nil || !strings.Contains(err.Error(), "on veth0") {
		t.Errorf("got %v", err)
	}
	if n := s.Counters().Errors[SendNetwork]; n != 1 {
		t.Errorf("%d network errors", n)
	}
	c.tx.run(t, "ip link set veth0 up")
	sent := make(chan struct{})
	go func() {
		for {
			_ = s.Send([]byte("back"), 4) // lost until the carrier is there again
			select {
			case <-sent:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	if got, _ := collect(t, r, 1); string(got[0]) != "back" {
		t.Errorf("got %q", got)
	}
	sent <- struct{}{}
}

func readIn(t testing.TB, n *namespace, file string) string {
	t.Helper()
	var b []byte
	var err error
	n.do(func() { b, err = os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/%s", unix.Gettid(), file)) })
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
