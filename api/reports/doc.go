// Package reports keeps what points last said of themselves, and holds it against what they shall have.
//
// A point reports to its site ([Book.Put]); the site answers who asks how the fleet is ([Book.View]). What a point says is content from outside:
// it is bounded and checked before it counts, and moves nothing but what is shown. A report replaces the one before it. When it came is by the site's clock, since a point's may be
// wrong by days; the times in it are moved by the difference.
//
// Reports are kept in memory, and in one file that [Book.Run] writes now and then: it says since when a point is out of reach, also after the site was
// started again. It is no truth that anything depends on: a file that can't be read is begun anew.
package reports
