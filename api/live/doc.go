// Package live keeps how each running session went in the last ten minutes, and makes the streams of those who watch one:
// a snapshot, then what each second changed.
//
// A session is looked at once a second, however many watch it: what that brings is encoded once, and the same bytes go to all.
// Each watcher has a place in that, and no queue: who couldn't take a change in time gets a snapshot in place of those missed.
// It knows of no HTTP: api/handler writes what it hands out.
package live
