package client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"wimcast/client/volume"
	"wimcast/crypto"
)

// lossyDisk is a volume with one directory, in memory, that can lose power. What
// was written since the last sync survives whole, in part, or not at all.
//
// It is unkind where file systems may be: unsynced data survives in any order and
// by sectors; names change in order but the latest changes may be lost; a new
// name may point to content that didn't get there.
type lossyDisk struct {
	r        *rand.Rand
	left     int // operations until power is lost; negative: never
	lost     bool
	duringDS func() // runs while Datasync does

	part    []byte   // as a reader sees it
	durable []byte   // what survives for sure
	pending []change // since the last Datasync began
	names   map[string]*inode
	journal []func(names map[string]*inode) // not yet durable
	on      map[string]*inode               // durable names
}

// change is one write, or a truncation where data is nil.
type change struct {
	off  int64
	data []byte
}

type inode struct{ content, synced []byte }

var (
	errPower            = errors.New("power lost")
	_        partFile   = (*lossyDisk)(nil)
	_        directory  = lossyDirectory{}
	_        syncWriter = (*lossyWriter)(nil)
)

func newLossyDisk(seed uint64, operations int) *lossyDisk {
	return &lossyDisk{
		r: rand.New(rand.NewPCG(seed, 2)), left: operations,
		names: map[string]*inode{}, on: map[string]*inode{},
	}
}

// step is called before each operation.
func (d *lossyDisk) step() error {
	if d.left == 0 {
		d.lost = true
	}
	if d.lost {
		return errPower
	}
	d.left--
	return nil
}

func apply(b []byte, c change) []byte {
	if c.data == nil {
		if c.off <= int64(len(b)) {
			return b[:c.off:c.off]
		}
		return append(b, make([]byte, c.off-int64(len(b)))...)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[c.off:], c.data)
	return b
}

func (d *lossyDisk) do(c change) error {
	if err := d.step(); err != nil {
		return err
	}
	d.part = apply(d.part, c)
	d.pending = append(d.pending, c)
	return nil
}

func (d *lossyDisk) WriteAt(p []byte, off int64) (int, error) {
	return len(p), d.do(change{off, append([]byte{}, p...)})
}
func (d *lossyDisk) Truncate(size int64) error { return d.do(change{size, nil}) }

func (d *lossyDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.part).ReadAt(p, off)
}
func (d *lossyDisk) Size() (int64, error)      { return int64(len(d.part)), nil }
func (d *lossyDisk) Allocated() (int64, error) { return 0, nil }
func (d *lossyDisk) Close() error              { return nil }

// Datasync makes durable what was written before it began, and nothing more.
func (d *lossyDisk) Datasync() error {
	if err := d.step(); err != nil {
		return err
	}
	before := d.pending
	d.pending = nil
	if d.duringDS != nil {
		d.duringDS()
	}
	if d.lost { // in the middle of it
		d.pending = append(slices.Clone(before), d.pending...)
		return errPower
	}
	for _, c := range before {
		d.durable = apply(d.durable, c)
	}
	return nil
}

// reboot loses power and returns the disk as it is found afterwards, and how
// many bytes of writes were torn: gone, in whole or in part.
func (d *lossyDisk) reboot() (after *lossyDisk, torn int) {
	after = newLossyDisk(d.r.Uint64(), -1)
	after.part = slices.Clone(d.durable)
	order := d.r.Perm(len(d.pending))
	if d.r.IntN(2) == 0 {
		slices.Sort(order)
	}
	for _, i := range order {
		c := d.pending[i]
		switch {
		case c.data == nil: // metadata is in order, and comes before the data that needs it
			if c.off > int64(len(after.part)) || i == 0 {
				after.part = apply(after.part, c)
			}
			continue
		case c.off >= int64(len(after.part)) && d.r.IntN(2) == 0:
			torn += len(c.data)
			continue
		}
		fate := d.r.IntN(3) // whole, by sectors, gone
		for s := 0; s < len(c.data); s += 4096 {
			sector := c.data[s:min(s+4096, len(c.data))]
			if fate == 0 || fate == 1 && d.r.IntN(2) == 0 {
				after.part = apply(after.part, change{c.off + int64(s), sector})
			} else {
				torn += len(sector)
			}
		}
	}
	names := d.on
	for range d.r.IntN(len(d.journal) + 1) {
		d.journal[0](names)
		d.journal = d.journal[1:]
	}
	for name, file := range names {
		content := file.synced
		if !bytes.Equal(content, file.content) && d.r.IntN(2) == 0 {
			content = file.content[:d.r.IntN(len(file.content)+1)]
		}
		after.names[name] = &inode{content: content, synced: content}
		after.on[name] = after.names[name]
	}
	after.durable = slices.Clone(after.part)
	return after, torn
}

// lossyDirectory is the directory's side of a lossyDisk.
type lossyDirectory struct{ d *lossyDisk }

func (l lossyDirectory) change(f func(names map[string]*inode)) error {
	if err := l.d.step(); err != nil {
		return err
	}
	f(l.d.names)
	l.d.journal = append(l.d.journal, f)
	return nil
}

func (l lossyDirectory) create(name string) (syncWriter, error) {
	file := &inode{}
	return &lossyWriter{l.d, file}, l.change(func(names map[string]*inode) { names[name] = file })
}

func (l lossyDirectory) read(name string, limit int64) ([]byte, error) {
	file := l.d.names[name]
	if file == nil {
		return nil, fs.ErrNotExist
	}
	if int64(len(file.content)) > limit {
		return nil, errors.New("too long")
	}
	return slices.Clone(file.content), nil
}

func (l lossyDirectory) rename(from, to string) error {
	return l.change(func(names map[string]*inode) {
		if file := names[from]; file != nil {
			names[to] = file
			delete(names, from)
		}
	})
}

func (l lossyDirectory) renameNew(from, to string) error { return l.rename(from, to) }

func (l lossyDirectory) remove(name string) error {
	return l.change(func(names map[string]*inode) { delete(names, name) })
}

func (l lossyDirectory) sync() error {
	if err := l.d.step(); err != nil {
		return err
	}
	for _, f := range l.d.journal {
		f(l.d.on)
	}
	l.d.journal = nil
	return nil
}

func (l lossyDirectory) volume() (volume.Volume, error) { return volume.Volume{Free: -1}, nil }

type lossyWriter struct {
	d    *lossyDisk
	file *inode
}

func (w *lossyWriter) Write(p []byte) (int, error) {
	if err := w.d.step(); err != nil {
		return 0, err
	}
	w.file.content = append(w.file.content, p...)
	return len(p), nil
}

func (w *lossyWriter) Sync() error {
	if err := w.d.step(); err != nil {
		return err
	}
	w.file.synced = slices.Clone(w.file.content)
	return nil
}

func (w *lossyWriter) Close() error { return nil }

// checkSurvivor begins on a rebooted disk and hashes what is claimed. It returns
// how many blocks are.
func checkSurvivor(t *testing.T, d *lossyDisk, im image) int {
	t.Helper()
	f := newFile("x", "x", Options{}, lossyDirectory{d}, d)
	claimed, _ := mustBegin(t, f, im)
	buf := make([]byte, crypto.BlockSize)
	for _, i := range claimed {
		if n, err := f.ReadBlock(i, buf); err != nil || !bytes.Equal(buf[:n], im.block(i)) {
			t.Fatalf("block %d is claimed but isn't there (%v)", i, err)
		}
	}
	return len(claimed)
}

// Power is lost at every operation of a download in turn, while blocks are being
// written during each sync. No have-map that survives claims a block that
// didn't, and no checkpoint that returned is forgotten.
func TestPowerLossAtEachOperation(t *testing.T) {
	im := makeImage(14*crypto.BlockSize+4321, 11)
	var claims, tornBytes, losses int
	for at := 0; ; at++ {
		promised := 0 // blocks of the last checkpoint that returned
		d := newLossyDisk(uint64(at), at)
		f := newFile("x", "x", Options{}, lossyDirectory{d}, d)
		have := NewBitmap(im.blocks())
		order := d.r.Perm(im.blocks())
		write := func(count int) error {
			for range min(count, len(order)) {
				if err := f.WriteBlock(order[0], im.block(order[0])); err != nil {
					return err
				}
				have.Set(order[0])
				order = order[1:]
			}
			return nil
		}
		// have is the engine's own, and grows while the sync runs.
		d.duringDS = func() { _ = write(2) }
		err := func() error {
			if _, _, err := f.Begin(im.digest, im.size()); err != nil {
				return err
			}
			for len(order) > 0 {
				if err := write(3); err != nil {
					return err
				}
				count := have.Count()
				if err := f.Checkpoint(have.All(), im.manifest); err != nil {
					return err
				}
				promised = count
			}
			d.duringDS = nil
			return f.Checkpoint(have.All(), im.manifest)
		}()
		if err != nil && !errors.Is(err, errPower) {
			t.Fatalf("power lost at %d: %v", at, err)
		}
		for range 4 { // the same moment, other luck
			copied := *d
			copied.on = maps.Clone(d.on)
			survivor, torn := copied.reboot()
			claimed := checkSurvivor(t, survivor, im)
			if claimed < promised {
				t.Fatalf("power lost at %d: %d blocks claimed, a checkpoint promised %d", at, claimed, promised)
			}
			claims += claimed
			tornBytes += torn
		}
		if losses++; err == nil {
			break
		}
	}
	if claims == 0 || tornBytes == 0 || losses < 30 {
		t.Fatalf("%d power losses tore %d bytes and left %d claims: the test tests nothing", losses, tornBytes, claims)
	}
	t.Logf("%d moments of power loss, %d MB torn, %d claims held", losses, tornBytes>>20, claims)
}

// The engine's own rhythm: 64 MiB between checkpoints, all of them torn.
func TestPowerLossTears64MiB(t *testing.T) {
	const before, torn64 = 20, 64 << 20 / crypto.BlockSize
	im := makeImage((before+torn64)*crypto.BlockSize, 12)
	d := newLossyDisk(1, -1)
	f := newFile("x", "x", Options{}, lossyDirectory{d}, d)
	mustBegin(t, f, im)
	have := NewBitmap(im.blocks())
	for i := range im.blocks() {
		mustWrite(t, f, im, i)
		if have.Set(i); i == before-1 {
			if err := f.Checkpoint(have.All(), im.manifest); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Power goes while the second checkpoint syncs.
	d.duringDS = func() { d.lost = true }
	if err := f.Checkpoint(have.All(), im.manifest); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	survivor, torn := d.reboot()
	if claimed := checkSurvivor(t, survivor, im); claimed != before {
		t.Fatalf("%d blocks claimed, want the %d of the first checkpoint", claimed, before)
	}
	if torn < 16<<20 {
		t.Fatalf("only %d bytes torn", torn)
	}
}

// After a sync that failed nothing may be claimed any more: the kernel marks
// pages clean that it couldn't write, and the next sync succeeds.
func TestFailedSyncIsRemembered(t *testing.T) {
	im := makeImage(2*crypto.BlockSize, 13)
	d := newLossyDisk(1, -1)
	faulty := &faultySync{lossyDisk: d}
	f := newFile("x", "x", Options{}, lossyDirectory{d}, faulty)
	mustBegin(t, f, im)
	mustWrite(t, f, im, 0, 1)
	have := NewBitmap(2)
	have.SetRange(0, 2)
	faulty.err = fmt.Errorf("fault")
	if err := f.Checkpoint(have.All(), nil); !errors.Is(err, faulty.err) {
		t.Fatal(err)
	}
	fault := faulty.err
	faulty.err = nil
	if err := f.Checkpoint(have.All(), nil); !errors.Is(err, fault) {
		t.Errorf("the next checkpoint: %v", err)
	}
	if err := f.Finish(); !errors.Is(err, fault) {
		t.Errorf("finish: %v", err)
	}
	if len(d.names) != 0 {
		t.Errorf("names appeared: %v", d.names)
	}
}

type faultySync struct {
	*lossyDisk
	err error
}

func (f *faultySync) Datasync() error {
	if f.err != nil {
		return f.err
	}
	return f.lossyDisk.Datasync()
}
