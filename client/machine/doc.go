// Package machine is what a machine has, as far as receiving an image needs it: network
// adapters and the PCI controllers that lack a driver, volumes, and what the
// firmware says of it. It asks the system and nothing else, neither WMI nor any
// other program, so that it works in bare Windows PE.
//
// What is read is a picture of one moment. Deciding by it is pure: [Network.Fault] says what stands between a
// machine and its distribution point, [Choose] which volume an image goes to.
package machine
