// Package servicing changes images that are at rest: it puts overlays (files, drivers, scripts) into
// them, and software updates, by hand or on a schedule, and makes a new version of the package of each.
//
// It has four parts. The [Catalogue] keeps updates and overlays, with what is known of whom they're for.
// [Judge] says whether an update is for an image; it is pure. [Schedule] says what is to be done when, and what
// came of it. The [Service] does it: one run at a time, on a copy, with the lowest priority. A run ends in a
// new version that was verified and added whole, or changes nothing.
//
// What can be done here is bounded by Windows: no Linux program can install an update. The executor "stage" puts packages
// where Windows' own servicing installs them on the client; "overlay" needs no Windows at all; "dism" is
// a Windows machine that does the work, when one asks for it.
//
// The package knows the WIM format and runs wimlib-imagex. It doesn't know the library of images: whoever makes a
// Service plugs one in. It doesn't log; the Service tells of every change of a schedule.
//
// On disk, under the two directories that it is given (each file replaced in one rename):
//
//	updates/catalogue.json    what there is
//	updates/files/HEX         a package or overlay, named by its SHA-256
//	updates/incoming/         what is being added; emptied when the catalogue is opened
//	servicing/schedules.json  schedules with their runs
//	servicing/facts/HEX.json  what is installed in a content's images, by the content's digest
//	servicing/work/           the run in process; emptied when the service is opened
package servicing
