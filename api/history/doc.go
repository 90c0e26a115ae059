// Package history keeps the record of what a distribution point did: what was cast when,
// to whom, how it ended, how much repair, how long, and what operators did. It is
// one SQLite file (history.db in the state directory) that survives restarts. The protocol
// never reads it: losing it costs the record and nothing else.
//
// Store is an Observer of a session.Server. What it is told goes through a bounded queue,
// so that no session ever waits for the disk; what doesn't fit is counted (Stats). Run
// writes the queue once a second, and looks at the running sessions while it does:
//
//   - a session, a client, a change of state, a proof, an end and an action are on the disk
//     within a second or two (the disk willing): that is what kill -9 can lose;
//   - counters and the progress of clients that are receiving are brought up to date every 10 s;
//   - what ran when the daemon was killed is shown as interrupted by the next one.
//
// A file that is damaged is moved aside with a date in its name and a new one begun; the
// daemon goes on. One written by a newer version is left alone, and Open fails.
//
// Records that are older than wanted, and the oldest beyond a number, are deleted
// whole sessions at a time. Names, MAC addresses, serial numbers and UUIDs of
// machines are in the file (mode 0600); Forget takes those of one out.
//
// All methods are safe for concurrent use. Times are stored as milliseconds since 1970, UTC.
package history
