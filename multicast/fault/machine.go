package fault

import (
	"fmt"
	"runtime"
	"time"
)

// Troubles of a machine itself.
const (
	KindReceiveBuffer Kind = "receive_buffer" // smaller than wanted
	KindBufferDrops   Kind = "buffer_drops"   // packets dropped in it
	KindJoin          Kind = "join"           // a group can't be joined
	KindInterface     Kind = "interface"      // down, without a carrier, or not capable of multicast
	KindCeiling       Kind = "ceiling"        // above what the interface carries
	KindDiskSlow      Kind = "disk_slow"      // slower than the cast
	KindDisk          Kind = "disk"           // can't be written
	KindSpace         Kind = "space"          // too little of it
	KindClock         Kind = "clock"          // wrong
)

// ReceiveBuffer says that the system granted less than was asked for, both in bytes.
func ReceiveBuffer(asked, got int) Fault {
	f := Fault{KindReceiveBuffer, fmt.Sprintf("the receive buffer is %d KiB instead of %d", got>>10, asked>>10), fmt.Sprintf("run sysctl -w net.core.rmem_max=%d", asked)}
	if runtime.GOOS != "linux" {
		f.Text, f.Next = f.Text+", as much as this system grants", ""
	}
	return f
}

// BufferDrops says that packets arrived and were dropped because the receive buffer was full.
func BufferDrops(drops uint64) Fault {
	return Fault{
		KindBufferDrops, fmt.Sprintf("the receive buffer overflowed %d times: this machine doesn't take packets as fast as they come", drops),
		"end other programs, or give it a larger buffer: on Linux sysctl -w net.core.rmem_max=8388608",
	}
}

// JoinFailed says that a group can't be joined, and why.
func JoinFailed(err error) Fault {
	return Fault{KindJoin, fmt.Sprintf("the group can't be joined on this machine: %v", err), "name another interface with --interface, or look at its driver"}
}

// InterfaceDown says that an interface can't carry groups, and why.
func InterfaceDown(name string, err error) Fault {
	return Fault{KindInterface, fmt.Sprintf("interface %s is down (%v)", name, err), "look at its cable and the switch; clients behind it hear nothing until it is back"}
}

// CeilingAboveSpeed says that more may be sent than an interface carries; bytes/s and bit/s.
func CeilingAboveSpeed(name string, ceiling float64, speed uint64) Fault {
	return Fault{
		KindCeiling, fmt.Sprintf("multicast.ceiling is %.0f Mbit/s, %s carries %.0f", ceiling*8/1e6, name, float64(speed)/1e6),
		"set multicast.ceiling to 90 % of the interface's speed, or leave it out",
	}
}

// DiskSlow says that a folder takes less than is cast, both in bytes/s.
func DiskSlow(folder string, rate, ceiling float64) Fault {
	return Fault{
		KindDiskSlow, fmt.Sprintf("%s takes %.0f MB/s, the distribution point casts up to %.0f", folder, rate/1e6, ceiling/1e6),
		"expect this machine to be the slow one of its room; use its internal disk",
	}
}

// DiskFailed says that a folder can't be used, and why.
func DiskFailed(folder string, err error) Fault {
	return Fault{KindDisk, fmt.Sprintf("%s can't be used: %v", folder, err), "name a folder that can be written, with --output"}
}

// LibrarySlow says that the library gives less than is cast, both in bytes/s.
func LibrarySlow(rate, ceiling float64) Fault {
	return Fault{
		KindDiskSlow, fmt.Sprintf("the library gives %.0f MB/s, sessions may send up to %.0f", rate/1e6, ceiling/1e6), "put the state directory on a faster disk, or set multicast.ceiling to what it gives",
	}
}

// LibraryFailed says that a package can't be read, and why.
func LibraryFailed(name string, err error) Fault {
	return Fault{KindDisk, fmt.Sprintf("package %s can't be read: %v", name, err), fmt.Sprintf("wimcast image verify %q", name)}
}

// LittleSpace says that few bytes are free where something lies.
func LittleSpace(folder string, free uint64) Fault {
	return Fault{KindSpace, fmt.Sprintf("%s has %.1f GB free", folder, float64(free)/1e9), "make room: wimcast image list, wimcast image remove"}
}

// ClockWrong says that a machine's clock is off by that much; positive: ahead.
func ClockWrong(off time.Duration) Fault {
	word := "ahead of"
	if off < 0 {
		word, off = "behind", -off
	}
	return Fault{
		KindClock, fmt.Sprintf("this machine's clock is %s %s the server's; wimcast doesn't mind, but Windows and other programs do", days(off), word),
		"set the clock",
	}
}

// days writes a time as people say it.
func days(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	return d.Round(time.Second).String()
}
