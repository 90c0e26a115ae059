package wimlib

import (
	"context"
	"os/exec"
)

type lowKey struct{}

// LowPriority returns a context whose commands get processor and disk only when nobody else wants them. That
// takes nice (coreutils) and ionice (util-linux); without them commands run as any other.
func LowPriority(ctx context.Context) context.Context { return context.WithValue(ctx, lowKey{}, true) }

// program returns what to run: the command itself, or nice and ionice with the command behind them. Both
// end in an exec, so a signal reaches the command; and they go on with it where they mayn't change anything.
func program(ctx context.Context, path string, args []string) (name string, all []string) {
	all = append([]string{path}, args...)
	if low, _ := ctx.Value(lowKey{}).(bool); low {
		if ionice, err := exec.LookPath("ionice"); err == nil {
			all = append([]string{ionice, "-t", "-c", "3"}, all...)
		}
		if nice, err := exec.LookPath("nice"); err == nil {
			all = append([]string{nice, "-n", "19"}, all...)
		}
	}
	return all[0], all[1:]
}
