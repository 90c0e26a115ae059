package wim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// resource is a row of a lookup table in these tests.
type resource struct {
	hash         byte
	offset, size uint64
	flags        byte
}

// tabled makes a file of a header and a lookup table, with room for what the table names.
func tabled(pipable bool, version, flags, chunk uint32, room int, rows ...resource) []byte {
	le := binary.LittleEndian
	b := bytes.Repeat([]byte{0}, room)
	at := len(b)
	for _, r := range rows {
		b = appendResource(b, r.size, r.flags, r.offset, 2*r.size)
		b = le.AppendUint16(b, 1)
		b = le.AppendUint32(b, 1)
		b = append(b, bytes.Repeat([]byte{r.hash}, 20)...)
	}
	magic := "MSWIM\x00\x00\x00"
	if pipable {
		magic = "WLPWM\x00\x00\x00"
	}
	head := le.AppendUint32([]byte(magic), 208)
	head = le.AppendUint32(head, version)
	head = le.AppendUint32(head, flags)
	head = le.AppendUint32(head, chunk)
	head = append(head, "GUID of 16 bytes"...)
	head = append(head, 1, 0, 1, 0, 0, 0, 0, 0)
	head = appendResource(head, uint64(len(b)-at), 0, uint64(at), uint64(len(b)-at))
	head = append(head, make([]byte, 208-len(head))...)
	copy(b, head)
	if pipable {
		b = append(b, head...)
	}
	return b
}

func header(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := OpenHeader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMoved(t *testing.T) {
	const lzx, xpress = flagCompressed | flagLZX, flagCompressed | flagXPRESS
	one := []resource{{1, 300, 100, 4}, {2, 400, 50, 4}, {3, 450, 70, 0}, {4, 600, 10, 4}}
	type file struct {
		pipable        bool
		version, flags uint32
		chunk          uint32
		rows           []resource
	}
	plain := func(rows ...resource) file { return file{false, versionDefault, lzx, 32768, rows} }
	for _, test := range []struct {
		name      string
		to, other file
		want      []Range
	}{
		{"the same file", plain(one...), plain(one...), []Range{{300, 300, 220}, {600, 600, 10}}},
		{"other order", plain(resource{2, 208, 50, 4}, resource{1, 258, 100, 4}), plain(one...), []Range{{208, 400, 50}, {258, 300, 100}}},
		{"other size", plain(resource{1, 300, 99, 4}), plain(one...), nil},
		{"other content", plain(resource{9, 300, 100, 4}), plain(one...), nil},
		{"neighbours stay one", plain(resource{1, 700, 100, 4}, resource{2, 800, 50, 4}), plain(one...), []Range{{700, 300, 150}}},
		{"overlap is cut", plain(resource{1, 500, 100, 4}, resource{3, 560, 70, 0}), plain(one...), []Range{{500, 300, 100}, {600, 490, 30}}},
		{"inside of another", plain(resource{1, 500, 100, 4}, resource{2, 510, 50, 4}), plain(one...), []Range{{500, 300, 100}}},
		{"other compression", file{false, versionDefault, xpress, 32768, one}, plain(one...), []Range{{450, 450, 70}}},
		{"other chunk size", file{false, versionDefault, lzx, 65536, one}, plain(one...), []Range{{450, 450, 70}}},
		{"pipable with what stands before", file{true, versionDefault, lzx, 32768, one[:1]}, file{true, versionDefault, lzx, 32768, []resource{{1, 700, 100, 4}}}, []Range{{260, 660, 140}}},
		{"pipable against not", file{true, versionDefault, lzx, 32768, one}, plain(one...), []Range{{450, 450, 70}}},
		{"solid left out", file{false, versionSolid, lzx, 32768, []resource{{1, 300, 100, Solid}, {3, 450, 70, 0}}}, file{false, versionSolid, lzx, 32768, one}, []Range{{450, 450, 70}}},
		{"nothing at all", plain(), plain(), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := []*File{}
			for _, f := range []file{test.to, test.other} {
				files = append(files, header(t, tabled(f.pipable, f.version, f.flags, f.chunk, 1000, f.rows...)))
			}
			got, err := Moved(files[0], files[1])
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// TestMovedDamaged gives tables that name what isn't there: an error, never a range outside.
func TestMovedDamaged(t *testing.T) {
	good := header(t, tabled(false, versionDefault, flagCompressed|flagLZX, 32768, 1000, resource{1, 300, 100, 4}))
	bad := header(t, tabled(false, versionDefault, flagCompressed|flagLZX, 32768, 1000, resource{1, 1_000_000, 100, 4}))
	for i, pair := range [][2]*File{{good, bad}, {bad, good}} {
		ranges, err := Moved(pair[0], pair[1])
		if err == nil || ranges != nil {
			t.Errorf("%d: %v, %v", i, ranges, err)
		}
		known(t, err)
	}
}

// TestCover holds Cover against a byte map.
func TestCover(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var ranges []Range
		from := map[uint64]uint64{}
		for at := uint64(random.IntN(5)); at < 60; at += uint64(random.IntN(3)) {
			r := Range{To: at, From: uint64(random.IntN(1000)), Length: 1 + uint64(random.IntN(12))}
			ranges = append(ranges, r)
			for i := range r.Length {
				from[r.To+i] = r.From + i
			}
			at += r.Length
		}
		for off := range uint64(70) {
			for _, n := range []uint64{0, 1, 7, 20} {
				var want, got []uint64
				for i := range n {
					at, known := from[off+i]
					if !known {
						want = nil
						break
					}
					want = append(want, at)
				}
				at := off
				for _, r := range Cover(ranges, off, n) {
					if r.To != at {
						t.Fatalf("%v at %d+%d: a piece at %d", ranges, off, n, r.To)
					}
					for i := range r.Length {
						got = append(got, r.From+i)
					}
					at += r.Length
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%v at %d+%d: %v, want %v", ranges, off, n, got, want)
				}
			}
		}
	}
}

// TestMovedWimlib has wimlib change a file in the ways that servicing does, and holds each range's bytes.
func TestMovedWimlib(t *testing.T) {
	w := newWimlib(t)
	w.trees(t)
	if err := os.WriteFile(w.path("added"), bytes.Repeat([]byte("new "), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name string
		args []string
	}{{"LZX", []string{"--compress=LZX"}}, {"none", []string{"--compress=none"}}, {"pipable", []string{"--compress=XPRESS", "--pipable"}}} {
		t.Run(kind.name, func(t *testing.T) {
			old := w.capture(t, "old.wim", kind.args...)
			var pipable []string
			if kind.name == "pipable" {
				pipable = []string{"--pipable"}
			}
			for _, change := range []struct {
				name  string
				share float64 // of the new file's resources that must be found
				do    func()
			}{
				{"update", 0.9, func() { w.run(t, "update", "new.wim", "1", "--command=add added /added") }},
				{"optimize", 0.99, func() { w.run(t, append([]string{"optimize", "new.wim"}, pipable...)...) }},
				{"export", 0.99, func() {
					_ = os.Remove(w.path("new.wim"))
					w.run(t, append([]string{"export", "old.wim", "2", "new.wim"}, pipable...)...)
				}},
			} {
				if err := os.WriteFile(w.path("new.wim"), old, 0o644); err != nil {
					t.Fatal(err)
				}
				change.do()
				changed := w.read(t, "new.wim")
				ranges, err := Moved(header(t, changed), header(t, old))
				if err != nil {
					t.Fatal(err)
				}
				var found, all uint64
				for _, r := range ranges {
					if !bytes.Equal(changed[r.To:][:r.Length], old[r.From:][:r.Length]) {
						t.Errorf("%s: %+v has other bytes", change.name, r)
					}
					found += r.Length
				}
				for e, err := range header(t, changed).Entries() {
					if err != nil {
						t.Fatal(err)
					}
					all += e.Size
				}
				t.Logf("%s: %d of %d bytes of resources in %d ranges", change.name, found, all, len(ranges))
				if float64(found) < change.share*float64(all) {
					t.Errorf("%s: found %d of %d bytes", change.name, found, all)
				}
			}
		})
	}
}

// TestOpenHeader reads no more of a file than its headers.
func TestOpenHeader(t *testing.T) {
	for _, pipable := range []bool{false, true} {
		b, _ := sample{pipable: pipable, images: 2, data: 3000}.build()
		whole := mustOpen(t, b)
		f, err := OpenHeader(ends{b, pipable}, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if f.Header != whole.Header || f.Pipable != pipable {
			t.Errorf("header %+v, want %+v", f.Header, whole.Header)
		}
	}
	if _, err := OpenHeader(bytes.NewReader([]byte("no")), 2); err == nil {
		t.Error("opened two bytes")
	} else {
		known(t, err)
	}
}

// ends is a file of which only the headers are there.
type ends struct {
	b    []byte
	last bool
}

func (e ends) ReadAt(p []byte, off int64) (int, error) {
	if front := off+int64(len(p)) <= HeaderSize; !front && (!e.last || off < int64(len(e.b))-HeaderSize) {
		return 0, fmt.Errorf("read %d bytes at %d", len(p), off)
	}
	if n := copy(p, e.b[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}
