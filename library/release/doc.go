// Package release is how a version of a package stands in an OCI registry, and what points are told of it.
//
// A *site* is the daemon that has the images; a *point* is another distribution point, which pulls them. Between them is a
// registry that neither of them trusts: it stores and hands out bytes.
//
//   - A release is an OCI image manifest ([Manifest]). Its config is the release document ([Release]): the package as the site
//     describes it, signed with the site's Ed25519 key. Its layers are the manifest of blocks and then the content in chunks of
//     whole blocks on a fixed grid, so that a version which differs in a few places shares all other chunks with the one before.
//   - Content of a package that is to be encrypted is sealed block by block ([Sealer]) under the package's content key, which the release
//     document carries wrapped by age to the points that may have it ([Wrap]). What is sealed depends on key, place and plain text alone: an
//     unchanged chunk keeps its digest, and a block can be opened without its neighbours.
//   - The assignments of a point ([Assignments]) are one signed document: which releases it shall have, by the digests of their manifests.
//   - A point file ([PointFile]) is what a point is given once, by hand: whom it trusts, who it is, and its keys.
//
// Bytes in, structs out: it reads no clock and knows neither the registry nor the library.
package release
