package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// generation is how many packets one subkey seals (docs/protocol.md, section 4).
const generation = uint64(1) << 22

// testHeader is the length of the header that tests use, in bytes: that of a
// symbol packet.
const testHeader = 24

// testEpoch is the epoch that the golden vectors belong to.
type testEpoch struct {
	id     SessionID
	digest Hash
	secret Secret
}

func newTestEpoch() (e testEpoch) {
	for i := range e.id {
		e.id[i] = byte(0x40 + i)
	}
	for i := range e.digest {
		e.digest[i] = byte(0x80 + i)
	}
	for i := range e.secret {
		e.secret[i] = byte(i)
	}
	return e
}

func (e testEpoch) keys(mode Mode, position uint64) *Keys {
	return NewKeys(mode, e.id, e.digest, e.secret, position)
}

// packet returns header and payload of packet number pn, with headroom.
func packet(pn uint64, payload []byte) []byte {
	b := make([]byte, 0, testHeader+len(payload)+Overhead)
	b = append(b, 0x11, 1, 0x40, 0x41, 0, 0, 0, 7)
	b = binary.BigEndian.AppendUint64(b, pn)
	b = append(b, make([]byte, 8)...)
	return append(b, payload...)
}

// twinKey is HKDF-SHA256 written out (RFC 5869): extract, then one block of
// expand.
func (e testEpoch) twinKey(mode Mode, pn uint64) []byte {
	extract := hmac.New(sha256.New, slices.Concat(e.id[:], e.digest[:]))
	_, _ = extract.Write(e.secret[:])
	expand := hmac.New(sha256.New, extract.Sum(nil))
	_, _ = expand.Write([]byte("wimcast v1"))
	_, _ = expand.Write([]byte{byte(mode)})
	_, _ = expand.Write(binary.BigEndian.AppendUint64(nil, pn/generation))
	_, _ = expand.Write([]byte{1})
	return expand.Sum(nil)
}

// twinSeal seals by the letter of docs/protocol.md, section 4, with copies.
func (e testEpoch) twinSeal(t testing.TB, mode Mode, packet []byte, header int, pn uint64) []byte {
	t.Helper()
	block, err := aes.NewCipher(e.twinKey(mode, pn))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := append(make([]byte, 4), binary.BigEndian.AppendUint64(nil, pn)...)
	if mode == Clear {
		return append(bytes.Clone(packet), gcm.Seal(nil, nonce, nil, packet)...)
	}
	return append(bytes.Clone(packet[:header]), gcm.Seal(nil, nonce, packet[header:], packet[:header])...)
}

// TestSealGolden holds the bytes on the wire. The vectors were computed with
// Python's cryptography package 48.0.0 (HKDF, AESGCM) over the same inputs.
func TestSealGolden(t *testing.T) {
	payload := []byte("forty-two bytes of nothing in particular..")
	e := newTestEpoch()
	for _, tc := range []struct {
		mode Mode
		pn   uint64
		want string // what follows the header
	}{
		{Encrypted, 1, "f23a1b936d988fdb2d42ef62f83a9d7cf9a2b68c89662d12c7a184913d506921b3acd1e74505e92ee0fc4270c149ee45e37169041fb436c05e97"},
		{Encrypted, 1<<22 - 1, "f7a819aeff2463a86b21797e0559942e8ba39be1ebd5a843f871608f9dc037fe3b95e0c2c3101c5737f53095b9d7b28b09e43c370ecc4608cdda"},
		{Encrypted, 1 << 22, "ea55002a55c1c8b24b9f15837401a1d9cef92bf4cb14f317d992ce73f0ca439c1e90359ecfd0896fdf1341dc7cb95a7c99d154f11930595e407a"},
		{Encrypted, 1<<40 + 5, "1aa7f326973117102e028f534a302f4c8c3b70ab03cd4df7604ade750c048a42ef8de1ee57936445d67c3b5a691680114b96c17460cf4514032f"},
		{Clear, 1, "666f7274792d74776f206279746573206f66206e6f7468696e6720696e20706172746963756c61722e2e36f9199dbc8fa0a2fec6de81d494d22e"},
		{Clear, 1<<22 - 1, "666f7274792d74776f206279746573206f66206e6f7468696e6720696e20706172746963756c61722e2ef0819d0684b2b57e387872089415e64b"},
		{Clear, 1 << 22, "666f7274792d74776f206279746573206f66206e6f7468696e6720696e20706172746963756c61722e2ebc69e6a2400b480ae0e871e2289b0464"},
		{Clear, 1<<40 + 5, "666f7274792d74776f206279746573206f66206e6f7468696e6720696e20706172746963756c61722e2eaabe097181cfcbcc1712d3b6a1c63bff"},
	} {
		plain := packet(tc.pn, payload)
		sealed := e.keys(tc.mode, tc.pn).Seal(packet(tc.pn, payload), testHeader, tc.pn)
		if got := hex.EncodeToString(sealed[testHeader:]); got != tc.want {
			t.Errorf("%v, packet %d:\n got %s\nwant %s", tc.mode, tc.pn, got, tc.want)
		}
		if !bytes.Equal(sealed[:testHeader], plain[:testHeader]) {
			t.Errorf("%v, packet %d: the header changed", tc.mode, tc.pn)
		}
		if twin := e.twinSeal(t, tc.mode, plain, testHeader, tc.pn); !bytes.Equal(sealed, twin) {
			t.Errorf("%v, packet %d: differs from its twin", tc.mode, tc.pn)
		}
	}
}

// TestSealAgainstTwin walks every payload length of a symbol packet and random
// packet numbers, and opens what it sealed.
func TestSealAgainstTwin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, mode := range []Mode{Encrypted, Clear} {
		for n := range 1409 {
			e := newTestEpoch()
			pn := random.Uint64()
			e.secret[n%32] ^= byte(random.Uint32())
			payload := make([]byte, n)
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			plain := packet(pn, payload)
			twin := e.twinSeal(t, mode, plain, testHeader, pn)
			sealed := e.keys(mode, pn).Seal(plain, testHeader, pn)
			if !bytes.Equal(sealed, twin) {
				t.Fatalf("%v, %d bytes, packet %d: differs from its twin", mode, n, pn)
			}
			if &sealed[0] != &plain[0] {
				t.Fatalf("%v, %d bytes: sealed into another buffer", mode, n)
			}
			opened, err := e.keys(mode, pn).Open(sealed, testHeader, pn)
			if err != nil || !bytes.Equal(opened, payload) {
				t.Fatalf("%v, %d bytes, packet %d: opened wrong: %v", mode, n, pn, err)
			}
			if n > 0 && &opened[0] != &sealed[testHeader] {
				t.Fatalf("%v, %d bytes: opened into another buffer", mode, n)
			}
		}
	}
}

// TestOpenRefuses: whatever differs by one bit doesn't open, and afterwards the
// honest packet still does.
func TestOpenRefuses(t *testing.T) {
	const pn = 3*generation + 99
	for _, mode := range []Mode{Encrypted, Clear} {
		e := newTestEpoch()
		sealed := e.twinSeal(t, mode, packet(pn, []byte("some payload")), testHeader, pn)
		keys := e.keys(mode, pn)
		refused := func(what string, keys *Keys, packet []byte, header int, pn uint64) {
			t.Helper()
			if payload, err := keys.Open(bytes.Clone(packet), header, pn); !errors.Is(err, ErrOpen) || payload != nil {
				t.Errorf("%v: %s: %q, %v, want ErrOpen", mode, what, payload, err)
			}
		}
		for bit := range len(sealed) * 8 {
			flipped := bytes.Clone(sealed)
			flipped[bit/8] ^= 1 << (bit % 8)
			refused("a flipped bit", keys, flipped, testHeader, pn)
		}
		for n := range sealed {
			refused("a cut packet", keys, sealed[:n], min(n, testHeader), pn)
		}
		refused("a longer packet", keys, append(bytes.Clone(sealed), 0), testHeader, pn)
		refused("the next packet number", keys, sealed, testHeader, pn+1)
		refused("the same number a generation on", keys, sealed, testHeader, pn+generation)
		if mode == Encrypted {
			refused("another header length", keys, sealed, testHeader-1, pn)
		}
		other := e
		other.secret[31] ^= 1
		refused("another epoch", other.keys(mode, pn), sealed, testHeader, pn)
		other = e
		other.id[0] ^= 0x80
		refused("another session", other.keys(mode, pn), sealed, testHeader, pn)
		other = e
		other.digest[17] ^= 4
		refused("another manifest", other.keys(mode, pn), sealed, testHeader, pn)
		refused("the other mode", e.keys(Encrypted+Clear-mode, pn), sealed, testHeader, pn)

		if payload, err := keys.Open(sealed, testHeader, pn); err != nil || string(payload) != "some payload" {
			t.Errorf("%v: the honest packet afterwards: %q, %v", mode, payload, err)
		}
	}
}

// TestGenerations: only the generation of the newest authenticated packet and
// its neighbours open, and only what authenticates moves the window.
func TestGenerations(t *testing.T) {
	e := newTestEpoch()
	const g = uint64(10)
	keys := e.keys(Encrypted, g*generation+5)
	open := func(pn uint64) error {
		sealed := e.twinSeal(t, Encrypted, packet(pn, []byte("x")), testHeader, pn)
		_, err := keys.Open(sealed, testHeader, pn)
		return err
	}
	expect := func(pn uint64, want error) {
		t.Helper()
		if err := open(pn); !errors.Is(err, want) {
			t.Errorf("generation %d, packet %d of it: %v, want %v", pn/generation, pn%generation, err, want)
		}
	}
	expect(0, ErrGeneration)
	expect((g-1)*generation-1, ErrGeneration)
	expect((g+2)*generation, ErrGeneration)
	expect(1<<64-1, ErrGeneration)
	expect((g-1)*generation, nil) // the neighbour below, which doesn't move the window back
	expect((g-1)*generation-1, ErrGeneration)

	// A forged packet of the neighbour above doesn't move the window on.
	forged := packet((g+1)*generation, make([]byte, 20))
	if _, err := keys.Open(forged, testHeader, (g+1)*generation); !errors.Is(err, ErrOpen) {
		t.Errorf("forged: %v", err)
	}
	expect((g+2)*generation, ErrGeneration)
	expect((g-1)*generation, nil)

	expect((g+1)*generation-1, nil) // the last of the generation
	expect((g+1)*generation, nil)   // the first of the next: the window moves
	expect((g+2)*generation, nil)
	expect((g+1)*generation, nil)
	expect((g+1)*generation-1, ErrGeneration)
	expect((g+2)*generation+1, nil)

	// At the ends of the numbers nothing wraps.
	keys = e.keys(Encrypted, 0)
	expect(0, nil)
	expect(1<<64-1, ErrGeneration)
	keys = e.keys(Encrypted, 1<<64-1)
	expect(1<<64-1, nil)
	expect(0, ErrGeneration)
}

// TestSealAcrossGenerations: one sender's keys go over boundaries in both
// directions, as a repair of late packets might make a test's sender do.
func TestSealAcrossGenerations(t *testing.T) {
	e := newTestEpoch()
	keys := e.keys(Clear, 1)
	for _, pn := range []uint64{1, generation - 1, generation, generation + 1, 2*generation - 1, 2 * generation, generation, 9 * generation, 3} {
		plain := packet(pn, []byte("payload"))
		twin := e.twinSeal(t, Clear, plain, testHeader, pn)
		if sealed := keys.Seal(plain, testHeader, pn); !bytes.Equal(sealed, twin) {
			t.Errorf("packet %d: differs from its twin", pn)
		}
	}
}

func TestSealAndOpenDoNotAllocate(t *testing.T) {
	e := newTestEpoch()
	for _, mode := range []Mode{Encrypted, Clear} {
		seal, open := e.keys(mode, 1), e.keys(mode, 1)
		buffer := packet(1, make([]byte, 1408))
		pn := uint64(1)
		forged := make([]byte, len(buffer)+Overhead)
		if n := testing.AllocsPerRun(1000, func() {
			pn++
			sealed := seal.Seal(buffer, testHeader, pn)
			if _, err := open.Open(sealed, testHeader, pn); err != nil {
				t.Fatal(err)
			}
			if _, err := open.Open(forged, testHeader, pn); err == nil {
				t.Fatal("opened a forged packet")
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations a packet", mode, n)
		}
	}
}

func TestMisusePanics(t *testing.T) {
	e := newTestEpoch()
	panics := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", what)
			}
		}()
		f()
	}
	full := packet(1, []byte("x"))
	panics("no room for the tag", func() { e.keys(Encrypted, 1).Seal(full[:len(full):len(full)+Overhead-1], testHeader, 1) })
	for _, mode := range []Mode{0, 3} {
		panics(mode.String(), func() { e.keys(mode, 1) })
	}
}

func TestModeWords(t *testing.T) {
	for mode, want := range map[Mode]string{Encrypted: "encrypted", Clear: "clear", 0: "mode(0)", 200: "mode(200)"} {
		if got := mode.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRandomsDiffer(t *testing.T) {
	ids, secrets := map[SessionID]bool{{}: true}, map[Secret]bool{{}: true}
	for range 100 {
		id, secret := NewSessionID(), NewSecret()
		if ids[id] || secrets[secret] {
			t.Fatal("a draw repeats, or nothing was drawn")
		}
		ids[id], secrets[secret] = true, true
	}
}

// FuzzOpen: no packet makes Open panic, and only what the twin would have sealed
// opens.
func FuzzOpen(f *testing.F) {
	e := newTestEpoch()
	for _, mode := range []Mode{Encrypted, Clear} {
		for _, pn := range []uint64{1, generation, 5 * generation} {
			f.Add(byte(mode), pn, uint8(testHeader), e.twinSeal(f, mode, packet(pn, []byte("seed")), testHeader, pn))
		}
	}
	f.Add(byte(1), uint64(1), uint8(0), []byte{})
	f.Add(byte(2), uint64(1), uint8(255), make([]byte, Overhead))
	f.Fuzz(func(t *testing.T, mode byte, pn uint64, header uint8, sealed []byte) {
		m := Encrypted
		if mode == byte(Clear) {
			m = Clear
		}
		original := bytes.Clone(sealed)
		payload, err := e.keys(m, generation).Open(sealed, int(header), pn)
		switch {
		case err != nil:
			if payload != nil || (!errors.Is(err, ErrOpen) && !errors.Is(err, ErrGeneration)) {
				t.Fatalf("%q, %v", payload, err)
			}
		case !bytes.Equal(e.twinSeal(t, m, slices.Concat(original[:header], payload), int(header), pn), original):
			t.Fatal("opened what the twin wouldn't have sealed")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	keys := newTestEpoch().keys(Encrypted, 1)
	buffer := packet(1, make([]byte, 1408))
	b.SetBytes(int64(len(buffer)))
	pn := uint64(0)
	for b.Loop() {
		pn++
		keys.Seal(buffer, testHeader, pn)
	}
}

func BenchmarkOpen(b *testing.B) {
	e := newTestEpoch()
	sealed := e.twinSeal(b, Encrypted, packet(1, make([]byte, 1408)), testHeader, 1)
	keys := e.keys(Encrypted, 1)
	scratch := make([]byte, len(sealed))
	b.SetBytes(int64(len(sealed)))
	for b.Loop() {
		copy(scratch, sealed) // opening is in place
		if _, err := keys.Open(scratch, testHeader, 1); err != nil {
			b.Fatal(err)
		}
	}
}
