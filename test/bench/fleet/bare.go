//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// bareParallel is how many blobs the bare download fetches at once: as many as a point does.
const bareParallel = 4

// timing is how long a download took, in seconds.
type timing struct {
	// Written is until all bytes were hashed and written, Lasting until the disk had them too.
	Written, Lasting float64
}

// runBare downloads what a tag stands for as oras does: each blob hashed, into an OCI image layout. It is a process of its own.
func runBare(ctx context.Context, repository, tag, dir string) error {
	source, err := remote.NewRepository(repository)
	if err != nil {
		return err
	}
	source.PlainHTTP = true
	store, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return err
	}
	began := time.Now()
	options := oras.DefaultCopyOptions
	options.Concurrency = bareParallel
	if _, err := oras.Copy(ctx, source, tag, store, tag, options); err != nil {
		return fmt.Errorf("bare download: %w", err)
	}
	t := timing{Written: time.Since(began).Seconds()}
	if err := syncAll(dir); err != nil {
		return err
	}
	t.Lasting = time.Since(began).Seconds()
	return json.NewEncoder(os.Stdout).Encode(t)
}

// syncAll syncs every file and folder of a directory, as a program would that means to keep them.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return unix.Fsync(int(f.Fd()))
	})
}
