// Package screen shows a person in front of a machine how an image comes in, so
// that it can be read from three metres: what, from where, how far, how long
// still, how far the room is, and the trouble in one sentence when there is one.
//
// A Board collects what there is to show, from any goroutine. What shows it is a
// Full, a full-screen text display, where there is a terminal that can; else
// Lines, one line of text now and then. View draws a State and is pure: the same
// state gives the same text.
//
// Nothing here decides anything about the receiving. The package knows neither
// the command line nor exit codes beyond the number that it is told.
package screen
