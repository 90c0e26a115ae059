// Package support puts together what somebody needs who has to help with a distribution point, without secrets: named parts, each made by
// whoever knows it, bounded in size and time, scrubbed, and listed in a manifest with what was left out and why. It gathers nothing itself.
//
// Two things keep secrets out. Nothing that is one is asked for: no key, no credential, no PIN, no environment, no memory. And what
// looks like one, or is known to be one, is taken out of every part all the same (Scrubber): texts of errors say more than one thinks.
package support
