// Package registry is the way to one repository of an OCI registry (OCI distribution
// specification v1.1): blobs by their digests, with ranges; manifests by digest or tag; tags.
//
// Nothing that a registry says is believed: what it sends is bounded by what the caller asked for,
// a manifest is held against its digest here, a blob by whoever reads it (Proven). Which digests are the right
// ones is for others to say. Of the specification it needs pull and push alone: no referrers, no mounts, no uploads in pieces.
//
// Errors say what was tried, on what, why it failed and what to do next. They wrap one of ErrNotFound, ErrUnauthorized,
// ErrUnavailable, ErrDamaged, ErrNoRange and ErrRefused, so that callers know whether to try again, or the error of their context.
//
// The one importer of oras-go; it knows nothing of images. It starts nothing and doesn't log.
package registry
