package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

func filled[T [16]byte | [32]byte](first byte) (a T) {
	v := reflect.ValueOf(&a).Elem()
	for i := range v.Len() {
		v.Index(i).SetUint(uint64(first + byte(i)))
	}
	return a
}

// samples has every message with every field set to something telling.
func samples() []Message {
	return []Message{
		&Join{
			Request: 7, Nonce: filled[[16]byte](1), Resume: filled[[16]byte](2), NoUnicast: true, Begun: true, MaxPayload: 1472,
			Machine: Machine{UUID: filled[[16]byte](3), Serial: "SN-1", MACs: "02:00:00:00:00:01", Host: "pc17"},
			Package: "w11@2026.11", Held: filled[[32]byte](4), HeldBlocks: 12,
		},
		&Join{},
		&Welcome{
			Request: 7, Client: 3, Session: filled[[16]byte](9), Mode: 1, Unicast: true, OutOfReach: true, Overflow: true, UnicastOnly: true, SymbolSize: 1408,
			ImageSize: 5 << 30, Images: 11, Index: 6, Room: 15 << 30, Digest: filled[[32]byte](5), Epoch: 1, Secret: filled[[32]byte](6), Position: 1 << 40, RateLimit: 112_500_000,
			Group: netip.MustParseAddrPort("239.195.16.1:63000"), Source: netip.MustParseAddr("10.77.0.1"), PublicKey: filled[[32]byte](7),
			Resume: filled[[16]byte](8), HTTPSPort: 8443, Token: filled[[32]byte](10), Package: "w11@2026.11", Notice: "a word",
		},
		&Welcome{Group: netip.MustParseAddrPort("[ff15::1]:63000"), SymbolSize: 8192},
		&Queued{Request: 7, Place: 3, Again: 1500 * time.Millisecond, Text: "session s1 of w11@1 has all of its 24 clients"},
		&Refused{Request: 7, Code: UnknownPackage, Text: "no package w12; the nearest is w11"},
		&RootsWanted{Client: 3, First: 32},
		&Roots{Client: 3, First: 32, Hashes: [][32]byte{filled[[32]byte](1), filled[[32]byte](2)}},
		&Roots{Client: 3, First: 32, Hashes: [][32]byte{}},
		&Need{Client: 3, Pass: 2, Highest: 1 << 35, Part: 1, Parts: 4, Runs: []Run{{First: 1000, Count: 1}, {First: 1002, Count: 500}}},
		&Need{Client: 3, Parts: 1},
		&NeedHeard{Client: 3, Pass: 2, Highest: 1 << 35, Part: 1},
		&NACK{Client: 3, Highest: 1 << 33, Lacks: []Lack{{Block: 5, Symbols: 3}, {Block: 9, Symbols: 64}}},
		&Report{
			Client: 3, Sequence: 9, AnswerWanted: true, OnUnicast: true, GroupSilent: true, Echo: 77, Held: 1500 * time.Microsecond,
			Highest: 99, Opened: 88, Lost: 11, KernelDrops: 5, DiskDrops: 6, Delivery: 123456789, Loss: 50_000, Delay: 2 * time.Millisecond,
			Proven: 1234, Rejected: 2, Rejoins: 3,
		},
		&ReportHeard{Client: 3, Sequence: 9},
		&EpochWanted{Client: 3, Seen: 2},
		&Epoch{Client: 3, Number: 2, Secret: filled[[32]byte](11), Position: 1 << 41},
		&EpochHeard{Client: 3, Number: 2},
		&Done{Client: 3, Result: Failed, Multicast: 1, Unicast: 2, Held: 3, Seed: 4, Reason: "disk full"},
		&DoneHeard{Client: 3},
		&Applied{Client: 3, Resume: filled[[16]byte](12), Failed: true, Index: 6, Took: 192 * time.Second, Reason: "DISM ended with 112"},
		&AppliedHeard{Client: 3},
		&UnicastWanted{Client: 3, Reason: GroupSilent},
		&UnicastAnswer{Client: 3, Granted: true},
		&UnicastAnswer{Client: 3, Later: true, Text: "22 of 24 clients wait"},
		&UnicastAnswer{Client: 3, Text: "package w11 is multicast-only"},
		&Unlock{Request: 7, PIN: "123456"},
		&Unlock{Request: 8, Pass: filled[[16]byte](12)},
		&Unlocked{Request: 7, Pass: filled[[16]byte](12)},
		&Unlocked{Request: 7, Code: PINLater, Again: 5 * time.Second, Text: "nobody has opened room12 yet"},
		&Notice{Client: 3, Kind: NoticeEvicted, Text: "evicted by the operator"},
		&DeploymentsWanted{Request: 7, First: 3},
		&Deployments{Request: 7, First: 3, Total: 5, List: []Deployment{
			{Name: "lab12", Package: "w11@2026.11", Index: 2, Direct: true, Size: 5 << 30, Digest: filled[[32]byte](5)}, {},
		}},
		&Deployments{Request: 7, List: []Deployment{}},
		&ProbeWanted{Request: 8, MaxPayload: 1472},
		probeSample(),
		&ProbeRefused{Request: 8, Code: ProbeTooSoon, Again: 42 * time.Second, Text: "one a minute"},
		&ProbeSent{Request: 8, Packets: 1690},
		&HaveMap{Client: 3, Sequence: 9, Cells: 5, Levels: []byte{0xff, 0x81, 0x70}},
		&HaveMap{Client: 3, Sequence: 1, Cells: MaxCells, Levels: bytes.Repeat([]byte{0xf0}, MaxCells/2)},
		&Notice{Client: 3, Kind: NoticeMapWanted},
	}
}

// TestGolden holds the bytes of every message against testdata/golden.txt: a
// change there is a change of the protocol.
func TestGolden(t *testing.T) {
	const path = "testdata/golden.txt"
	var got strings.Builder
	for _, m := range samples() {
		fmt.Fprintf(&got, "%T %s\n", m, hex.EncodeToString(m.Append(nil)))
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("wire format changed:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range samples() {
		b := m.Append(nil)
		if len(b) > MaxControl {
			t.Errorf("%T: %d bytes, more than %d", m, len(b), MaxControl)
		}
		got, err := Parse(b)
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, want %+v", m, got, m)
		}
		for n := range b {
			// A need is a list to the end; cut between two pairs it is a shorter list.
			if got, err := Parse(b[:n]); err == nil && !bytes.Equal(got.Append(nil), b[:n]) {
				t.Errorf("%T cut to %d bytes parsed as %+v", m, n, got)
			} else if _, isNeed := m.(*Need); err == nil && !isNeed {
				t.Errorf("%T cut to %d bytes was accepted", m, n)
			}
		}
		if _, err := Parse(append(bytes.Clone(b), 0xff)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T with a byte more: %v, want ErrMalformed", m, err)
		}
	}
}

func TestLongestMessagesFit(t *testing.T) {
	long := strings.Repeat("x", 400)
	machine := Machine{Serial: long, MACs: long, Host: long}
	for _, m := range []Message{
		&Welcome{Package: long, Notice: long, Group: netip.MustParseAddrPort("[ff15::1]:1"), Source: netip.MustParseAddr("fe80::1")},
		&Roots{Hashes: make([][32]byte, MaxRoots)},
		&NACK{Lacks: make([]Lack, MaxNACKBlocks)},
		&Done{Reason: long}, &Applied{Reason: long}, &Queued{Text: long}, &Unlock{PIN: long}, &Unlocked{Text: long}, &ProbeRefused{Text: long},
		&ProbeGranted{Sizes: make([]uint16, 2*MaxProbeSizes), Group: netip.MustParseAddrPort("[ff15::1]:1"), Source: netip.MustParseAddr("fe80::1")},
	} {
		if n := len(m.Append(nil)); n > MaxControl {
			t.Errorf("%T: %d bytes, more than %d", m, n, MaxControl)
		}
	}
	// A join with every string at its longest doesn't fit, so Parse refuses it: the sender must shorten.
	if n := len((&Join{Machine: machine, Package: long}).Append(nil)); n <= MaxControl {
		t.Errorf("join of %d bytes fits by itself; drop the client's shortening", n)
	}
}

func TestHostileMessages(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":                     {},
		"unknown type":              {0x55, 1, 2, 3},
		"too long":                  make([]byte, MaxControl+1),
		"NACK of nothing":           (&NACK{Client: 1}).Append(nil),
		"NACK of zero symbols":      (&NACK{Client: 1, Lacks: []Lack{{Block: 1}}}).Append(nil),
		"need beyond 32 bits":       {3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 5},
		"need part of none":         {3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"need, long uvarint":        {3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x81, 0x00},
		"index beyond images":       (&Welcome{Images: 3, Index: 4}).Append(nil),
		"bad address length":        append([]byte{0x81}, make([]byte, 150)...),
		"more deployments than all": (&Deployments{First: 2, Total: 2, List: []Deployment{{Name: "lab12"}}}).Append(nil),
		"deployments of no bytes":   {0x90, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff},
		"deployments, version 2":    {0x10, 2, 0, 0, 0, 1, 0, 0},
		"applied, other flags":      append(append([]byte{0x0e}, make([]byte, 20)...), append([]byte{2}, make([]byte, 11)...)...),
		"applied for a year":        (&Applied{Took: 365 * 24 * time.Hour}).Append(nil),
		"unlocked, other code":      (&Unlocked{Code: Full}).Append(nil),
		"map of no cells":           (&HaveMap{Client: 1, Sequence: 1}).Append(nil),
		"map, sequence 0":           (&HaveMap{Client: 1, Cells: 1, Levels: []byte{0xf0}}).Append(nil),
		"map of 257 cells":          (&HaveMap{Client: 1, Sequence: 1, Cells: 257, Levels: make([]byte, 129)}).Append(nil),
		"map, a cell more":          (&HaveMap{Client: 1, Sequence: 1, Cells: 1, Levels: []byte{0xf1}}).Append(nil),
		"notice of kind 9":          (&Notice{Client: 1, Kind: NoticeMapWanted + 1}).Append(nil),
	} {
		if m, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}

func TestSplitNeed(t *testing.T) {
	var runs []Run
	for i := range uint32(5000) {
		runs = append(runs, Run{First: i * 300, Count: 1 + i%200})
	}
	parts := SplitNeed(3, 1, 9, runs)
	if len(parts) < 2 {
		t.Fatalf("%d parts, want several", len(parts))
	}
	var got []Run
	for i, p := range parts {
		m, err := Parse(p.Append(nil))
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		need := m.(*Need)
		if int(need.Part) != i || int(need.Parts) != len(parts) {
			t.Errorf("part %d says %d of %d", i, need.Part, need.Parts)
		}
		got = append(got, need.Runs...)
	}
	if !reflect.DeepEqual(got, runs) {
		t.Error("runs changed on the way")
	}
	if parts := SplitNeed(3, 1, 9, nil); len(parts) != 1 || len(parts[0].Runs) != 0 {
		t.Errorf("nothing needed: %+v", parts)
	}
}

func TestHeaderAndSymbol(t *testing.T) {
	h := Header{Kind: KindSymbol, Epoch: 3, Tag: 0x1234, Sent: 0x89abcdef, Number: 0x1122334455667788}
	b := make([]byte, HeaderLen+SymbolHeaderLen+4)
	h.Put(b)
	PutSymbol(b[HeaderLen:], 0xdeadbeef, 200, 0x0102)
	copy(b[HeaderLen+SymbolHeaderLen:], "data")
	if got, want := hex.EncodeToString(b), "1103123489abcdef1122334455667788"+"deadbeefc8000102"+"64617461"; got != want {
		t.Errorf("packet %s, want %s", got, want)
	}
	if got, err := ParseHeader(b); err != nil || got != h {
		t.Errorf("header %+v, %v, want %+v", got, err, h)
	}
	s, err := ParseSymbol(b[HeaderLen:])
	if err != nil || s.Block != 0xdeadbeef || s.Index != 200 || s.Follow != 0x0102 || string(s.Data) != "data" {
		t.Errorf("symbol %+v, %v", s, err)
	}
	for n := range HeaderLen {
		if _, err := ParseHeader(b[:n]); err == nil {
			t.Errorf("header of %d bytes was accepted", n)
		}
	}
	for n := range SymbolHeaderLen + 1 {
		if _, err := ParseSymbol(b[HeaderLen:][:n]); err == nil {
			t.Errorf("symbol of %d bytes was accepted", n)
		}
	}
}

func statusSample() *Status {
	return &Status{
		State: Casting, Epoch: 2, Pass: 3, Cursor: 44, Clients: 12, Room: 24, Proven: 11, GRTT: 5 * time.Millisecond, Rate: 1e8, RateLimit: 112_500_000,
		Promises: []Promise{{Block: 4, Symbols: 2}, {Block: 40, Symbols: 63}}, Reporters: []uint32{1, 9},
	}
}

// watchedSample is a status while somebody watches the session.
func watchedSample() *Status {
	s := statusSample()
	s.MapsWanted = true
	return s
}

// TestStatusOfANewerServer: flags that aren't known are ignored.
func TestStatusOfANewerServer(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	header := make([]byte, HeaderLen)
	b := AppendStatus(nil, watchedSample(), [16]byte{}, header, key)
	body := b[:len(b)-ed25519.SignatureSize]
	body[1] |= 0xfc
	copy(b[len(body):], ed25519.Sign(key, signedStatus([16]byte{}, header, body)))
	if got, err := ParseStatus(b, [16]byte{}, header, key.Public().(ed25519.PublicKey)); err != nil || !reflect.DeepEqual(got, watchedSample()) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStatus(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	public := key.Public().(ed25519.PublicKey)
	session := filled[[16]byte](1)
	header := make([]byte, HeaderLen)
	Header{Kind: KindStatus, Number: 5}.Put(header)
	want := statusSample()
	b := AppendStatus(nil, want, session, header, key)
	got, err := ParseStatus(b, session, header, public)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	// Each byte counts: of the payload, of the header, of the session.
	for i := range b {
		b[i] ^= 1
		if _, err := ParseStatus(b, session, header, public); err == nil {
			t.Errorf("byte %d flipped, still accepted", i)
		}
		b[i] ^= 1
	}
	header[3] ^= 1
	if _, err := ParseStatus(b, session, header, public); err == nil {
		t.Error("another header was accepted")
	}
	header[3] ^= 1
	if _, err := ParseStatus(b, filled[[16]byte](2), header, public); err == nil {
		t.Error("another session was accepted")
	}
	full := &Status{Promises: make([]Promise, 500), Reporters: make([]uint32, 100)}
	if n := len(AppendStatus(nil, full, session, header, key)); HeaderLen+n+16 > 24+1344+16 {
		t.Errorf("the largest status takes %d bytes, more than a symbol of the smallest size", n)
	}
}

// TestStatusGolden holds the bytes of a status, signature included, against testdata/golden_status.txt.
func TestStatusGolden(t *testing.T) {
	const path = "testdata/golden_status.txt"
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	header := make([]byte, HeaderLen)
	Header{Kind: KindStatus, Number: 5}.Put(header)
	var got strings.Builder
	for _, s := range []*Status{statusSample(), waitingSample(), watchedSample()} {
		fmt.Fprintf(&got, "%v %s\n", s.State, hex.EncodeToString(AppendStatus(nil, s, filled[[16]byte](1), header, key)))
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("wire format changed:\n%s\nwant:\n%s", got.String(), want)
	}
}

// TestStatusOfRoom: a room can't have more clients that are done than clients.
func TestStatusOfRoom(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	header := make([]byte, HeaderLen)
	for proven, ok := range map[uint32]bool{0: true, 24: true, 25: false, 1 << 31: false} {
		s := statusSample()
		s.Proven = proven
		got, err := ParseStatus(AppendStatus(nil, s, [16]byte{}, header, key), [16]byte{}, header, key.Public().(ed25519.PublicKey))
		if (err == nil) != ok || ok && got.Proven != proven {
			t.Errorf("%d of %d: %+v, %v", proven, s.Room, got, err)
		}
	}
}

// TestScheduledStatus: what a client that waits is told, and that nothing of it comes without the flag.
func TestScheduledStatus(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	header := make([]byte, HeaderLen)
	parse := func(s *Status) (*Status, error) {
		return ParseStatus(AppendStatus(nil, s, [16]byte{}, header, key), [16]byte{}, header, key.Public().(ed25519.PublicKey))
	}
	want := waitingSample()
	if got, err := parse(want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	long := waitingSample()
	long.StartIn = 100 * 24 * time.Hour
	if got, err := parse(long); err != nil || got.StartIn < 49*24*time.Hour {
		t.Errorf("start in 100 days: %v, %v", got, err)
	}
	long.StartIn = -time.Second
	if got, err := parse(long); err != nil || got.StartIn != 0 {
		t.Errorf("start a second ago: %v, %v", got, err)
	}
	for name, change := range map[string]func(*Status){
		"while casting":    func(s *Status) { s.State = Casting },
		"minimum, no flag": func(s *Status) { s.Scheduled, s.WaitingNow, s.StartIn = false, 0, 0 },
		"clients, no flag": func(s *Status) { s.Scheduled, s.MinClients, s.StartIn = false, 0, 0 },
		"time, no flag":    func(s *Status) { s.Scheduled, s.MinClients, s.WaitingNow = false, 0, 0 },
	} {
		s := waitingSample()
		change(s)
		if got, err := parse(s); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func waitingSample() *Status {
	return &Status{
		State: Waiting, Epoch: 2, Clients: 25, Room: 25, GRTT: 5 * time.Millisecond, RateLimit: 112_500_000,
		Scheduled: true, MinClients: 24, WaitingNow: 22, StartIn: 199_750 * time.Millisecond,
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%T: %x re-encodes as %x", m, b, again)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	header := make([]byte, HeaderLen)
	sample := AppendStatus(nil, statusSample(), [16]byte{}, header, key)
	f.Add(sample[:len(sample)-ed25519.SignatureSize])
	sample = AppendStatus(nil, waitingSample(), [16]byte{}, header, key)
	f.Add(sample[:len(sample)-ed25519.SignatureSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		// Sign what the fuzzer made, so that it gets past the signature.
		b := append(bytes.Clone(body), ed25519.Sign(key, signedStatus([16]byte{}, header, body))...)
		s, err := ParseStatus(b, [16]byte{}, header, key.Public().(ed25519.PublicKey))
		if err != nil {
			return
		}
		again := AppendStatus(nil, s, [16]byte{}, header, key)
		if unknown := b[1] &^ (flagScheduled | flagMapsWanted); unknown != 0 { // which is ignored, and signed
			b[1] ^= unknown
			again, b = again[:len(again)-ed25519.SignatureSize], b[:len(b)-ed25519.SignatureSize]
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x re-encodes as %x", b, again)
		}
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add(make([]byte, HeaderLen+SymbolHeaderLen+8))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ParseHeader(b); err == nil {
			again := make([]byte, HeaderLen)
			if h.Put(again); !bytes.Equal(again, b[:HeaderLen]) {
				t.Errorf("header %x re-encodes as %x", b[:HeaderLen], again)
			}
		}
		if s, err := ParseSymbol(b); err == nil {
			again := make([]byte, SymbolHeaderLen)
			if PutSymbol(again, s.Block, s.Index, s.Follow); !bytes.Equal(again, b[:SymbolHeaderLen]) {
				t.Errorf("symbol header %x re-encodes as %x", b[:SymbolHeaderLen], again)
			}
		}
	})
}
