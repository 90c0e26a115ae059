package wimlib

import (
	"context"
	"strconv"
	"strings"
)

// Hashes lists everything below a path of an image by its own path, that itself included, each with the SHA-1 of what is in it as wimlib writes that, and all zeros
// for folders and empty files. Streams beside the first count too.
func Hashes(ctx context.Context, file string, index int, below string) (map[string]string, error) {
	out, err := run(ctx, "", "dir", file, strconv.Itoa(index), "--path="+below, "--detailed")
	if err != nil {
		return nil, err
	}
	hashes, path := map[string]string{}, ""
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "Full Path":
			path = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
			hashes[path] = ""
		case "Hash":
			hashes[path] += value
		}
	}
	return hashes, nil
}

// Optimize writes a WIM anew, in its place, without what no image refers to any more. Compressed data is copied as
// it is.
func Optimize(ctx context.Context, file string) error {
	_, err := run(ctx, "", "optimize", file, "--check")
	return err
}
