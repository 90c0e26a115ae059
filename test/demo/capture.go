//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// How much is captured: enough that the image has 100 to 200 MB compressed.
const (
	mainBytes  = 420 << 20
	otherBytes = 30 << 20
	treeMost   = 120 << 20 // of one directory among them
)

// capture returns a WIM captured from directory trees of this machine: LZX, two images with
// names and descriptions. It is kept in the cache.
func (s *show) capture(ctx context.Context) (string, error) {
	tool, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		return "", errors.New("demo: wimlib-imagex is missing; install the package wimtools (make demo does)")
	}
	if err := os.MkdirAll(s.Cache, 0o755); err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	image := filepath.Join(s.Cache, "demo.wim")
	if info, err := os.Stat(image); err == nil {
		s.say("image: %s, %.1f MB, captured earlier", image, mb(info.Size()))
		return image, nil
	}
	lists, err := s.pick()
	if err != nil {
		return "", err
	}
	started := time.Now()
	partial := image + ".new"
	_ = os.Remove(partial)
	s.say("image: capturing %d MB of this machine's own files with wimlib (LZX); this is done once", (mainBytes+otherBytes)>>20)
	steps := [][]string{
		{"capture", lists[0], partial, "Workstation", "programs and libraries of this machine", "--compress=LZX"},
		{"append", lists[1], partial, "Laboratory", "a smaller image in the same file"},
	}
	for _, args := range steps {
		// Files that can't be read or change meanwhile don't matter here.
		if out, err := exec.CommandContext(ctx, tool, append(args, "--no-acls", "--source-list")...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("demo: wimlib-imagex %s: %w: %s", args[0], err, tail(string(out), 3))
		}
	}
	if err := os.Rename(partial, image); err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	info, err := os.Stat(image)
	if err != nil {
		return "", err
	}
	s.say("image: %.1f MB in %.0f s", mb(info.Size()), time.Since(started).Seconds())
	return image, nil
}

// pick chooses directories of this machine for two images and writes wimlib's source lists.
func (s *show) pick() (lists [2]string, err error) {
	var trees []string
	for _, parent := range []string{"/usr/local/go/src", "/usr/lib/go", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/share"} {
		children, _ := os.ReadDir(parent) // what isn't there is left out
		for _, child := range children {
			if child.IsDir() {
				trees = append(trees, filepath.Join(parent, child.Name()))
			}
		}
	}
	next := 0
	for i, want := range []int64{mainBytes, otherBytes} {
		var list strings.Builder
		var total int64
		for ; total < want && next < len(trees); next++ {
			size := treeSize(trees[next], treeMost+1)
			if size == 0 || size > treeMost || total+size > want*5/4 || strings.ContainsAny(trees[next], " \t\"'") {
				continue
			}
			total += size
			fmt.Fprintf(&list, "%s\t%s\n", trees[next], strings.ReplaceAll(strings.TrimPrefix(trees[next], "/"), "/", "_"))
		}
		if total == 0 {
			return lists, errors.New("demo: this machine has too few files to capture")
		}
		lists[i] = filepath.Join(s.Cache, fmt.Sprintf("sources%d.txt", i+1))
		if err := os.WriteFile(lists[i], []byte(list.String()), 0o600); err != nil {
			return lists, fmt.Errorf("demo: %w", err)
		}
	}
	return lists, nil
}

// treeSize adds up the regular files below a path, up to a limit.
func treeSize(path string, limit int64) (size int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what can't be read isn't counted
		}
		if d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		if size > limit {
			return fs.SkipAll
		}
		return nil
	})
	return size
}
