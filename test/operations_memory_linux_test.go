package test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"wimcast/crypto"
	"wimcast/test/rig"
)

// A machine with bad memory: bits of a program's memory change while it is stopped, through the kernel's /proc/PID/mem (proc(5)). The program has no part
// in it.

const (
	pageSize   = 4096
	blockPages = crypto.BlockSize / pageSize // blocks begin and end with pages, in the image and in a Go program's large buffers
)

// badMemory is a client whose memory loses bits of the image that it receives.
type badMemory struct {
	pid   int
	pages map[[16]byte]int // the beginnings of the image's pages, and which page it is
}

// memoryOf knows the image, so that it is found in the client's memory. Pages that begin alike are left out.
func memoryOf(t *testing.T, g *rig.Get, image string) *badMemory {
	t.Helper()
	m := &badMemory{pid: g.Cmd().Process.Pid, pages: map[[16]byte]int{}}
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	twice := map[[16]byte]bool{{}: true}
	for page := range int(info.Size()/crypto.BlockSize) * blockPages { // whole blocks
		var begins [16]byte
		if _, err := file.ReadAt(begins[:], int64(page)*pageSize); err != nil {
			t.Fatal(err)
		}
		if _, known := m.pages[begins]; known {
			twice[begins] = true
		}
		m.pages[begins] = page
	}
	for begins := range twice {
		delete(m.pages, begins)
	}
	return m
}

// flip stops the client and changes a bit in each page that it has of blocks under assembly, and returns how many it found. A buffer that holds a block
// whole isn't touched: its hash may hold already, and it is on its way to the disk.
func (m *badMemory) flip() (pages int, err error) {
	if err := syscall.Kill(m.pid, syscall.SIGSTOP); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, syscall.Kill(m.pid, syscall.SIGCONT)) }()
	if err := m.awaitStopped(); err != nil {
		return 0, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", m.pid), os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	type buffer struct {
		at    int64 // address
		block int
	}
	found := map[buffer][]int64{} // addresses of pages
	err = m.eachPage(mem, func(at int64, begins [16]byte) {
		if page, ok := m.pages[begins]; ok {
			b := buffer{at - int64(page%blockPages)*pageSize, page / blockPages}
			found[b] = append(found[b], at)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, has := range found {
		if len(has) == blockPages {
			continue
		}
		for _, at := range has {
			var b [1]byte
			if _, err := mem.ReadAt(b[:], at+20); err != nil {
				return pages, err
			}
			b[0] ^= 1
			if _, err := mem.WriteAt(b[:], at+20); err != nil {
				return pages, err
			}
			pages++
		}
	}
	return pages, nil
}

// awaitStopped waits until all threads are stopped: the signal is under way to each.
func (m *badMemory) awaitStopped() error {
	for {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.pid))
		if err != nil {
			return err
		}
		if len(threads) == 0 {
			return fmt.Errorf("process %d is gone", m.pid)
		}
		running := false
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue
			}
			if err != nil {
				return err
			}
			_, state, _ := strings.Cut(string(stat), ") ")
			running = running || !strings.HasPrefix(state, "T")
		}
		if !running {
			return nil
		}
	}
}

// eachPage calls do with the beginning of each page that the program may write and that no file is behind.
func (m *badMemory) eachPage(mem io.ReaderAt, do func(at int64, begins [16]byte)) error {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", m.pid))
	if err != nil {
		return err
	}
	defer maps.Close()
	chunk := make([]byte, 256*pageSize)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // from-to permissions offset device inode [path]
		if len(fields) < 5 || !strings.HasPrefix(fields[1], "rw") || fields[4] != "0" {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		at, err1 := strconv.ParseInt(from, 16, 64)
		end, err2 := strconv.ParseInt(to, 16, 64)
		if err1 != nil || err2 != nil {
			continue // beyond what programs get
		}
		for at < end {
			n, err := mem.ReadAt(chunk[:min(int64(len(chunk)), end-at)], at)
			if n < pageSize {
				if err == nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO) { // nothing there, as of [vvar]
					break
				}
				return err
			}
			for i := 0; i+pageSize <= n; i += pageSize {
				if binary.NativeEndian.Uint64(chunk[i:]) != 0 {
					do(at+int64(i), [16]byte(chunk[i:]))
				}
			}
			at += int64(n - n%pageSize)
		}
	}
	return nil
}

// alertsOfMemory: bits of a client's memory change, once, then again and again. No wrong bit gets into what it has at the end.
func alertsOfMemory(t *testing.T, w *watched) {
	t.Parallel()
	const here = "memory"
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "300 kB/s"`})
	w.scrape(s, here)
	g := s.get(0)
	if err := g.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	w.quiet(s, here, "")
	memory := memoryOf(t, g, s.image)
	rejected := func(events []rig.Event) (n int) {
		for _, e := range events {
			if e.Event == "block_rejected" {
				n++
			}
		}
		return n
	}
	once := func() {
		t.Helper()
		before := rejected(g.Events())
		for pages := 0; pages == 0; {
			var err error
			if pages, err = memory.flip(); err == nil {
				err = context.Cause(s.ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Await(s.ctx, "a block to be rejected", func(_ rig.Event, events []rig.Event) bool { return rejected(events) > before }); err != nil {
			t.Fatal(err)
		}
	}
	once()
	w.fires(s, here, "WimcastBlocksRejected", "package", "w11@1", "severity", "ticket")
	w.quiet(s, here, "WimcastContentBad")
	for again := true; again; {
		once()
		on, err := w.firing(s.ctx, here)
		if err != nil {
			t.Fatal(err)
		}
		_, fires := on["WimcastContentBad"]
		again = !fires
	}
	if n := rejected(g.Events()); n < 10 {
		t.Errorf("it fires after %d blocks", n)
	}
	w.fires(s, here, "WimcastContentBad", "package", "w11@1", "severity", "page")
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
	s.proven(g)
	w.resolves(s, here, "WimcastContentBad")
	w.resolves(s, here, "WimcastBlocksRejected")
}
