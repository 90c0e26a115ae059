// Package prestage is a release in one file, for a point whose line is too thin for it: written at the site, carried there,
// imported.
//
// The file is a tar archive (POSIX 1003.1-2001) that holds an OCI image layout (OCI image specification v1.1, image-layout.md), so that other people's
// tools read it and can put it into a registry:
//
//	oci-layout              the layout's version
//	index.json              one descriptor: of the release's manifest, by the tag that it has in a registry
//	blobs/sha256/HEX        the manifest, its config (the release document), then the layers in order, each once
//
// In that order, so that it can be read as it comes: what a release is and whose is known before its content. A release gives the same file, byte for byte, each time.
//
// Nothing in a file is believed. Who may have it, and whose it is, the release's signature and wrapped key say; [Reader] hands them out, and
// the library proves them.
package prestage
