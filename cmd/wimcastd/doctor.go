package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/library"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/multicast/igmp"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// Constants of the doctor's judgement.
const (
	// endsSoon is when a credential's end is told of: as docs/metrics.md alerts.
	endsSoon = 30 * 24 * time.Hour
	// spaceLow is less than an image or two take, in bytes.
	spaceLow = 10_000_000_000
	// diskTime bounds how long the library is read.
	diskTime = time.Second
	// strangerNow is how lately another sender must have been heard to be a failure and not a thing of the past.
	strangerNow = 10 * time.Minute
	// querierLook is how often it is looked at whether a querier is missing.
	querierLook = 10 * time.Second
)

// findings collects what the doctor finds.
type findings []api.Finding

func (f *findings) add(state, check, format string, args ...any) {
	*f = append(*f, api.Finding{State: state, Check: check, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) fault(state, check string, what fault.Fault) {
	*f = append(*f, api.Finding{State: state, Check: check, Text: what.Text, Next: what.Next, Fault: string(what.Kind)})
}

// doctor looks at the daemon and its machine. It changes nothing.
func (d *distributionPoint) doctor(ctx context.Context) api.Doctor {
	host, _ := os.Hostname()
	out := api.Doctor{Side: "server", Host: host}
	now := time.Now()
	f := (*findings)(&out.Findings)
	for _, one := range d.networks.list {
		d.examineNetwork(f, now, one)
	}
	d.examineGroups(f, now)
	if stats := d.listener.Stats(); stats.ReceiveBuffer < stats.ReceiveBufferAsked {
		f.fault(api.FindingWarn, "receive buffer", fault.ReceiveBuffer(stats.ReceiveBufferAsked, stats.ReceiveBuffer))
	} else {
		f.add(api.FindingOK, "receive buffer", "the control channel has %d KiB, as it asked for", stats.ReceiveBuffer>>10)
	}
	d.examineLibrary(ctx, f)
	d.examineCredentials(f, now)
	if d.config().Doctor.Probe {
		f.add(api.FindingOK, "probe", "clients may have probe bursts, one a minute for a network")
	} else {
		f.add(api.FindingSkip, "probe", "probe bursts are forbidden (doctor.probe = false): clients can't say whether multicast gets to them")
	}
	return out
}

// examineNetwork looks at one interface.
func (d *distributionPoint) examineNetwork(f *findings, now time.Time, one *network) {
	ifc, err := multicast.FindInterface(one.name, anyGroup)
	if err == nil && !ifc.Running() {
		err = fmt.Errorf("%s has no carrier", one.name)
	}
	if err != nil {
		f.fault(api.FindingFail, "interface", fault.InterfaceDown(one.name, err))
		return
	}
	speed := ifc.Speed()
	carries := "doesn't tell its speed"
	if speed > 0 {
		carries = fmt.Sprintf("%d Mbit/s", speed/1_000_000)
	}
	f.add(api.FindingOK, "interface", "%s is up: %v, MTU %d, %s", ifc.Name, ifc.Addr(anyGroup), ifc.MTU, carries)
	ceiling := d.ceilingOf(d.config())
	switch {
	case speed == 0:
		f.add(api.FindingSkip, "ceiling", "sessions send up to %.0f Mbit/s; whether %s carries that isn't known", ceiling*8/1e6, ifc.Name)
	case ceiling*8 > float64(speed):
		f.fault(api.FindingWarn, "ceiling", fault.CeilingAboveSpeed(ifc.Name, ceiling, speed))
	default:
		f.add(api.FindingOK, "ceiling", "sessions send up to %.0f of %s's %.0f Mbit/s", ceiling*8/1e6, ifc.Name, float64(speed)/1e6)
	}
	switch version, err := igmp.Version(ifc.Name); {
	case err != nil:
		f.add(api.FindingSkip, "igmp", "%v", err)
	case version < 3:
		f.fault(api.FindingWarn, "igmp", fault.OldIGMP(ifc.Name, version))
	default:
		f.add(api.FindingOK, "igmp", "%s speaks IGMPv%d", ifc.Name, version)
	}
	d.examineQuerier(f, now, one)
}

// examineQuerier says what is known of an interface's querier.
func (d *distributionPoint) examineQuerier(f *findings, now time.Time, one *network) {
	latest, _, since := d.queriers.heard(one)
	state, long := d.queriers.state(now, one)
	switch {
	case one.ifc.Load().Loopback:
		f.add(api.FindingSkip, "querier", "%s needs none: nothing leaves this machine", one.name)
	case d.queriers.listener == nil:
		f.add(api.FindingSkip, "querier", "can't be heard without CAP_NET_RAW (%v); next: start wimcastd by its systemd unit, or as root", d.queriers.why)
	case state == wire.QuerierHeard && !latest.From.IsUnspecified():
		f.add(api.FindingOK, "querier", "%v asked on %s %.0f s ago (IGMPv%d)", latest.From, one.name, long.Seconds(), latest.Version)
	case state == wire.QuerierHeard:
		f.add(api.FindingOK, "querier", "the switch itself asked on %s %.0f s ago (IGMPv%d, without an address)", one.name, long.Seconds(), latest.Version)
	case state == wire.QuerierNone:
		f.fault(api.FindingFail, "querier", fault.NoQuerier(one.name, long))
	default:
		f.add(api.FindingSkip, "querier", "none heard on %s yet, in %.0f s of listening; it takes %.0f s to know; next: ask again then", one.name, now.Sub(since).Seconds(), igmp.QueryEvery.Seconds())
	}
}

// examineGroups looks at the pool and at who else sends to it.
func (d *distributionPoint) examineGroups(f *findings, now time.Time) {
	m := &d.cfg.Multicast
	if _, err := parseGroups(m.Groups); err != nil {
		f.fault(api.FindingFail, "groups", fault.SharedMAC(err.Error()))
	} else {
		f.add(api.FindingOK, "groups", "%s: no two groups share a MAC address, and none has one of 224.0.0.x", m.Groups)
	}
	heard := d.networks.strangers.list()
	for _, x := range heard {
		state := api.FindingWarn
		if now.Sub(x.last) < strangerNow {
			state = api.FindingFail
		}
		what := fault.SecondServer(x.group, x.addr)
		what.Text += fmt.Sprintf(" (heard on %s, last %.0f s ago)", x.interfaceName, now.Sub(x.last).Seconds())
		f.fault(state, "other servers", what)
	}
	if len(heard) == 0 {
		f.add(api.FindingOK, "other servers", "no other machine was heard on a group while we used it")
	}
	var on []string
	for _, one := range d.networks.list {
		for _, p := range one.ifc.Load().Prefixes {
			if p.Addr().Is4() {
				on = append(on, p.Masked().String())
			}
		}
	}
	if m.TTL == 1 {
		f.add(api.FindingOK, "ttl", "1: groups stay on %s; machines on other networks go unicast", strings.Join(on, ", "))
	} else {
		f.add(api.FindingOK, "ttl", "%d: groups leave %s where routers forward multicast (PIM)", m.TTL, strings.Join(on, ", "))
	}
}

// examineLibrary looks at the disk.
func (d *distributionPoint) examineLibrary(ctx context.Context, f *findings) {
	folder := filepath.Join(d.cfg.State, "library")
	if free := d.free(); free < spaceLow {
		f.fault(api.FindingWarn, "space", fault.LittleSpace(folder, free))
	} else {
		f.add(api.FindingOK, "space", "%.1f GB free", float64(free)/1e9)
	}
	if running, _ := d.sessions.Sessions(); len(running) > 0 {
		f.add(api.FindingSkip, "disk", "not read while sessions run (%d)", len(running))
		return
	}
	var largest *library.Package
	for _, p := range d.library.List() {
		if p.OutOfService == "" && (largest == nil || p.Size > largest.Size) {
			largest = &p
		}
	}
	if largest == nil {
		f.add(api.FindingSkip, "disk", "no image to read yet; next: wimcast image add")
		return
	}
	rate, err := d.readRate(ctx, largest)
	ceiling := d.ceilingOf(d.config())
	switch {
	case err != nil:
		f.fault(api.FindingFail, "disk", fault.LibraryFailed(largest.Reference(), err))
	case rate < ceiling:
		f.fault(api.FindingWarn, "disk", fault.LibrarySlow(rate, ceiling))
	default:
		f.add(api.FindingOK, "disk", "the library gives %.0f MB/s, proven (memory may have had some of it); sessions send up to %.0f", rate/1e6, ceiling/1e6)
	}
}

// readRate reads blocks of a package from some place on, for diskTime, and returns bytes/s.
func (d *distributionPoint) readRate(ctx context.Context, p *library.Package) (float64, error) {
	content, err := d.library.OpenContent(p.Reference())
	if err != nil {
		return 0, err
	}
	defer func() { _ = content.Close() }()
	blocks := int((content.Size() + crypto.BlockSize - 1) / crypto.BlockSize)
	if blocks == 0 {
		return 0, nil
	}
	buf := make([]byte, crypto.BlockSize)
	from, read := rand.IntN(blocks), 0
	start := time.Now()
	for i := range blocks {
		n, err := content.ReadBlock((from+i)%blocks, buf)
		if err != nil {
			return 0, err
		}
		read += n
		if ctx.Err() != nil || time.Since(start) >= diskTime {
			break
		}
	}
	return float64(read) / max(time.Since(start), time.Microsecond).Seconds(), nil
}

// examineCredentials looks at when certificates end.
func (d *distributionPoint) examineCredentials(f *findings, now time.Time) {
	server, ca := d.trust.Expiry()
	fine := true
	look := func(what string, end time.Time) {
		switch {
		case now.After(end):
			fine = false
			f.fault(api.FindingFail, "certificates", fault.Expired(what, end, now.Sub(end)))
		case end.Sub(now) < endsSoon:
			fine = false
			f.fault(api.FindingWarn, "certificates", fault.Expires(what, end, end.Sub(now)))
		}
	}
	look("the CA", ca)
	look("the server's certificate", server)
	good, ended := 0, 0
	if d.authority != nil {
		for _, one := range d.authority.Issued() {
			switch {
			case !one.Revoked.IsZero():
			case now.After(one.NotAfter):
				ended++
			default:
				good++
				look(fmt.Sprintf("bundle %s (%s)", one.Name, one.Role), one.NotAfter)
			}
		}
	}
	if fine {
		f.add(api.FindingOK, "certificates", "the server's is good until %s, the CA until %s; %d bundles are good, %d have ended", server.UTC().Format(time.DateOnly), ca.UTC().Format(time.DateOnly), good, ended)
	}
}

// watchQueriers raises an alarm when an interface loses its querier, or turns out to have none, while sessions run.
func (d *distributionPoint) watchQueriers(ctx context.Context, ticks <-chan time.Time) {
	told := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks:
			running, _ := d.sessions.Sessions()
			for _, one := range d.networks.list {
				d.tellQuerier(now, one, running, told)
			}
		}
	}
}

// tellQuerier tells of an interface without a querier, once until one is heard.
func (d *distributionPoint) tellQuerier(now time.Time, one *network, running []session.SessionInfo, told map[string]bool) {
	what, none := d.queriers.noQuerier(now, one)
	switch {
	case !none || one.ifc.Load().Loopback:
		delete(told, one.name)
	case len(running) > 0 && !told[one.name]:
		told[one.name] = true
		d.log.Warn("no IGMP querier", zap.String("interface", one.name), zap.String("text", what.String()))
		d.events.Raise("querier: " + what.String())
	}
}
