// Package test holds the whole-system tests and the tests of the house itself:
// who may import whom. Its rooms come from package lab.
//
// They run on machines that are busy with other things, where a program may get
// no processor for a second, and two that were started together begin seconds
// apart. So a test doesn't hope that something is still in its middle: it casts
// slowly until it has done what it is about, and then hurries (stage.hurry);
// it has a cast begin once all are there (together), waits for what it needs
// until stage.ctx ends, and bounds rates only from the side on which waiting is
// no fault.
//
// Tests that mostly wait, in a room of their own, run beside each other
// (t.Parallel), after all others; so do those that work on files and neither
// wait nor cast. Tests that hold rates, ratios or memory
// against bounds, and those on this machine's loopback, whose daemons share one
// group, run alone.
package test
