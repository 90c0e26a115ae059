// Package multicast is the socket end of a cast: it picks the interface, joins and
// sends to groups, reads and writes in batches, and paces.
//
// A Sender writes runs of datagrams to one group through one interface; on Linux a
// run is one system call (UDP_SEGMENT) as long as the kernel takes it. A Receiver
// hears one group on one interface; on Linux the kernel hands it runs of datagrams
// (UDP_GRO), many of them in one system call. A Pacer says when the next packets
// may go; it owns no clock and no socket. Batching is this package's business
// alone: callers see runs.
//
// The package knows nothing of what the datagrams say: neither the wire format nor
// sessions nor keys. Nothing here logs; what is worth telling is counted, or
// returned as an error that names the next step.
//
// Addresses are netip's throughout. Groups are IPv4 today; what depends on that
// stands in membership*.go and in the two constructors.
//
// Where the systems differ: Linux has GSO, GRO, kernel drop counts and a
// source-specific join by interface index; Windows joins source-specific groups by
// a socket option of its own, joins datagrams to runs from Windows 10 2004 on (UDP receive
// offload), sends datagram by datagram and tells no drops; other systems read datagram by
// datagram too and are there for developers.
package multicast
