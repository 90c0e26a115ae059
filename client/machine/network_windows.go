package machine

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ReadNetwork looks at the machine.
func ReadNetwork() (*Network, error) {
	first, err := adapters()
	if err != nil {
		return nil, fmt.Errorf("list network adapters: %w", err)
	}
	n := &Network{Driverless: driverless()}
	for a := first; a != nil; a = a.Next {
		if a.IfType == windows.IF_TYPE_SOFTWARE_LOOPBACK || a.IfType == windows.IF_TYPE_TUNNEL || a.PhysicalAddressLength == 0 {
			continue
		}
		adapter := Adapter{Name: windows.UTF16PtrToString(a.FriendlyName), On: true, Link: a.OperStatus == windows.IfOperStatusUp} // those that are turned off aren't listed
		for u := a.FirstUnicastAddress; u != nil; u = u.Next {
			if addr, ok := netip.AddrFromSlice(u.Address.IP()); ok {
				adapter.Addrs = append(adapter.Addrs, addr.Unmap())
			}
		}
		n.Adapters = append(n.Adapters, adapter)
	}
	return n, nil
}

// adapters returns Windows' list; nil for an empty one.
func adapters() (*windows.IpAdapterAddresses, error) {
	const (
		flags = windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST | windows.GAA_FLAG_SKIP_DNS_SERVER
		tries = 4 // the list may grow between two calls
	)
	size := uint32(15_000) // what its documentation recommends to begin with
	for range tries {
		b := make([]byte, size)
		list := (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0]))
		switch err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, list, &size); {
		case err == nil:
			return list, nil
		case errors.Is(err, windows.ERROR_NO_DATA):
			return nil, nil
		case !errors.Is(err, windows.ERROR_BUFFER_OVERFLOW):
			return nil, fmt.Errorf("GetAdaptersAddresses: %w", err)
		}
	}
	return nil, fmt.Errorf("GetAdaptersAddresses: %w", windows.ERROR_BUFFER_OVERFLOW)
}

// Problem codes of devices (cfg.h) that mean that there is no driver; others mean that it doesn't start.
const (
	problemNotConfigured = 1
	problemFailedInstall = 28
)

// driverless finds PCI network controllers whose driver is missing or doesn't start. What can't be asked is none.
func driverless() []string {
	if windows.NewLazySystemDLL("cfgmgr32.dll").NewProc("CM_Get_DevNode_Status").Find() != nil {
		return nil
	}
	set, err := windows.SetupDiGetClassDevsEx(nil, "PCI", 0, windows.DIGCF_PRESENT|windows.DIGCF_ALLCLASSES, 0, "")
	if err != nil {
		return nil
	}
	defer func() { _ = set.Close() }()
	var out []string
	for i := 0; ; i++ {
		device, err := set.EnumDeviceInfo(i)
		if errors.Is(err, windows.ERROR_NO_MORE_ITEMS) {
			return out
		}
		if err != nil {
			if i > maxDevices {
				return out
			}
			continue
		}
		ids := texts(set, device, windows.SPDRP_HARDWAREID)
		if len(ids) == 0 || !isNetwork(append(ids, texts(set, device, windows.SPDRP_COMPATIBLEIDS)...)) {
			continue
		}
		var status, problem uint32
		if windows.CM_Get_DevNode_Status(&status, &problem, device.DevInst, 0) != nil || status&windows.DN_HAS_PROBLEM == 0 {
			continue
		}
		id := hardware(ids[0])
		switch {
		case id == "":
		case problem == problemNotConfigured, problem == problemFailedInstall:
			out = append(out, id)
		default:
			out = append(out, fmt.Sprintf("%s (problem %d)", id, problem))
		}
	}
}

// maxDevices bounds a list that has no end.
const maxDevices = 4096

// texts reads a property that is a list of strings.
func texts(set windows.DevInfo, device *windows.DevInfoData, property windows.SPDRP) []string {
	value, err := set.DeviceRegistryProperty(device, property)
	if err != nil {
		return nil
	}
	list, _ := value.([]string)
	return list
}
