//go:build !windows

package multicast

func (m *membership) joinSource() error {
	return m.packets.JoinSourceSpecificGroup(m.ifc.system(), udpAddr(m.group), udpAddr(m.source))
}

func (m *membership) leaveSource() error {
	return m.packets.LeaveSourceSpecificGroup(m.ifc.system(), udpAddr(m.group), udpAddr(m.source))
}
