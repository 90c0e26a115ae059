package main

import (
	"net"
	"os"
	"strings"

	"wimcast/client/machine"
	"wimcast/multicast/wire"
)

// thisMachine is what this machine says of itself. What the firmware doesn't tell, or
// tells only root, stays empty.
func thisMachine(name string) wire.Machine {
	firmware := machine.ReadSystem()
	m := wire.Machine{UUID: firmware.UUID, Serial: firmware.Serial, Host: name}
	if m.Host == "" {
		m.Host, _ = os.Hostname()
	}
	interfaces, _ := net.Interfaces()
	var macs []string
	for _, i := range interfaces {
		if len(i.HardwareAddr) == 6 && i.Flags&net.FlagLoopback == 0 && len(macs) < 4 {
			macs = append(macs, i.HardwareAddr.String())
		}
	}
	m.MACs = strings.Join(macs, ",")
	return m
}
