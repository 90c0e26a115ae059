// Package library keeps images at rest: packages of a name, a version, a comment and
// flags, and their content, which is a WIM file and the manifest that proves it.
//
// On disk a library is an OCI image layout (OCI image specification v1.1, image-layout.md), so
// that other people's tools read it:
//
//	oci-layout            the layout's version
//	index.json            a descriptor for each package; what changes is in its annotations
//	blobs/sha256/HEX      for each content: the WIM file as it came, the wimcast manifest, a
//	                      config that says what is in the WIM, the OCI manifest that names the three
//	ingest/               what is being written; swept when the library is opened
//	lock                  held by the one process that has the library open
//
// Blobs never change: they're written and synced in ingest/, then renamed. index.json
// is replaced in one rename, after everything that it names. So a crash at any moment
// leaves the library as it was, or as it was to become; what nothing names is swept.
// The same content is stored once, however many packages have it.
//
// Content is believed only when it was just proven: every block that is read is hashed
// and held against the manifest, the manifest against the digest in index.json. What doesn't hold
// takes all packages of that content out of service, across restarts too, until Verify finds it whole
// or the same content is added again.
//
// A Library is safe for concurrent use. It doesn't log, and works on Linux only.
package library
