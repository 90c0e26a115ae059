// Package window is bandwidth by the clock: which hours of the week are open to which priorities, and how fast all pulls together may go in
// them, as administrators know it from the tabs Schedule and Rate Limits of a distribution point in Configuration Manager.
//
// [Hours] is one entry of the configuration; a later entry wins where two overlap, and hours that no entry names are open and unlimited.
// A [Gate] holds entries against a clock: [Gate.Allowed] answers whether something may begin, and what reads through [Gate.Reader] keeps
// the limit, waits while the hours are closed, and follows a change of hours or entries within half a second, in mid-read.
//
// Hours are those of a wall clock, in the location that the clock's times carry, with its jumps: where summer time begins, an hour that isn't there
// isn't waited for; where it ends, the hour that comes twice counts twice. Nothing that was computed of the clock is trusted for longer than half a second, so a clock that is wrong,
// or set while something waits, changes only which entries hold.
//
// It knows nothing of registries and packages: it sees readers.
package window
