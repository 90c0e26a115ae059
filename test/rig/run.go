//go:build linux

package rig

import "context"

// StartRun starts `wimcast winpe run --json` at a place.
func StartRun(ctx context.Context, place Place, programs Programs, args ...string) (*Get, error) {
	return startClient(ctx, place, programs, append([]string{"winpe", "run", "--name", place.Name()}, args...))
}
