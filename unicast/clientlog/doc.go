// Package clientlog carries what a machine in the room wrote about its work to the
// distribution point, before the RAM disk that it lies on is gone (docs/protocol.md,
// section 9.1). It holds both ends.
//
// Send is the client's: one POST of /v1/logs with a Report and the files. The Server is
// an http.Handler that stands beside the content on the unicast port; it judges the
// certificate, and bounds sizes, rates and what is under way at a time. The Store keeps
// reports in a directory, each whole or not at all, for a time and up to a size.
//
// All that comes is hostile until proven: names are cut down to a few characters before they name
// a file, which lies below an os.Root, and texts are kept as they came: whoever shows them makes
// them harmless. The package knows nothing of sessions and content, and neither logs nor prints.
package clientlog
