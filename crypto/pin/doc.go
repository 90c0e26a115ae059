// Package pin keeps the PINs that open a room to machines whose certificates want one, and counts
// who tries them. All of it is in memory: of a PIN there is a salted slow hash, and nothing at all after
// a restart.
//
// Against guessing there are only limits, as a PIN is short: for each address, for each room, and for the
// hashing, which runs one at a time. They are laid out so that one machine shuts out itself and not its
// room (docs/security.md, section 3). The limits are pure: they take the time. The package knows no
// channel and no certificate, and neither logs nor prints.
package pin
