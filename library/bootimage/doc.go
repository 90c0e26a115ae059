// Package bootimage puts the client into a Windows PE boot image, and takes it out again.
//
//	\wimcast\wimcast.exe     the program, for the image's processor
//	\wimcast\room.join       the join bundle
//	\wimcast\start.cmd       what is run when Windows PE starts
//	\wimcast\drivers\...     drivers that start.cmd loads
//	\wimcast\original\...    the start file as it was
//	\wimcast\inject.json     what was done, so that it can be undone
//
// One line in the image's own start file (startnet.cmd or winpeshl.ini) runs start.cmd. The folder's path has no blank,
// so neither that line nor a prestart command needs quotes, about which winpeshl.ini's documentation is silent.
//
// A boot image is changed as a copy beside it, verified, and renamed into its place: whatever ends the program, the old one or the
// new one is there whole. What is in boot images comes from anywhere and is only compared, never run.
//
// The package runs wimlib-imagex (package wimlib), knows no bundles and no network, and doesn't log. A Boot is for one
// goroutine.
package bootimage

// Places in an image. Paths are wimlib's: with slashes, in any case.
const (
	dir         = "/wimcast"
	programName = "wimcast.exe"
	bundleName  = "room.join"
	scriptName  = "start.cmd"
	driversName = "drivers"
	savedName   = "original"
	recordName  = "inject.json"

	system32 = "/windows/system32"
	startnet = system32 + "/startnet.cmd"
	winpeshl = system32 + "/winpeshl.ini"
	shellExe = system32 + "/winpeshl.exe"
	smsBin   = "/sms/bin"
)

// setups are where installation media have Setup; the first that is there is run.
var setups = []string{"/setup.exe", "/sources/setup.exe"}

// Bounds.
const (
	maxScript  = 1 << 20  // bytes of a start file; real ones have less than a hundred lines
	maxRecord  = 64 << 10 // bytes of inject.json
	maxProgram = 256 << 20
	// maxDrivers bounds the drivers, in bytes: Windows PE keeps the whole image in memory.
	maxDrivers     = 1 << 30
	maxDriverFiles = 20_000
)
