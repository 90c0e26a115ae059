package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/multicast/igmp"
	"wimcast/multicast/wire"
)

// Constants of a probe.
const (
	// ipHeaders is what IPv4 and UDP put before a payload, in bytes.
	ipHeaders = 20 + 8
	// askTries and askWait bound how long a burst is asked for.
	askTries = 20
	askWait  = 150 * time.Millisecond
	// slack is how late packets may come: of a busy machine, or a long queue.
	slack = 700 * time.Millisecond
	// probeRuns is how many runs are read at a time.
	probeRuns = 32
)

// anyGroup stands for a group where only its family counts.
var anyGroup = netip.AddrFrom4([4]byte{239, 195, 16, 1})

// group says whether a group arrives.
func (e *examination) group(ctx context.Context, conn *keyex.Conn) {
	local := conn.LocalAddr().Addr().Unmap()
	ifc, err := e.Interface(local, anyGroup)
	if err != nil {
		e.fault(Fail, "interface", fault.JoinFailed(err))
		return
	}
	e.say(OK, "interface", "%s, %v, MTU %d", ifc.Name, ifc.Addr(anyGroup), ifc.MTU)
	switch version, err := igmp.Version(ifc.Name); {
	case err != nil:
		e.say(Skip, "igmp", "which version this machine speaks isn't told here")
	case version < 3:
		e.fault(Warn, "igmp", fault.OldIGMP(ifc.Name, version))
	default:
		e.say(OK, "igmp", "%s speaks IGMPv%d", ifc.Name, version)
	}
	granted, refused, over, err := askProbe(ctx, conn, ifc.MTU-ipHeaders)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.say(Skip, "group", "the distribution point doesn't answer when asked for a probe burst (%v); is it of the same version?", err)
		return
	case refused != nil:
		e.say(Skip, "group", "no probe burst: %s", refused.Text)
		return
	}
	e.ceiling = granted.Ceiling
	if int(granted.SessionSize) > ifc.MTU-ipHeaders {
		e.fault(Fail, "size", fault.PacketsTooLarge(int(granted.SessionSize), ifc.MTU-ipHeaders))
	}
	m, err := e.measure(ctx, ifc, granted, over)
	if err != nil {
		if ctx.Err() == nil {
			e.fault(Fail, "group", fault.JoinFailed(err))
		}
		return
	}
	if m.asked > m.granted {
		e.fault(Warn, "receive buffer", fault.ReceiveBuffer(m.asked, m.granted))
	} else {
		e.say(OK, "receive buffer", "%d KiB, as asked for", m.granted>>10)
	}
	for _, f := range judge(granted, m, local) {
		e.tell(f)
	}
}

// askProbe asks for a burst until there is an answer. When it is granted, over brings how many packets were sent, once it is over.
func askProbe(ctx context.Context, conn *keyex.Conn, maxPayload int) (granted *wire.ProbeGranted, refused *wire.ProbeRefused, over <-chan uint32, err error) {
	wanted := &wire.ProbeWanted{Request: uint32(time.Now().UnixNano()), MaxPayload: uint16(min(max(maxPayload, 0), 65_507))}
	answers, ends := make(chan wire.Message, 1), make(chan uint32, 1)
	go func() { // ends with the channel, which the caller closes
		buf := make([]byte, keyex.MaxMessage)
		for {
			n, err := conn.Receive(buf)
			if err != nil {
				return
			}
			m, err := wire.Parse(buf[:n])
			if err != nil {
				continue
			}
			switch m := m.(type) {
			case *wire.ProbeGranted:
				if m.Request != wanted.Request {
					continue
				}
			case *wire.ProbeRefused:
				if m.Request != wanted.Request {
					continue
				}
			case *wire.ProbeSent:
				if m.Request == wanted.Request {
					select {
					case ends <- m.Packets:
					default: // told again
					}
				}
				continue
			default:
				continue
			}
			select {
			case answers <- m:
			default: // the same again
			}
		}
	}()
	for range askTries {
		if err := conn.Send(wanted.Append(nil)); err != nil {
			return nil, nil, nil, err
		}
		timer := time.NewTimer(askWait)
		select {
		case m := <-answers:
			timer.Stop()
			if granted, is := m.(*wire.ProbeGranted); is {
				return granted, nil, ends, nil
			}
			return nil, m.(*wire.ProbeRefused), nil, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
	return nil, nil, nil, fmt.Errorf("no answer in %v", askTries*askWait)
}

// measured is what of a burst arrived.
type measured struct {
	interfaceName  string
	arrived        []bool // by packet, from 0; as many as were sent
	bytes          uint64 // UDP payload of them
	first, last    time.Time
	foreign        uint64 // datagrams in the group that aren't the burst's
	drops          uint64 // times that the receive buffer overflowed
	asked, granted int    // receive buffer, in bytes
	specific       bool   // the group was joined for the source alone
	anySource      bool   // nothing came by then, and it was joined for any source besides
	anyHelped      bool   // then it came
	card           uint64 // packets that came in at the card meanwhile
	cardKnown      bool
}

// measure joins the group, and listens until the burst is over, as over says.
func (e *examination) measure(ctx context.Context, ifc *multicast.Interface, g *wire.ProbeGranted, over <-chan uint32) (*measured, error) {
	arrived := time.Now()
	l := &ears{grant: g, m: &measured{interfaceName: ifc.Name, arrived: make([]bool, g.Packets)}, whole: make(chan struct{})}
	before, known := cardCount(ifc)
	first, err := l.listen(multicast.ReceiverConfig{Interface: ifc, Group: g.Group, Source: g.Source, ReadBuffer: e.ReadBuffer})
	if err != nil {
		return nil, err
	}
	defer l.close()
	l.m.granted, l.m.asked, l.m.specific = first.ReadBufferGot(), first.ReadBufferAsked(), first.SourceSpecific()
	half := time.NewTimer(time.Until(arrived.Add(g.Start + g.Length/2)))
	defer half.Stop()
	end := time.NewTimer(time.Until(arrived.Add(g.Start + 2*g.Length + 2*slack))) // nobody says that it is over
	defer end.Stop()
	sent := g.Packets
	for done := false; !done; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-half.C:
			if l.m.specific && l.count() == 0 {
				if _, err := l.listen(multicast.ReceiverConfig{Interface: ifc, Group: g.Group, ReadBuffer: e.ReadBuffer}); err == nil {
					l.lock.Lock()
					l.m.anySource = true
					l.lock.Unlock()
				}
			}
		case sent = <-over:
			sent, over = min(sent, g.Packets), nil
			end.Reset(slack)
		case <-l.whole:
			done = true
		case <-end.C:
			done = true
		}
	}
	after, still := cardCount(ifc)
	l.close()
	l.m.card, l.m.cardKnown = after-before, known && still && after >= before
	l.m.anyHelped = l.m.anySource && l.got > 0
	l.m.arrived = l.m.arrived[:sent]
	return l.m, nil
}

// ears hear a burst by one or two sockets.
type ears struct {
	grant *wire.ProbeGranted
	whole chan struct{} // closed when all of it has arrived

	lock      sync.Mutex // guards what follows
	m         *measured
	got       int
	keys      *crypto.Keys
	receivers []*multicast.Receiver
	running   sync.WaitGroup
}

// listen opens a receiver and reads it in a goroutine.
func (l *ears) listen(cfg multicast.ReceiverConfig) (*multicast.Receiver, error) {
	r, err := multicast.NewReceiver(cfg)
	if err != nil {
		return nil, err
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.keys == nil {
		l.keys = crypto.NewKeys(crypto.Encrypted, l.grant.Session, crypto.Hash{}, l.grant.Secret, 1)
	}
	l.receivers = append(l.receivers, r)
	l.running.Go(func() {
		runs := make([]multicast.Run, probeRuns)
		for {
			n, err := r.Receive(runs)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			now := time.Now()
			l.lock.Lock()
			for _, run := range runs[:n] {
				for data := run.Data; len(data) > 0; {
					packet := data[:min(run.Segment, len(data))]
					data = data[len(packet):]
					l.take(now, packet)
				}
			}
			l.lock.Unlock()
		}
	})
	return r, nil
}

// take counts a packet if it is one of the burst's. The caller holds the lock.
func (l *ears) take(now time.Time, packet []byte) {
	size := len(packet)
	h, err := wire.ParseHeader(packet)
	g := l.grant
	if err != nil || h.Kind != wire.KindProbe || h.Number < 1 || h.Number > uint64(g.Packets) || size != int(g.Sizes[(h.Number-1)%uint64(len(g.Sizes))]) {
		l.m.foreign++
		return
	}
	if l.m.arrived[h.Number-1] {
		return // the other socket's, or repeated on the way
	}
	if _, err := l.keys.Open(packet, wire.HeaderLen, h.Number); err != nil {
		l.m.foreign++
		return
	}
	l.m.arrived[h.Number-1] = true
	l.m.bytes += uint64(size)
	if l.got++; l.got == 1 {
		l.m.first = now
	}
	l.m.last = now
	if l.got == len(l.m.arrived) {
		close(l.whole)
	}
}

func (l *ears) count() int {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.got
}

// close ends the listening. It may be called again.
func (l *ears) close() {
	l.lock.Lock()
	receivers := l.receivers
	l.receivers = nil
	l.lock.Unlock()
	for _, r := range receivers {
		l.m.drops += r.Dropped()
		_ = r.Close()
	}
	l.running.Wait()
}
