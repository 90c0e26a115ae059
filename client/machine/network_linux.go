package machine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// ReadNetwork looks at the machine.
func ReadNetwork() (*Network, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network adapters: %w", err)
	}
	n := &Network{Driverless: readPCI("/sys/bus/pci/devices")}
	for i := range interfaces {
		ifc := &interfaces[i]
		if ifc.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 || len(ifc.HardwareAddr) != 6 {
			continue
		}
		addrs, err := ifc.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		a := Adapter{Name: ifc.Name, On: ifc.Flags&net.FlagUp != 0, Link: ifc.Flags&net.FlagRunning != 0}
		for _, addr := range addrs {
			if prefix, err := netip.ParsePrefix(addr.String()); err == nil {
				a.Addrs = append(a.Addrs, prefix.Addr().Unmap())
			}
		}
		n.Adapters = append(n.Adapters, a)
	}
	return n, nil
}

// readPCI finds network controllers without driver in sysfs.
func readPCI(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // a machine without PCI
	}
	var out []string
	for _, e := range entries {
		device := filepath.Join(dir, e.Name())
		if !strings.HasPrefix(attribute(device, "class"), "0x02") {
			continue
		}
		if _, err := os.Lstat(filepath.Join(device, "driver")); err == nil {
			continue
		}
		vendor, model := strings.TrimSpace(attribute(device, "vendor")), strings.TrimSpace(attribute(device, "device"))
		if id := hardware(`PCI\VEN_` + strings.TrimPrefix(vendor, "0x") + "&DEV_" + strings.TrimPrefix(model, "0x")); id != "" {
			out = append(out, id)
		}
	}
	return out
}
