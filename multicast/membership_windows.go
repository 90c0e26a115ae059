package multicast

import (
	"net/netip"

	"golang.org/x/sys/windows"
)

// Options of ws2ipdef.h that x/sys/windows lacks.
const (
	ipAddSourceMembership  = 15
	ipDropSourceMembership = 16
)

// x/net/ipv4 has no source-specific join on Windows, so the option is set here. Its
// argument is struct ip_mreq_source in Windows' own order: group, source, interface.
func (m *membership) joinSource() error  { return m.sourceOption(ipAddSourceMembership) }
func (m *membership) leaveSource() error { return m.sourceOption(ipDropSourceMembership) }

func (m *membership) sourceOption(option int32) error {
	var argument [12]byte
	for i, a := range []netip.Addr{m.group, m.source, m.ifc.Addr(m.group)} {
		b := a.As4()
		copy(argument[i*4:], b[:])
	}
	raw, err := m.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = windows.Setsockopt(windows.Handle(fd), windows.IPPROTO_IP, option, &argument[0], int32(len(argument)))
	}); err != nil {
		return err
	}
	return failed
}
