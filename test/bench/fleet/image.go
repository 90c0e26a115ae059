//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"unicode/utf16"
)

// writeNoise writes a WIM file of size bytes that is all noise but for its header and its XML: content that nothing compresses.
func writeNoise(file string, size int64, seed byte) error {
	const header = 208
	xml, err := binary.Append(nil, binary.LittleEndian, utf16.Encode([]rune("\ufeff<WIM><IMAGE INDEX=\"1\"><NAME>bench</NAME></IMAGE></WIM>")))
	if err != nil {
		return err
	}
	at := size - int64(len(xml))
	b := make([]byte, header)
	le := binary.LittleEndian
	copy(b, "MSWIM\x00\x00\x00")
	le.PutUint32(b[8:], header)
	le.PutUint32(b[12:], 0x10d00)
	le.PutUint16(b[40:], 1)
	le.PutUint16(b[42:], 1)
	le.PutUint32(b[44:], 1)
	le.PutUint64(b[56:], uint64(at))
	le.PutUint64(b[72:], uint64(len(xml)))
	le.PutUint64(b[80:], uint64(at))
	le.PutUint64(b[88:], uint64(len(xml)))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.MultiReader(bytes.NewReader(b), io.LimitReader(rand.NewChaCha8([32]byte{seed}), at-header), bytes.NewReader(xml)))
	return errors.Join(err, f.Close())
}

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
