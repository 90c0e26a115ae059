// Package fleet is a site's side of its other distribution points: which there are, what each shall have, and the way
// of that into the registry.
//
// A [Site] keeps points, and distributions: which package goes to which point, to a group of points, or to all. From
// these, and from what the library has, follows what has to stand in the registry (plan.go): a release of each version
// that a point shall have, wrapped to those points, and for each point a document of assignments. Whatever differs
// from that is made so: pushed, made anew, withdrawn. Nothing else is remembered of work, so a crash at any moment, a restore from a backup or a
// registry that lost something come to the same: the next pass finds what is missing.
//
// Two things run beside each other. Content goes out chunk by chunk, one release at a time, what is urgent first; and what
// takes no time (assignments, a changed flag, keys wrapped to another point) doesn't wait for that.
//
// On disk, all of it in one directory that is the site's identity towards its points (each file replaced in one rename):
//
//	fleet.json                points, distributions, the releases that were made
//	site.key                  the Ed25519 key that signs, in PEM (PKCS #8)
//	keys.json                 content keys by package
//	releases/HEX.manifest     the OCI manifest of a release that is in use, by its SHA-256
//	releases/HEX.document     its document
//
// The package knows the library and the registry. It neither knows certificates nor logs: whoever makes a Site plugs in what
// hears of changes.
package fleet
