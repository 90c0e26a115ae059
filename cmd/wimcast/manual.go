package main

import (
	"strconv"

	"wimcast/cmd/usage"
)

// manual is what wimcast(1) has beyond the commands.
func manual() usage.Manual {
	var exits [][2]string
	for _, exit := range []struct {
		code int
		what string
	}{
		{exitProven, "Done; for an image: proven, and applied where that was asked."},
		{exitFailed, "Failed, of commands that receive no image."},
		{exitUsage, "The command line is wrong."},
		{exitUnreachable, "The server can't be reached."},
		{exitRefused, "Refused: credentials, not allowed, queue full."},
		{exitSilent, "The package is multicast-only and the group stays silent."},
		{exitDisk, "The disk: full, locked, or the file exists."},
		{exitDamaged, "The content is damaged."},
		{exitEvicted, "Evicted by an operator."},
		{exitApply, "The image is proven; applying it failed. The same command tries that again."},
	} {
		exits = append(exits, [2]string{strconv.Itoa(exit.code), exit.what})
	}
	return usage.Manual{
		Section: 1,
		Description: []string{
			"wimcast receives an image from a distribution point (get; in a boot image, winpe run), by encrypted multicast, repaired, and by unicast where that fails. Success means that every block's hash is proven.",
			"It also administers distribution points: on the server over the admin socket, which is open to root and the group wimcast; from elsewhere with --server and the bundle of an operator or viewer.",
			"Standard output is the result, standard error the progress. An error ends in the next command to type.",
		},
		Files: [][2]string{
			{"room.join", "The join bundle that get takes where none is named."},
			{"/run/wimcast/admin.sock", "The admin socket of a distribution point on this machine."},
			{"/usr/lib/wimcast", "The programs that winpe inject puts into boot images."},
		},
		Exit: exits,
		See:  map[string]int{"wimcastd": 8, "wimcastd.toml": 5},
	}
}
