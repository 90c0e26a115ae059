//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/library"
	"wimcast/library/fleet/puller"
	"wimcast/library/fleet/window"
	"wimcast/library/registry"
	"wimcast/library/release"
)

// pulled is what a point did.
type pulled struct {
	timing
	Bytes int64 // that travelled
	Peak  int64 // memory that was resident at most, bytes
}

// runPoint is a point without a room, in a process of its own: it pulls until it has a package. What it writes is synced as it
// comes, so Written and Lasting are the same moment.
func runPoint(ctx context.Context, file, reference, dir string) error {
	p, err := release.ReadPointFile(file)
	if err != nil {
		return err
	}
	key, err := p.Site()
	if err != nil {
		return err
	}
	repository, err := registry.Open(registry.Config{Repository: p.Repository, PlainHTTP: true})
	if err != nil {
		return err
	}
	defer repository.Close()
	l, err := library.OpenPoint(filepath.Join(dir, "library"), &library.Site{
		Point: p.Name, Key: key, OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, p.Identity) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	changed := make(chan struct{}, 1)
	pull, err := puller.New(puller.Config{
		Library: l, Repository: repository, Gate: window.New(nil, time.Now), Dir: filepath.Join(dir, "point"), Site: key, Point: p.Name, Log: zap.NewNop(),
		Changed: func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() { _ = pull.Close() }()
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		pull.Run(ctx)
		close(ended)
	}()
	defer func() {
		stop()
		<-ended
	}()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		done := false
		for _, one := range pull.Snapshot() {
			if one.State == puller.Failed {
				return fmt.Errorf("pull %s: %s", one.Reference, one.Err)
			}
			done = done || one.Reference == reference && one.State == puller.Success
		}
		if !done {
			continue
		}
		took := time.Since(began).Seconds()
		peak, err := peakOf("self")
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(pulled{timing{took, took}, int64(pull.Bytes()), peak})
	}
}

// peakOf returns how much memory of a process was resident at most, in bytes.
func peakOf(process string) (int64, error) {
	text, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	return n << 10, err
}
