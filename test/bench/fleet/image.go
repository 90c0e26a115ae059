//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// capture makes a WIM file of a folder, compressed as most are.
func capture(ctx context.Context, folder, file string) error {
	return wimlib(ctx, "capture", folder, file, "Windows 11", "--compress=XPRESS", "--check", "--no-acls", "--norpfix")
}

// service replaces files of an image as an update does: some libraries by newer ones, a few files more. It returns how many bytes
// of files it put in.
func service(ctx context.Context, file, dir string, sources []string) (int64, error) {
	staged := filepath.Join(dir, "update")
	if err := os.MkdirAll(staged, 0o700); err != nil {
		return 0, err
	}
	var size int64
	var commands bytes.Buffer
	for i, name := range sources {
		b, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		// A newer version: another stamp in its head, here and there other code.
		noise := rand.New(rand.NewPCG(1, uint64(i)))
		for at := 0; at < len(b); at += 1 + noise.IntN(64<<10) {
			b[at] ^= 0x5a
		}
		size += int64(len(b))
		to := filepath.Join(staged, fmt.Sprintf("%d.bin", i))
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return 0, err
		}
		fmt.Fprintf(&commands, "add '%s' '/updated/%d.bin'\n", to, i)
	}
	cmd := exec.CommandContext(ctx, "wimlib-imagex", "update", file, "1", "--check")
	cmd.Stdin = &commands
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("wimlib-imagex update: %w: %s", err, out)
	}
	return size, nil
}

func wimlib(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "wimlib-imagex", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("wimlib-imagex %s: %w: %s", args[0], err, out)
	}
	return nil
}
