// Package client holds what a machine that receives an image needs besides the
// session engine. That is the image's place on disk, and what there is of it already.
//
// A File is the target of one download. Until the image is proven it lives in
// FILE.part, and beside it FILE.part.have, the have-map, tells which blocks are
// there, so that a reboot doesn't start from zero. FILE itself appears at once
// and whole, by a rename, when the engine calls Finish.
//
// The order that keeps the have-map honest: data is written, then synced
// (fdatasync), then the claim is written under another name, synced, and renamed
// over the old claim. A claim is drawn up before the sync of the data starts, so
// power loss at any moment leaves a have-map that claims no block which isn't on
// the disk. Even so it is a hint only: whoever resumes hashes each claimed block
// again before it counts, as disks lie and files get changed behind one's back.
//
// A Seed is a file that may hold much of an image already. It knows WIM files, and nothing of what it
// says is believed: the engine hashes each block that comes from it.
//
// The package knows nothing of sessions, sockets or certificates. It doesn't log
// or print; what a person should hear without it being an error goes to
// Options.Notice.
package client
