// Package session is the engine of a cast. A Server takes joins and owns the
// running sessions; each session is one sender that turns blocks into sealed
// packets, repairs what clients lack, and paces it all. A Receiver is the other
// end: it joins, assembles blocks, asks for what it lacks, and proves each block
// by its hash before it counts.
//
// The package knows neither files nor DTLS nor sockets: it declares small
// interfaces (seams.go), and cmd plugs the real ones in. It therefore runs whole
// in virtual time over an in-memory network, which is how it is tested.
//
// One goroutine owns each session's state; all else reaches it through a bounded mailbox. A
// receiver's is guarded by a lock: the group's packets are taken in by the goroutine that reads them.
// The pure parts (debt, need, rate, back-off, loss) take the time as an argument. docs/protocol.md is normative.
package session
